//! A service's page: made from what the test saw and what the program tells.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};
use malote_tests::repository;
use serde_json::Value;

use super::asked;
use super::compare::{Fate, Form};
use super::messages::Message;
use super::presets;
use super::program;
use super::run::{Run, provider_tables};
use super::services::{Lines, Service};

/// The variable that makes the test write the pages.
const WRITE_VARIABLE: &str = "MALOTE_WRITE_PAGES";
/// The gateway's own configuration.
const OWN: &str = "malote.toml";
/// How the pages are made anew.
const RENEW: &str = "MALOTE_WRITE_PAGES=1 cargo test -p malote-tests --test e2e corpus";
/// What is said of a message to which nothing was done.
const UNTOUCHED: &str = "octet for octet";
/// What is said of a way that did nothing to any message.
const UNTOUCHED_ALL: &str = "Every message of the corpus arrived octet for octet.";
/// The page of a service.
pub(super) async fn of_service(service: &Service, run: &Run) -> Result<String> {
    let kind = service.kind.as_str();
    let told = program::kind(&run.gateway, kind, OWN).await?;
    let plain = program::kind(&run.gateway, "smtp", OWN).await?;
    let mut page = format!("# {}\n\n{}", service.title, note("corpus.rs"));
    add_lines(&mut page, service)?;
    add_carried(&mut page, service, &[&told, &plain])?;
    asked::add(&mut page, service, &run.gateway).await?;
    add_list(&mut page, service, &[&told, &plain])?;
    page += "## What arrives\n\nEach message of [the corpus](../../tests/corpus) to a simulator of \
             the service, with a relay behind it that gets what is refused. Every recipient got \
             one copy, and a hidden one stood nowhere.\n\n";
    for (way, fates) in &run.fates {
        let (seen, listed) = (form_of(fates), service.form);
        ensure!(
            *way == "smtp" || seen == listed,
            "messages go as {seen}, not {listed}"
        );
        add_fates(&mut page, way, fates)?;
    }
    let answers = told["answers"].as_array().context("no answers")?;
    page += "## What its answers mean\n\n";
    if answers.is_empty() {
        page += "Codes are read by RFC 5321 4.2 and RFC 3463. Presets know more of their \
                 servers.\n\n";
        presets::add(&mut page, &run.gateway).await?;
    } else {
        for (transport, title) in [("api", "By API"), ("smtp", "By SMTP")] {
            writeln!(page, "### {title}\n")?;
            add_answers(&mut page, answers, transport)?;
        }
    }
    add_doubts(&mut page, service, answers)?;
    Ok(format!("{}\n", page.trim_end()))
}

/// Where a page comes from.
pub(super) fn note(test: &str) -> String {
    format!("<!-- Made by tests/e2e/{test} from what it saw; do not edit. {RENEW} -->\n\n")
}

/// Compares a page with the one in `docs/providers`, or writes it if the variable asks for it.
pub(super) fn compare(name: &str, page: &str) -> Result<()> {
    let path = repository().join(format!("docs/providers/{name}.md"));
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        return Ok(std::fs::write(path, page)?);
    }
    let committed = program::committed(&path)?;
    if committed == page {
        return Ok(());
    }
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (committed.lines().collect(), page.lines().collect());
    let gone = committed.lines().filter(|line| !new.contains(line));
    let come = page.lines().filter(|line| !old.contains(line));
    let gone: String = gone.map(|line| format!("- {line}\n")).collect();
    let come: String = come.map(|line| format!("+ {line}\n")).collect();
    bail!(
        "docs/providers/{name}.md is not what was seen (+):\n{gone}{come}\
         if that is right: {RENEW}"
    )
}

/// Compares what arrived by one way with what the service's page says of it. The page's messages
/// have a tag beside, which SMTP has no place for, so more may be always added there.
pub(super) fn compare_arrivals(
    service: &Service,
    way: &str,
    fates: &[(Message, Fate)],
) -> Result<()> {
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        return Ok(());
    }
    let mut seen = String::new();
    add_fates(&mut seen, way, fates)?;
    let name = service.kind.as_str();
    let path = repository().join(format!("docs/providers/{name}.md"));
    let page = program::committed(&path)?;
    let (title, _) = seen.split_once('\n').context("no title")?;
    let arrivals = page.split_once("## What arrives");
    let (_, arrivals) = arrivals.context("no such section")?;
    let (_, section) = arrivals.split_once(title).context("no such way")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let section = section.split("\n### ").next().unwrap_or_default();
    let known: BTreeSet<&str> = section.lines().chain(names_of(section)).collect();
    let has_no_rows = seen.contains(UNTOUCHED_ALL) && !section.contains(UNTOUCHED_ALL);
    let untouched = fates.iter().filter(|_| has_no_rows);
    let rows = untouched.map(|(message, _)| row(message, UNTOUCHED));
    let told = seen.lines().filter(|line| line.starts_with('|'));
    let intro = seen.lines().find(|line| line.starts_with("Messages go"));
    let told = told.chain(intro.into_iter().flat_map(names_of));
    let other: String = rows
        .chain(told.map(str::to_owned))
        .filter(|said| !known.contains(said.as_str()))
        .map(|said| format!("+ {said}\n"))
        .collect();
    ensure!(
        other.is_empty(),
        "docs/providers/{name}.md does not say of {way}:\n{other}"
    );
    Ok(())
}

/// What stands between backticks.
fn names_of(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn add_lines(page: &mut String, service: &Service) -> Result<()> {
    writeln!(page, "## In the configuration\n")?;
    let kind = service.kind.as_str();
    let ways = service.api.iter().map(|lines| ("By its API", lines));
    for (title, lines) in ways.chain([("By SMTP", &service.smtp)]) {
        let tables = provider_tables(service, lines, kind);
        writeln!(page, "{title}:\n\n```toml\n{tables}```\n")?;
    }
    if let Some(webhook) = &service.webhook {
        let lines = format!("[providers.{kind}.webhook]\n{}", webhook.table);
        writeln!(
            page,
            "Its events, whichever way mail goes:\n\n```toml\n{lines}```\n"
        )?;
        writeln!(page, "In its console: {}\n", webhook.console)?;
    }
    Ok(())
}

/// What a provider of this name carries.
pub(super) fn carried<'a>(told: &[&'a Value], name: &str) -> Result<&'a Value> {
    let providers = told.iter().filter_map(|told| told["providers"].as_array());
    let mut providers = providers.flatten();
    let provider = providers.find(|provider| provider["provider"] == name);
    provider.with_context(|| format!("nothing is told of {name}"))
}

/// A number of octets as the services write it.
pub(super) fn octets(value: &Value) -> String {
    const MIB: u64 = 1 << 20;
    let octets = value.as_u64().unwrap_or_default();
    match octets.is_multiple_of(MIB) {
        true => format!("{} MiB", octets / MIB),
        false => format!("{} MB", octets as f64 / 1e6),
    }
}

fn add_carried(page: &mut String, service: &Service, told: &[&Value]) -> Result<()> {
    let mut ways: Vec<(&str, &Lines)> = Vec::new();
    ways.extend(service.api.iter().map(|lines| ("api", lines)));
    ways.push(("smtp", &service.smtp));
    let mut rows = vec![
        vec![String::new()],
        vec!["---".to_owned()],
        vec!["largest message".to_owned()],
        vec!["recipients of one call".to_owned()],
        vec!["MAIL FROM".to_owned()],
        vec!["local parts in UTF-8".to_owned()],
        vec!["pools by".to_owned()],
        vec!["events by webhook".to_owned()],
    ];
    for (name, lines) in ways {
        let carries = carried(told, name)?;
        let title = if name == "api" { "API" } else { "SMTP" };
        let said = |is: &Value, yes: &str, no: &str| {
            let text = if is == true { yes } else { no };
            text.to_owned()
        };
        let pool = lines.pool.map(|(key, _)| format!("`{key}`"));
        let cells = [
            title.to_owned(),
            "---".to_owned(),
            octets(&carries["message_bytes_max"]),
            carries["recipients_max"].to_string(),
            said(&carries["envelope_sender"], "as given", "the service's own"),
            said(&carries["smtputf8"], "if the server says so", "no"),
            pool.unwrap_or_else(|| "none".to_owned()),
            service.webhook.as_ref().map_or("no", |_| "yes").to_owned(),
        ];
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.push(cell);
        }
    }
    writeln!(page, "## What it carries\n")?;
    for row in rows {
        writeln!(page, "| {} |", row.join(" | "))?;
    }
    writeln!(page)?;
    Ok(())
}

/// What the service itself suppresses, as `malote suppressions` may ask for it.
fn add_list(page: &mut String, service: &Service, told: &[&Value]) -> Result<()> {
    writeln!(page, "## Its own suppression list\n")?;
    let list = match service.api {
        Some(_) => &carried(told, "api")?["list"],
        None => &Value::Null,
    };
    let Some(tells) = list["tells"].as_str() else {
        let text = "None that could be asked: `malote suppressions pull` and `push` refuse it.";
        writeln!(page, "{text}\n")?;
        return Ok(());
    };
    writeln!(page, "- pulled: {tells}")?;
    match (list["becomes"].as_str(), list["takes_none"].as_str()) {
        (Some(becomes), _) => writeln!(page, "- pushed: an address becomes {becomes}\n")?,
        (None, Some(why)) => writeln!(page, "- pushed: nothing. {why}\n")?,
        (None, None) => bail!("nothing is told of what is pushed"),
    }
    Ok(())
}

fn add_fates(page: &mut String, way: &str, fates: &[(Message, Fate)]) -> Result<()> {
    let title = if way == "api" { "By API" } else { "By SMTP" };
    writeln!(page, "### {title}\n")?;
    let arrived: Vec<&Fate> = fates
        .iter()
        .map(|(_, fate)| fate)
        .filter(|fate| !matches!(fate.form, Form::Refused(_)))
        .collect();
    let lost = always(
        &arrived,
        |fate| &fate.lost,
        |fate, name| fate.has.contains(name),
    );
    let added = always(&arrived, |fate| &fate.added, |_, _| true);
    page.push_str(match form_of(fates) {
        "fields" => "Messages go as fields, and the service writes them anew.",
        "MIME" if way == "smtp" => "Messages go as MIME; this server offers 8BITMIME and SMTPUTF8.",
        "MIME" => "Messages go as MIME.",
        _ => "Messages go as MIME where the call allows it, else as fields.",
    });
    if !lost.is_empty() {
        write!(page, " What never goes along: {}.", names(&lost))?;
    }
    if !added.is_empty() {
        write!(page, " What is always added: {}.", names(&added))?;
    }
    let options: BTreeSet<String> = arrived
        .iter()
        .flat_map(|fate| fate.options.clone())
        .collect();
    if way == "api" && !options.is_empty() {
        write!(page, " What is told beside them: {}.", names(&options))?;
    }
    let rows: Vec<(&Message, String)> = fates
        .iter()
        .map(|(message, fate)| (message, in_words(fate, &lost, &added)))
        .collect();
    if rows.iter().all(|(_, words)| words == UNTOUCHED) {
        writeln!(page, "\n\n{UNTOUCHED_ALL}\n")?;
        return Ok(());
    }
    writeln!(page, "\n\n| message | what arrives |\n| --- | --- |")?;
    for (message, words) in rows {
        writeln!(page, "{}", row(message, &words))?;
    }
    writeln!(page)?;
    Ok(())
}

/// What a page says of one message.
fn row(message: &Message, words: &str) -> String {
    let (title, name) = (message.title, message.name);
    let words = cell(words);
    format!("| [{title}](../../tests/corpus/{name}.eml) | {words} |")
}

/// How messages went: `MIME`, `fields`, or by either.
fn form_of(fates: &[(Message, Fate)]) -> &'static str {
    let is_fields = |fate: &Fate| fate.form == Form::Fields;
    let is_mime = |fate: &Fate| matches!(fate.form, Form::AsItIs | Form::Rewritten);
    let has_fields = fates.iter().any(|(_, fate)| is_fields(fate));
    let has_mime = fates.iter().any(|(_, fate)| is_mime(fate));
    match (has_fields, has_mime) {
        (true, true) => "MIME or fields",
        (true, false) => "fields",
        (false, _) => "MIME",
    }
}

/// The names that are in all of these sets that could have them, if those are more than one.
fn always<'a>(
    fates: &[&'a Fate],
    set: impl Fn(&'a Fate) -> &'a BTreeSet<String>,
    may: impl Fn(&Fate, &str) -> bool,
) -> BTreeSet<String> {
    let all: BTreeSet<&String> = fates.iter().flat_map(|fate| set(fate)).collect();
    let is_always = |name: &&&String| {
        let could = fates.iter().filter(|fate| may(fate, name));
        could.clone().count() > 1 && could.clone().all(|fate| set(fate).contains(**name))
    };
    all.iter()
        .filter(is_always)
        .map(|name| (*name).clone())
        .collect()
}

fn in_words(fate: &Fate, lost: &BTreeSet<String>, added: &BTreeSet<String>) -> String {
    let mut words = Vec::new();
    let form = match &fate.form {
        Form::Refused(why) => return why.clone(),
        Form::AsItIs => UNTOUCHED,
        Form::Rewritten => "encoded in another way",
        Form::Fields => "as fields",
    };
    let lost: BTreeSet<String> = fate.lost.difference(lost).cloned().collect();
    if !lost.is_empty() {
        words.push(format!("without {}", names(&lost)));
    }
    let added: BTreeSet<String> = fate.added.difference(added).cloned().collect();
    if !added.is_empty() {
        words.push(format!("with {}", names(&added)));
    }
    words.extend(fate.changed.iter().cloned());
    match words.is_empty() {
        true if fate.form == Form::AsItIs => form.to_owned(),
        true => format!("{form}, says the same"),
        false => format!("{form}: {}", words.join("; ")),
    }
}

fn names(names: &BTreeSet<String>) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Adds the answers of this transport as a table.
pub(super) fn add_answers(page: &mut String, answers: &[Value], transport: &str) -> Result<()> {
    let rows: Vec<&Value> = answers
        .iter()
        .filter(|answer| answer["transport"] == transport)
        .collect();
    if rows.is_empty() {
        writeln!(
            page,
            "Nothing is documented beside the codes of RFC 5321 and RFC 3463.\n"
        )?;
        return Ok(());
    }
    writeln!(
        page,
        "| status | answer | verdict | where it is documented |"
    )?;
    writeln!(page, "| --- | --- | --- | --- |")?;
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let answer = match text("answer") {
            "" => "(nothing)".to_owned(),
            answer => format!("`{answer}`"),
        };
        let ours = match row["is_quoted"] == true {
            true => "",
            false => " *",
        };
        let (status, verdict) = (&row["status"], text("verdict"));
        let (answer, source) = (cell(&answer), cell(text("source")));
        writeln!(
            page,
            "| {status} | {answer}{ours} | `{verdict}` | {source} |"
        )?;
    }
    writeln!(page)?;
    Ok(())
}

fn add_doubts(page: &mut String, service: &Service, answers: &[Value]) -> Result<()> {
    let has_ours = answers.iter().any(|answer| answer["is_quoted"] == false);
    if !has_ours && service.doubts.is_empty() {
        return Ok(());
    }
    writeln!(page, "## What no test shows\n")?;
    if has_ours {
        writeln!(
            page,
            "- Answers marked * are in our words: the service documents the occasion and no \
             sentence. The real ones are known by their key words, and another wording may get \
             the verdict of its status."
        )?;
    }
    for doubt in service.doubts {
        writeln!(page, "- {doubt}")?;
    }
    Ok(())
}

/// Text that shall stand in one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}
