//! Calls as TypeScript, typed by the service's client: the compiler refuses what the types do not
//! allow, unknown members included.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{Exchange, repository, run, tool};
use serde_json::{Map, Value, json};

use super::CHECK_MAX;
use super::list::{Need, Types};

/// A type without what would let any name pass.
const NAMED: &str = "type Named<T> = T extends unknown ? \
     { [K in keyof T as string extends K ? never : K]: T[K] } : never;\n";

/// One file of all calls, each a line of its own.
pub(super) fn source(calls: &[(Kind, &Types, Vec<Exchange>)]) -> Result<String> {
    let mut text = NAMED.to_owned();
    for (_, types, _) in calls {
        writeln!(text, "{}", types.import)?;
    }
    for (kind, types, exchanges) in calls {
        let add = add_calls(&mut text, *kind, types, exchanges);
        add.with_context(|| kind.as_str())?;
    }
    Ok(text)
}

fn add_calls(text: &mut String, kind: Kind, types: &Types, exchanges: &[Exchange]) -> Result<()> {
    let name = kind.as_str();
    let mut succeeded = [0, 0];
    for (at, exchange) in exchanges.iter().enumerate() {
        ensure!(exchange.request.subject()? == types.path, "{exchange:?}");
        let body = members(exchange)?;
        let declared = format!("export const {name}_{at}");
        writeln!(
            text,
            "{declared}: {} = {};",
            types.request,
            Value::from(body)
        )?;
        let is_success = exchange.answer.subject()?.starts_with('2');
        succeeded[usize::from(is_success)] += 1;
        let expected = match is_success {
            true => types.answer,
            false => types.failure,
        };
        if let Some(expected) = expected {
            let answer: Value = serde_json::from_slice(&exchange.answer.body)?;
            writeln!(text, "{declared}_answer: {expected} = {answer};")?;
        }
    }
    ensure!(
        !succeeded.contains(&0),
        "failures, successes: {succeeded:?}"
    );
    let first = exchanges.first().context("no call")?;
    for (at, spoilt) in spoilt(&members(first)?, types).into_iter().enumerate() {
        let spoilt = Value::from(spoilt);
        writeln!(text, "// @ts-expect-error: the types refuse this one.")?;
        writeln!(
            text,
            "export const {name}_bad_{at}: {} = {spoilt};",
            types.request
        )?;
    }
    Ok(())
}

/// A request with an unknown member, with one of a wrong type, and without a required one.
fn spoilt(body: &Map<String, Value>, types: &Types) -> Vec<Map<String, Value>> {
    let mut unknown = body.clone();
    unknown.insert("NoSuchMember".to_owned(), json!(true));
    let mut wrong = body.clone();
    wrong.insert(types.member.to_owned(), json!(7));
    let mut without = body.clone();
    without.remove(types.member);
    match types.need {
        Need::Required => vec![unknown, wrong, without],
        Need::Optional => vec![unknown, wrong],
    }
}

/// The members of a JSON document, or the fields of a form.
fn members(exchange: &Exchange) -> Result<Map<String, Value>> {
    let media_type = exchange.request.header("content-type").unwrap_or_default();
    if media_type.starts_with("application/json") {
        return Ok(serde_json::from_slice(&exchange.request.body)?);
    }
    let boundary = media_type.strip_prefix("multipart/form-data; boundary=");
    let boundary = boundary.with_context(|| format!("content-type: {media_type}"))?;
    form(&exchange.request.body, boundary.trim_matches('"'))
}

/// The fields of a form (RFC 7578), those given several times as lists.
fn form(body: &[u8], boundary: &str) -> Result<Map<String, Value>> {
    let text = String::from_utf8_lossy(body);
    let parts = format!("\r\n{text}");
    let mut fields = Map::new();
    for part in parts.split(&format!("\r\n--{boundary}")).skip(1) {
        if part.starts_with("--") {
            return Ok(fields);
        }
        let (head, value) = part
            .split_once("\r\n\r\n")
            .context("a part without a head")?;
        let (_, name) = head
            .split_once(" name=\"")
            .context("a part without a name")?;
        let (name, _) = name.split_once('"').context("a name without an end")?;
        let value = json!(value);
        let place = fields.entry(name.to_owned()).or_insert(Value::Null);
        *place = match place.take() {
            Value::Null => value,
            Value::Array(mut list) => {
                list.push(value);
                list.into()
            }
            one @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                json!([one, value])
            }
        };
    }
    anyhow::bail!("a form without an end")
}

/// What the compiler says of a file, with the lines it speaks of; nothing if all is well.
pub(super) async fn check(source: &Path) -> Result<String> {
    let mut command = Command::new(tool("node")?);
    let modules = repository().join("target/test-tools/node_modules");
    command
        .arg(modules.join("typescript/bin/tsc"))
        .arg("--typeRoots")
        .arg(modules.join("@types"))
        .args([
            "--noEmit",
            "--strict",
            "--skipLibCheck",
            "--pretty",
            "false",
        ])
        .args(["--target", "es2022", "--types", "node"])
        // The packages list their types for old compilers only by path.
        .args(["--module", "commonjs", "--moduleResolution", "node10"])
        .arg(source);
    let outcome = run(&mut command, CHECK_MAX).await?;
    if outcome.status == Some(0) {
        return Ok(String::new());
    }
    Ok(outcome.stdout + &outcome.stderr)
}
