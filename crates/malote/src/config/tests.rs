//! Whole configurations through [`super::read`].

use std::fs;
use std::path::{Path, PathBuf};

use malote_core::clock::FixedClock;

use super::*;

mod examples;
mod returned;
mod together;
mod tracking;
mod words;

/// A small configuration without faults or warnings; cases replace or add lines.
pub(super) const GOOD: &str = r#"
[http]
listen = "127.0.0.1:18080"
[admin]
listen = "127.0.0.1:18081"
[store.sqlite]
path = "var/malote.db"
[credentials.lent]
streams = ["tx"]
[[smtp.listeners]]
listen = "127.0.0.1:12525"
tls = "none"
trusted_plaintext = true
anonymous = { credential = "lent", allow_from = ["127.0.0.1/32"] }
[streams.tx]
class = "transactional"
route = "tx"
[routes.tx]
strategy = "failover"
targets = [{ provider = "box" }]
[providers.box.capture]
"#;

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock(jiff::Timestamp::UNIX_EPOCH))
}

/// Reads texts as files one over the other.
pub(super) fn read_texts(texts: &[&str], variables: &[(&str, &str)]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<PathBuf> = texts
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let path = dir.path().join(format!("{number}.toml"));
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let environment = variables.iter().map(|(k, v)| (k.into(), v.into()));
    read(&files, environment, &clock())
}

/// The faults as `line key: message`, without the directory.
fn said(outcome: &Outcome) -> Vec<String> {
    let line = |fault: &Fault| match &fault.location {
        Some(Location::File { line, .. }) => line.to_string(),
        Some(Location::Variable { name }) => name.clone(),
        None => "-".to_owned(),
    };
    let faults = outcome.report.faults.iter();
    faults
        .map(|f| format!("{} {}: {}", line(f), f.key, f.message))
        .collect()
}

/// Asserts that reading `text` fails with a fault whose line begins with `beginning`.
fn assert_refused(text: &str, beginning: &str) {
    let outcome = read_texts(&[text], &[]);
    let said = said(&outcome);
    assert!(outcome.config.is_none(), "taken: {text}");
    assert!(
        said.iter().any(|s| s.starts_with(beginning)),
        "{beginning}: {said:#?}"
    );
}

fn with(change: (&str, &str)) -> String {
    assert!(GOOD.contains(change.0), "{}", change.0);
    GOOD.replacen(change.0, change.1, 1)
}

#[test]
fn a_good_configuration_has_nothing_said_about_it() {
    let outcome = read_texts(&[GOOD], &[]);
    assert_eq!(said(&outcome), Vec::<String>::new());
    let config = outcome.config.unwrap();
    assert_eq!(config.streams.len(), 1);
    assert_eq!(config.providers.len(), 1);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_line() {
    let text = GOOD
        .replace("[http]\nlisten", "[http]\nlisen")
        .replace("class = \"transactional\"", "class = \"campain\"")
        .replace("trusted_plaintext = true", "trusted_plaintext = 1")
        .replace("path = ", "readers = 0\npath = ")
        + "[retention]\nbodies = '5 min'\n[log]\nformat = 'xml'\ncolour = true\n[provders]\n";
    let said = said(&read_texts(&[&text], &[]));
    for (line, key) in [
        ("7 ", "store.sqlite.readers: "),
        ("3 ", "http.lisen: unknown key; did you mean `listen`?"),
        (
            "14 ",
            "smtp.listeners[0].trusted_plaintext: must be true or false, not 1",
        ),
        (
            "17 ",
            "streams.tx.class: must be \"transactional\" or \"campaign\"; did you mean \"campaign\"?",
        ),
        ("24 ", "retention.bodies: \"5 min\" is not a duration"),
        ("26 ", "log.format: must be \"text\" or \"json\""),
        ("27 ", "log.colour: unknown key"),
        ("28 ", "provders: unknown key; did you mean `providers`?"),
    ] {
        let wanted = format!("{line}{key}");
        assert!(
            said.iter().any(|s| s.starts_with(&wanted)),
            "{wanted}: {said:#?}"
        );
    }
}

#[test]
fn durations_need_their_unit() {
    for bad in ["5", "'5'", "'5 min'", "'-1s'", "'1e9d'"] {
        assert_refused(
            &format!("{GOOD}[retention]\nbodies = {bad}"),
            "23 retention.bodies: ",
        );
    }
}

#[test]
fn references_that_lead_nowhere_are_named_with_the_nearest_name() {
    for (from, to, beginning) in [
        (
            "provider = \"box\"",
            "provider = \"bax\"",
            "20 routes.tx.targets[0].provider: ",
        ),
        ("route = \"tx\"", "route = \"t\"", "17 streams.tx.route: "),
        (
            "streams = [\"tx\"]",
            "streams = [\"ty\"]",
            "9 credentials.lent.streams[0]: ",
        ),
        (
            "credential = \"lent\"",
            "credential = \"len\"",
            "14 smtp.listeners[0].anonymous.credential: ",
        ),
    ] {
        assert_refused(&with((from, to)), beginning);
    }
}

#[test]
fn a_file_that_is_no_toml_is_refused_at_its_line() {
    for (text, beginning) in [
        ("[http]\nlisten = \"127.0.0.1:1\n", "2 : "),
        (
            "[http]\nlisten = '127.0.0.1:1'\nlisten = '127.0.0.1:2'\n",
            "3 : duplicate key",
        ),
        (
            "[providers.a.capture]\n[providers.a.capture]\n",
            "2 : duplicate key",
        ),
        ("[http\n", "1 : "),
    ] {
        assert_refused(text, beginning);
    }
    let missing = read(&["/nowhere/malote.toml".into()], [], &clock());
    assert_eq!(missing.report.exit_code(), 2);
    assert!(
        missing
            .report
            .to_string()
            .contains("/nowhere/malote.toml: error: cannot be opened")
    );
}

#[test]
fn a_half_written_file_is_read_or_refused_and_never_a_panic() {
    let text = include_str!("testdata/contract.toml");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.toml");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        fs::write(&file, &text[..end]).unwrap();
        let mut reading = read::Reading::new(std::slice::from_ref(&file), []);
        let raw = reading.extract::<raw::RawConfig>();
        let report = reading.report();
        assert!(raw.is_some() || !report.is_good(), "cut at {end}");
        assert!(
            report.faults.iter().all(|fault| fault.location.is_some()),
            "{report}"
        );
    }
}

#[test]
fn later_files_and_variables_are_laid_over_earlier_ones() {
    let over = "[http]\nbody_max = '1MiB'\n[routes.tx]\ntargets = [{ provider = 'box', pool = 'p' }]\n\
                [providers.box.pools.p]";
    let variables = [
        ("MALOTE_HTTP__LISTEN", "127.0.0.1:28080"),
        ("MALOTE_STORE__SQLITE__READERS", "7"),
        ("MALOTE_SMTP__LISTENERS__0__TRUSTED_PLAINTEXT", "true"),
        ("MALOTE_CREDENTIALS__LENT__API_KEY", "123456789012"),
        ("MALOTE_CREDENTIALS__LENT__STREAMS", "['tx']"),
        ("MALOTE_LOG", "debug"),
    ];
    let outcome = read_texts(&[GOOD, over], &variables);
    assert_eq!(said(&outcome), Vec::<String>::new());
    let config = outcome.config.unwrap();
    let http = config.http.unwrap();
    assert_eq!(http.listen.port(), 28080);
    assert_eq!(http.body_max.0, 1 << 20);
    assert_eq!(config.store.sqlite().unwrap().readers, 7);
    assert!(config.credentials.by_api_key("123456789012").is_some());
    let route = config.router_config.routes.values().next().unwrap();
    assert_eq!(route.targets.len(), 1);
    assert_eq!(route.targets[0].pool.as_deref(), Some("p"));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, text, beginning) in [
        ("MALOTE_X__Y", "[", "MALOTE_X__Y x: unknown key"),
        (
            "MALOTE_HTTP__LISTEN",
            "[",
            "MALOTE_HTTP__LISTEN http.listen: ",
        ),
        (
            "MALOTE_HTTP__LISEN",
            "a",
            "MALOTE_HTTP__LISEN http.lisen: unknown key; did you mean",
        ),
        (
            "MALOTE_STORE__SQLITE__READERS",
            "many",
            "MALOTE_STORE__SQLITE__READERS store.sqlite",
        ),
        (
            "MALOTE_STORE__SQLITE__READERS",
            "0",
            "MALOTE_STORE__SQLITE__READERS store.sqlite",
        ),
        ("MALOTE_HTTP__", "a", "MALOTE_HTTP__ : has an empty part"),
        (
            "MALOTE_SMTP__LISTENERS__9__TLS",
            "none",
            "MALOTE_SMTP__LISTENERS__9__TLS : ",
        ),
    ] {
        let outcome = read_texts(&[GOOD], &[(name, text)]);
        let said = said(&outcome);
        assert!(outcome.config.is_none(), "{name}");
        assert!(
            said.iter().any(|s| s.starts_with(beginning)),
            "{name}: {said:#?}"
        );
    }
}

#[test]
fn no_report_shows_a_secret() {
    const MARK: &str = "S3cr3tMarker";
    let texts = [
        format!("{GOOD}[credentials.b]\napi_key = '{MARK}'\nstreems = 1\n"),
        format!("{GOOD}[credentials]\nb = {{ api_key = '{MARK}', streems = 1 }}\n"),
        format!("{GOOD}[credentials.b]\napi_key = ['{MARK}']\n"),
        format!("{GOOD}[credentials.b]\napi_kee = '{MARK}'\n"),
        format!("{GOOD}[credentials.b]\nsmtp_passwort = {{ a = '{MARK}' }}\n"),
        format!("{GOOD}[credentials.b]\nsmtp_password = '{MARK}\n"),
        format!("{GOOD}[credentials.b]\nsmtp_password = '{MARK}' x\n"),
        format!("{GOOD}[credentials.b]\nsmtp_password = '{MARK}'\nsmtp_password = '{MARK}2'\n"),
        format!("{GOOD}[credentials.b]\nsmtp_password = \"\"\"\n{MARK}\n\"\"\" y\n"),
        format!("{GOOD}[providers.c.mailgun]\ndomain = 'x'\napi_key = '{MARK}\u{7f}'\n"),
        format!("{GOOD}[providers.c.smtp]\nhost = 'x'\nuser = 'u'\npassword = 5{MARK}\n"),
    ];
    for text in &texts {
        let report = read_texts(&[text], &[]).report;
        assert!(!report.faults.is_empty(), "{text}");
        for shown in [
            report.to_string(),
            serde_json::to_string(&report).unwrap(),
            format!("{report:?}"),
        ] {
            assert!(!shown.contains(MARK), "{shown}");
        }
    }
    for name in [
        "MALOTE_CREDENTIALS__B__API_KEE",
        "MALOTE_CREDENTIALS__B__API_KEY",
    ] {
        let report = read_texts(&[GOOD], &[(name, MARK)]).report;
        assert!(!format!("{report} {report:?}").contains(MARK));
    }
}

#[test]
fn a_secret_file_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, "abcdefghijklmnop\n").unwrap();
    let text = format!("{GOOD}[credentials.b]\nstreams = ['tx']\napi_key_file = {file:?}\n");
    for (mode, warnings) in [(0o644, 1), (0o640, 0), (0o600, 0)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = read_texts(&[&text], &[]);
        assert_eq!(outcome.report.warnings(), warnings, "{mode:o}");
        let config = outcome.config.unwrap();
        assert!(config.credentials.by_api_key("abcdefghijklmnop").is_some());
    }
}

#[test]
fn two_classes_under_one_sender_domain_are_warned_of() {
    let text = format!(
        "{GOOD}[credentials.b]\nstreams = ['tx', 'news']\napi_key = 'abcdefghijklmnop'\n\
         from_domains = ['shop.example']\n\
         [streams.news]\nclass = 'campaign'\nroute = 'news'\n\
         [routes.news]\nstrategy = 'failover'\ntargets = [{{ provider = 'box', pool = 'news' }}]\n\
         [providers.box.pools.news]\n"
    );
    let outcome = read_texts(&[&text], &[]);
    let said = said(&outcome);
    assert!(
        said.iter()
            .any(|s| s.contains("credentials.b.from_domains[0]: transactional and campaign")),
        "{said:#?}"
    );
    assert_eq!(outcome.report.exit_code(), 0);
}

#[test]
fn two_doors_on_one_port_and_keys_that_do_not_fit_are_refused() {
    assert_refused(
        &with(("127.0.0.1:18081", "0.0.0.0:18080")),
        "5 admin.listen: ",
    );
    assert_refused(
        &with(("127.0.0.1:18081", "127.0.0.1:0")),
        "5 admin.listen: port 0",
    );
    assert_refused(
        &with(("127.0.0.1:18081", "10.0.0.1:18081")),
        "5 admin.listen: ",
    );
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    examples::write_certificate(one.path());
    examples::write_certificate(two.path());
    let tls = |cert: &Path, key: &Path| {
        let (cert, key) = (cert.join("cert.pem"), key.join("key.pem"));
        format!("[http]\ntls = {{ cert_file = {cert:?}, key_file = {key:?} }}")
    };
    let good = with(("[http]", &tls(one.path(), one.path())));
    assert!(read_texts(&[&good], &[]).report.is_good());
    let crossed = with(("[http]", &tls(one.path(), two.path())));
    assert_refused(&crossed, "3 http.tls.key_file: ");
    let gone = with(("[http]", &tls(Path::new("/nowhere"), two.path())));
    assert_refused(&gone, "3 http.tls.cert_file: ");
}

#[test]
fn what_follows_from_a_fault_is_not_told_as_another() {
    for (from, to, only) in [
        (
            "class = \"transactional\"",
            "class = \"x\"",
            "streams.tx.class",
        ),
        (
            "[providers.box.capture]",
            "[provders.box.capture]",
            "provders",
        ),
        (
            "[providers.box.capture]",
            "[providers.box]\ncaptur = {}",
            "providers.box.captur",
        ),
        ("path = ", "paht = ", "store.sqlite.paht"),
        ("strategy = ", "stratgy = ", "routes.tx.stratgy"),
        ("[routes.tx]", "[routes.TX]", "routes.TX"),
        (
            "streams = [\"tx\"]",
            "streams = \"tx\"",
            "credentials.lent.streams",
        ),
        ("listen = \"127.0.0.1:12525\"", "", "smtp.listeners[0]"),
    ] {
        let report = read_texts(&[&with((from, to))], &[]).report;
        let keys: Vec<_> = report.faults.iter().map(|f| f.key.as_str()).collect();
        assert_eq!(keys, [only], "{report}");
    }
}

#[test]
fn a_fault_inside_one_table_does_not_hide_what_others_name_wrongly() {
    let text = with(("provider = \"box\"", "provider = \"bax\"")) + "[log]\nformat = 'xml'\n";
    let report = read_texts(&[&text], &[]).report;
    let keys: Vec<_> = report.faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["routes.tx.targets[0].provider", "log.format"]);
    assert!(!report.is_partial);
}

#[test]
fn without_a_door_a_store_or_a_stream_nothing_starts() {
    let report = read_texts(&[""], &[]).report;
    let keys: Vec<_> = report.faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "smtp.listeners",
            "store",
            "streams",
            "providers",
            "credentials"
        ]
    );
}

#[test]
fn a_file_with_nothing_but_faults_is_reported_in_bounded_time() {
    let lines: String = (0..3_000)
        .map(|n| format!("[streams.s{n}]\nclass = {n}\n"))
        .collect();
    let keys: String = (0..30_000).map(|n| format!("k{n} = 1\n")).collect();
    let report = read_texts(&[&format!("{keys}{lines}")], &[]).report;
    assert_eq!(report.exit_code(), 2);
    assert!(report.faults.len() <= 501 && report.is_partial);
    assert!(report.to_string().contains("more faults are not listed"));
}

#[test]
fn what_nothing_leads_to_is_warned_of() {
    let text = format!(
        "{GOOD}[credentials.idle]\nstreams = ['tx']\n[providers.spare.capture]\n\
         [streams.other]\nclass = 'transactional'\nroute = 'tx'\n"
    );
    let report = read_texts(&[&text], &[]).report;
    let keys: Vec<_> = report.faults.iter().map(|f| f.key.as_str()).collect();
    assert_eq!(
        keys,
        ["credentials.idle", "providers.spare", "streams.other"]
    );
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn what_would_lose_stain_or_relay_mail_does_not_start() {
    let campaign = "[streams.news]\nclass = 'campaign'\nroute = 'tx'\n";
    let circle = "[routes.a]\nstrategy = 'failover'\nfallback = 'b'\n\
                  targets = [{ provider = 'box' }]\n\
                  [routes.b]\nstrategy = 'failover'\nfallback = 'a'\n\
                  targets = [{ provider = 'box', pool = 'x' }]\n[providers.box.pools.x]\n";
    let weight = "[routes.w]\nstrategy = 'weighted'\n\
                  targets = [{ provider = 'box', weight = nan }]\n";
    for (text, beginning) in [
        (
            format!("{GOOD}{campaign}"),
            "20 routes.tx.targets[0]: the campaign stream",
        ),
        (format!("{GOOD}{circle}"), "24 routes.a.fallback: "),
        (format!("{GOOD}{weight}"), "24 routes.w.targets[0].weight: "),
        (
            with(("127.0.0.1/32", "0.0.0.0/1")),
            "14 smtp.listeners[0].anonymous.allow_from[0]: ",
        ),
        (
            with(("127.0.0.1/32", "192.168.1.1/24")),
            "14 smtp.listeners[0].anonymous.allow_from[0]: ",
        ),
    ] {
        assert_refused(&text, beginning);
    }
}
