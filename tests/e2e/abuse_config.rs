//! Configurations that must not start: each fault is named with its file, its line and the way
//! out, by `check` and by `serve` alike, and a running gateway keeps what it had.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use malote_tests::{Outcome, SHOP_KEY, World, eventually, free_port, run};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::Method;

use crate::send_order;

/// What a check may take, whatever it is given.
const CHECK_MAX: Duration = Duration::from_secs(30);
const RELOAD_MAX: Duration = Duration::from_secs(20);
/// The documented exit status of a configuration with faults.
const FAULTY: i32 = 2;
/// Cuts of the file, for a file that is half written.
const CUTS: usize = 24;
/// What the contract's environment and file keep secret.
const SECRETS: [&str; 4] = [
    "mk_test_shop",
    "wJalrXUtnFEMI",
    "key-sandbox",
    "mautic-secret",
];

/// Faults of form, which one value has by itself, and faults of meaning: sentence, text of the
/// contract, text in its place, text whose line is named (empty: none), what is said.
const CASES: &str = include_str!("abuse_config/cases.json");

const ALLOWED: &str = "[\"127.0.0.1/32\"]";

/// What is put in place of what, and what must be said of it.
struct Case {
    sentence: String,
    from: String,
    to: String,
    at: String,
    says: Vec<String>,
}

/// The cases by kind, `form` or `meaning`.
fn cases(kind: &str) -> Result<Vec<Case>> {
    let mut all: serde_json::Value = serde_json::from_str(CASES)?;
    let rows: Vec<(String, String, String, String, Vec<String>)> =
        serde_json::from_value(all[kind].take())?;
    let case = |(sentence, from, to, at, says)| Case {
        sentence,
        from,
        to,
        at,
        says,
    };
    Ok(rows.into_iter().map(case).collect())
}

/// Ranges from which nobody may send without a login.
const OPEN: [&str; 9] = [
    "0.0.0.0/0",
    "::/0",
    "::ffff:0:0/96",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "126.0.0.0/7",
    "8.8.8.8",
    "192.168.1.1/24",
    "172.16.0.0/11",
];

struct Bench {
    world: World,
    text: String,
}

impl Bench {
    async fn start() -> Result<Self> {
        let world = World::start().await?;
        let file = world.gateway.folder().join("malote.toml");
        let text = std::fs::read_to_string(file)?;
        Ok(Self { world, text })
    }

    fn folder(&self) -> &Path {
        self.world.gateway.folder()
    }

    async fn malote(&self, verb: &str, file: &str, variables: &[(&str, &str)]) -> Result<Outcome> {
        let mut command = self.world.gateway.command(&[verb, "--config", file])?;
        command.envs(variables.iter().copied());
        run(&mut command, CHECK_MAX).await
    }

    /// Checks a text; answers what was said of it, with the exit status.
    async fn check(&self, text: &str) -> Result<(Option<i32>, String)> {
        std::fs::write(self.folder().join("case.toml"), text)?;
        said(self.malote("check", "case.toml", &[]).await?)
    }

    async fn refused(&self, case: &Case) -> Result<()> {
        let count = self.text.matches(&case.from).count();
        ensure!(count > 0, "{:?} does not stand in the contract", case.from);
        let text = self.text.replacen(&case.from, &case.to, 1);
        let (status, said) = self.check(&text).await?;
        ensure!(status == Some(FAULTY), "exit status {status:?}: {said}");
        if !case.at.is_empty() {
            let at = text.find(&case.at).context("the place")?;
            let line = text[..at].lines().count() + usize::from(text[..at].ends_with('\n'));
            let place = format!("case.toml:{}:", line.max(1));
            ensure!(said.contains(&place), "{place} is not named: {said}");
        }
        for part in &case.says {
            ensure!(said.contains(part.as_str()), "{part:?} is not said: {said}");
        }
        Ok(())
    }
}

/// What was said; no secret may be part of it.
fn said(outcome: Outcome) -> Result<(Option<i32>, String)> {
    let said = outcome.stdout + &outcome.stderr;
    for secret in SECRETS {
        ensure!(!said.contains(secret), "{secret} is shown: {said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    Ok((outcome.status, said))
}

#[tokio::test]
async fn every_faulty_configuration_is_refused_with_its_place_and_the_way_out() -> Result<()> {
    let mut bench = Bench::start().await?;
    let mut faults = Vec::new();
    for case in cases("form")?.iter().chain(&cases("meaning")?) {
        if let Err(error) = bench.refused(case).await {
            faults.push(format!("{}: {error:#}", case.sentence));
        }
    }
    for (sentence, result) in [
        ("the contract itself", good(&bench).await),
        ("open relays", open_relays(&bench).await),
        ("ports and certificates", doors(&bench).await),
        ("files that are none", files(&bench).await),
        ("files that are half written", cuts(&bench).await),
        ("secrets that all can read", open_secrets(&bench).await),
        ("variables", variables(&bench).await),
        ("all faults at once", all_at_once(&bench).await),
        ("no start", no_start(&bench).await),
        ("a reload", reload(&mut bench).await),
    ] {
        if let Err(error) = result {
            faults.push(format!("{sentence}: {error:#}"));
        }
    }
    ensure!(
        faults.is_empty(),
        "{} deviate:\n{}",
        faults.len(),
        faults.join("\n")
    );
    Ok(())
}

async fn good(bench: &Bench) -> Result<()> {
    let (status, said) = bench.check(&bench.text).await?;
    ensure!(status == Some(0), "exit status {status:?}: {said}");
    Ok(())
}

async fn open_relays(bench: &Bench) -> Result<()> {
    for range in OPEN {
        let ranges = format!("[\"127.0.0.1/32\", \"{range}\"]");
        let text = bench.text.replacen(ALLOWED, &ranges, 1);
        let (status, said) = bench.check(&text).await?;
        let is_named = said.contains("smtp.listeners[1].anonymous.allow_from[1]");
        ensure!(
            status == Some(FAULTY) && is_named,
            "{range}: {status:?}: {said}"
        );
    }
    Ok(())
}

async fn doors(bench: &Bench) -> Result<()> {
    let doors = bench.world.gateway.doors();
    let (plain, http) = (doors.plain.to_string(), doors.http.to_string());
    for (from, to, part) in [
        (
            plain.clone(),
            doors.submission.to_string(),
            "smtp.listeners[1].listen",
        ),
        (
            plain.clone(),
            format!("0.0.0.0:{}", doors.submission.port()),
            "smtp.listeners[1].listen",
        ),
        (plain.clone(), http.clone(), "is taken by http.listen"),
        (doors.admin.to_string(), http, "admin.listen"),
        (
            plain,
            "127.0.0.1:99999".to_owned(),
            "smtp.listeners[1].listen",
        ),
        (
            "\"key.pem\"".to_owned(),
            "\"other.pem\"".to_owned(),
            "smtp.listeners[0]",
        ),
        (
            "\"key.pem\"".to_owned(),
            "\"cert.pem\"".to_owned(),
            "smtp.listeners[0]",
        ),
        (
            "\"cert.pem\"".to_owned(),
            "\"nowhere.pem\"".to_owned(),
            "nowhere.pem",
        ),
    ] {
        let names = vec!["localhost".to_owned()];
        let CertifiedKey { signing_key, .. } = generate_simple_self_signed(names)?;
        std::fs::write(
            bench.folder().join("other.pem"),
            signing_key.serialize_pem(),
        )?;
        let (status, said) = bench.check(&bench.text.replacen(&from, &to, 1)).await?;
        let is_named = status == Some(FAULTY) && said.contains(part);
        ensure!(is_named, "{to} for {from}: {status:?}: {said}");
    }
    Ok(())
}

/// Whatever the file is, the answer comes at once.
async fn files(bench: &Bench) -> Result<()> {
    let folder = bench.folder();
    std::fs::File::create(folder.join("huge.toml"))?.set_len(1 << 30)?;
    std::fs::create_dir(folder.join("folder.toml"))?;
    symlink("loop.toml", folder.join("loop.toml"))?;
    let pipe = folder.join("pipe.toml");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    std::fs::write(folder.join("octets.toml"), [0xff, 0xfe, 0x00])?;
    for name in ["huge", "folder", "loop", "pipe", "octets", "nowhere"] {
        let file = format!("{name}.toml");
        for verb in ["check", "serve"] {
            let (status, said) = said(bench.malote(verb, &file, &[]).await?)?;
            let is_named = said.contains(&file);
            ensure!(
                status == Some(FAULTY) && is_named,
                "{verb} {file}: {status:?}: {said}"
            );
        }
    }
    Ok(())
}

async fn cuts(bench: &Bench) -> Result<()> {
    let step = bench.text.len() / CUTS;
    for end in (0..bench.text.len()).step_by(step) {
        let cut = bench.text.get(..end).context("the contract is ASCII")?;
        let (status, said) = bench.check(cut).await?;
        ensure!(
            matches!(status, Some(0 | FAULTY)),
            "cut at {end}: {status:?}: {said}"
        );
    }
    Ok(())
}

async fn open_secrets(bench: &Bench) -> Result<()> {
    let file = bench.folder().join("secret");
    std::fs::write(&file, "mk_test_of_a_file")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let literal = format!("api_key = \"{SHOP_KEY}\"");
    let text = bench
        .text
        .replacen(&literal, "api_key_file = \"secret\"", 1);
    let (status, said) = bench.check(&text).await?;
    ensure!(
        status == Some(0) && said.contains("every user of this machine can read"),
        "{said}"
    );
    ensure!(!said.contains("mk_test_of_a_file"), "{said}");
    std::fs::write(&file, "")?;
    let (status, said) = bench.check(&text).await?;
    ensure!(
        status == Some(FAULTY) && said.contains("credentials.shop.api_key_file"),
        "{said}"
    );
    Ok(())
}

async fn variables(bench: &Bench) -> Result<()> {
    for (name, value) in [
        ("MALOTE_HTTP__LISTEN", "["),
        ("MALOTE_X__Y", "["),
        ("MALOTE_HTTP__LISEN", "127.0.0.1:1"),
        ("MALOTE_SMTP__LISTENERS__7__LISTEN", "127.0.0.1:1"),
        ("MALOTE_HTTP____LISTEN", "127.0.0.1:1"),
    ] {
        let outcome = bench
            .malote("check", "malote.toml", &[(name, value)])
            .await?;
        let (status, said) = said(outcome)?;
        ensure!(
            status == Some(FAULTY) && said.contains(name),
            "{name}: {status:?}: {said}"
        );
    }
    Ok(())
}

/// Every fault, of form and of meaning, is told in one go, and no other.
async fn all_at_once(bench: &Bench) -> Result<()> {
    let names = [
        "an unknown key",
        "a word that is none",
        "a time before now",
        "a weight below nothing",
        "a route to a provider that is not there",
        "a stream with a route that is not there",
        "a rule to a route that is not there",
        "a credential with a stream that is not there",
        "a lent credential that is not there",
    ];
    let mut all = cases("form")?;
    all.extend(cases("meaning")?);
    all.retain(|case| names.contains(&case.sentence.as_str()));
    ensure!(all.len() == names.len(), "a name is none");
    let mut text = bench.text.clone();
    for case in &all {
        text = text.replacen(&case.from, &case.to, 1);
    }
    let (status, said) = bench.check(&text).await?;
    ensure!(status == Some(FAULTY), "{said}");
    for part in all.iter().flat_map(|case| &case.says) {
        ensure!(said.contains(part.as_str()), "{part:?} is not said: {said}");
    }
    let count = format!("{} errors, ", all.len());
    ensure!(said.contains(&count), "not {count}: {said}");
    ensure!(!said.contains("wait until"), "{said}");
    Ok(())
}

/// `serve` refuses what `check` refuses, before it opens a door or a store.
async fn no_start(bench: &Bench) -> Result<()> {
    let port = free_port()?;
    let door = SocketAddr::from(([127, 0, 0, 1], port));
    let http = bench.world.gateway.doors().http.to_string();
    let own = bench.text.replacen(&http, &door.to_string(), 1);
    let own = own.replacen("var/malote.db", "var/never.db", 1);
    for case in cases("meaning")? {
        let sentence = &case.sentence;
        let text = own.replacen(&case.from, &case.to, 1);
        std::fs::write(bench.folder().join("case.toml"), text)?;
        let (status, said) = said(bench.malote("serve", "case.toml", &[]).await?)?;
        ensure!(status == Some(FAULTY), "{sentence}: {status:?}: {said}");
        ensure!(said.contains("case.toml"), "{sentence}: {said}");
        ensure!(TcpStream::connect(door).is_err(), "{sentence}: it listens");
    }
    let store = bench.folder().join("var/never.db");
    ensure!(!store.exists(), "a store was made");
    Ok(())
}

/// A file that became faulty changes nothing, and says so in the metrics.
async fn reload(bench: &mut Bench) -> Result<()> {
    let gateway = &mut bench.world.gateway;
    gateway.set_config(|config| {
        config.text.push_str("\n[http\n");
        Ok(())
    })?;
    gateway.signal("HUP")?;
    let gateway = &bench.world.gateway;
    eventually("the failed reload is counted", RELOAD_MAX, async || {
        let metrics = gateway.admin(Method::GET, "/metrics").send().await?;
        let metrics = metrics.text().await?;
        let is_counted = metrics.lines().any(is_failed_reload);
        Ok(is_counted.then_some(()))
    })
    .await?;
    let outcome = bench.malote("check", "malote.toml", &[]).await?;
    if outcome.status != Some(FAULTY) {
        bail!("exit status {:?}", outcome.status);
    }
    send_order(&bench.world, "alive@case.example").await?;
    Ok(())
}

fn is_failed_reload(line: &str) -> bool {
    let is_metric = !line.starts_with('#') && line.contains("reload") && line.contains("fail");
    is_metric && !line.ends_with(" 0")
}
