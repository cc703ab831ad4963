//! The files that are shown to operators: THE contract of names, `malote.toml`, `dev.toml`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use malote_core::fault::Severity;
use malote_core::name::CredentialName;
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use serde::Deserialize;

use super::super::de::{NodeReader, Notes};
use super::super::raw::RawConfig;
use super::super::secrets::is_secret;
use super::super::tree::{Node, Path as Keys, Value};
use super::*;

pub(super) const MALOTE_TOML: &str = include_str!("../../../../../config/malote.toml");
const EIGHT_TOML: &str = include_str!("../../../../../config/eight.toml");
const DEV_TOML: &str = include_str!("../../../../../config/dev.toml");

/// A certificate for `localhost` and its key, as `cert.pem` and `key.pem`.
pub(super) fn write_certificate(folder: &Path) {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    let key = folder.join("key.pem");
    fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs one test of this file again in a process of its own, with variables and a directory:
/// a process cannot change its own environment without unsafe code.
pub(super) fn in_own_process(test: &str, directory: &Path, variables: &[(&str, &str)]) -> bool {
    const MARK: &str = "MALOTE_TEST_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("config::tests::{test}"), "--nocapture"])
        .envs(variables.iter().copied())
        .env(MARK, "1")
        .current_dir(directory)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
    false
}

#[test]
fn the_contract_loads_word_for_word() {
    let dir = tempfile::tempdir().unwrap();
    write_certificate(dir.path());
    let variables = [
        ("MAUTIC_PASSWORD", "mautic-password"),
        ("SES_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("MAILGUN_KEY", "key-0123456789abcdef"),
        ("MAILGUN_SIGNING_KEY", "0123456789abcdef"),
    ];
    if !in_own_process(
        "examples::the_contract_loads_word_for_word",
        dir.path(),
        &variables,
    ) {
        return;
    }
    let outcome = read_texts(&[include_str!("../testdata/contract.toml")], &[]);
    let errors = outcome.report.faults.iter();
    let errors: Vec<_> = errors.filter(|f| f.severity == Severity::Error).collect();
    assert_eq!(errors, Vec::<&Fault>::new());
    let config = outcome.config.unwrap();
    assert!(config.credentials.by_api_key("mk_test_shop").is_some());
    assert!(
        config
            .credentials
            .by_smtp_login("mautic", b"mautic-password")
            .is_some()
    );
    let lent = CredentialName::try_from("loadtest").unwrap();
    assert!(config.credentials.get(&lent).is_some());
    assert_eq!(config.providers.len(), 3);
    assert_eq!(config.streams.len(), 2);
    assert_eq!(config.router_config.rules.len(), 2);
}

/// Secrets that `malote.toml` names.
pub(super) const VARIABLES: [(&str, &str); 6] = [
    ("MALOTE_ADMIN_TOKEN", "0123456789abcdef"),
    ("SHOP_API_KEY", "0123456789abcdef"),
    ("MAUTIC_PASSWORD", "0123456789abcdef"),
    ("SES_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("MAILGUN_KEY", "key-0123456789abcdef"),
    ("MAILGUN_SIGNING_KEY", "0123456789abcdef"),
];

#[test]
fn the_full_example_has_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    if in_own_process(
        "examples::the_full_example_has_no_fault",
        dir.path(),
        &VARIABLES,
    ) {
        let outcome = read_texts(&[MALOTE_TOML], &[]);
        assert_eq!(said(&outcome), Vec::<String>::new());
        assert!(outcome.config.is_some());
    }
}

/// The example with every setting in force: `#key = value` without its `#`.
fn everything() -> Node {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    let text: Vec<String> = MALOTE_TOML.lines().map(uncommented).collect();
    Node::parse(&text.join("\n"), 0).unwrap_or_else(|fault| panic!("{fault:?}"))
}

#[test]
fn the_full_example_shows_every_key_and_every_shown_value_fits() {
    let tree = everything();
    let notes = RefCell::new(Notes::default());
    let root = Keys::default();
    let raw = RawConfig::deserialize(NodeReader::root(&tree, &root, &notes));
    raw.map(|_| ()).unwrap();
    let notes = notes.into_inner();
    assert_eq!(notes.unknown, []);

    // What can be given as variable or file is a secret, and reports must know it; but for public
    // keys, which stand where the services' secrets do, and a database's URL, which is known by its
    // path, as other URLs are no secrets.
    for known in notes.tables.iter().map(|(_, known)| known) {
        let secrets = known.iter().filter_map(|key| key.strip_suffix("_env"));
        for key in secrets.filter(|key| !["public_key", "url"].contains(key)) {
            assert!(is_secret(key), "{key} is not known as a secret");
        }
    }

    // A table that stands in several places need not show all its keys in each of them.
    let mut shown: BTreeMap<&[&str], BTreeSet<String>> = BTreeMap::new();
    for (path, known) in &notes.tables {
        let Some(Value::Table(members)) = tree.find(path).map(|node| &node.value) else {
            continue;
        };
        shown
            .entry(known)
            .or_default()
            .extend(members.keys().cloned());
    }
    for (known, shown) in shown {
        let missing: Vec<_> = known.iter().filter(|key| !shown.contains(**key)).collect();
        assert!(
            missing.is_empty(),
            "not in config/malote.toml: {missing:?} of {known:?}"
        );
    }
}

#[test]
fn the_example_of_eight_services_needs_nothing_but_their_simulators() {
    let dir = tempfile::tempdir().unwrap();
    let test = "examples::the_example_of_eight_services_needs_nothing_but_their_simulators";
    if !in_own_process(test, dir.path(), &[]) {
        return;
    }
    // What `malote sandbox` writes.
    fs::create_dir_all("var/sandbox").unwrap();
    for kind in [Kind::Ses, Kind::Sendgrid] {
        let sandbox = Sandbox::new(
            kind,
            SandboxConfig::new(Arc::new(|| jiff::Timestamp::UNIX_EPOCH)),
        );
        let key = sandbox.certificate_pem().or(sandbox.public_key_pem());
        let file = format!("var/sandbox/{}.pem", kind.as_str());
        fs::write(file, key.unwrap()).unwrap();
    }
    let outcome = read_texts(&[EIGHT_TOML], &[]);
    assert_eq!(outcome.report.errors(), 0, "{}", outcome.report);
    let config = outcome.config.unwrap();
    let kinds = config.providers.values().map(|p| p.adapter.provider.kind());
    assert_eq!(kinds.collect::<BTreeSet<_>>().len(), 8);
    let webhooks = config.providers.values();
    assert!(webhooks.into_iter().all(|p| p.adapter.webhook.is_some()));
    assert_eq!(
        EIGHT_TOML
            .matches("endpoint = \"http://127.0.0.1:90")
            .count(),
        8
    );
}

#[test]
fn the_development_file_needs_nothing_and_sends_nothing() {
    let outcome = read_texts(&[DEV_TOML], &[]);
    let errors = outcome.report.errors();
    assert_eq!(errors, 0, "{}", outcome.report);
    let config = outcome.config.unwrap();
    assert!(config.credentials.by_api_key("dev").is_some());
    assert!(config.credentials.by_smtp_login("dev", b"dev").is_some());
    let kinds = config.providers.values().map(|p| p.adapter.provider.kind());
    assert!(kinds.into_iter().all(|kind| kind == "capture"));
    assert!(config.retention.bodies.0.as_secs() >= 86_400);
}
