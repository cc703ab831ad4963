//! The command line as an operator meets it: help, exit codes, and what works without a gateway.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its scene has failed"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A command line without the variables of whoever runs the tests.
fn malote(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("malote").unwrap();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MALOTE_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .timeout(std::time::Duration::from_secs(60));
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = malote(arguments).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn json(arguments: &[&str]) -> Value {
    let (code, out, err) = run(arguments);
    assert_eq!(code, 0, "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A port on which nothing listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn config(dir: &Path) -> PathBuf {
    let file = dir.join("malote.toml");
    let text = format!(
        "[admin]\nlisten = '127.0.0.1:{}'\n[http]\nlisten = '127.0.0.1:{}'\n\
         [store.sqlite]\npath = '{}/malote.db'\n\
         [credentials.shop]\napi_key = 'mk_test_shop'\nstreams = ['transactional', 'news']\n\
         default_stream = 'transactional'\n\
         [streams.transactional]\nclass = 'transactional'\nroute = 'transactional'\n\
         [streams.news]\nclass = 'campaign'\nroute = 'news'\n\
         [routes.transactional]\nstrategy = 'failover'\ntargets = [{{ provider = 'dev' }}]\n\
         [routes.news]\nstrategy = 'failover'\ntargets = [{{ provider = 'dev', pool = 'news' }}]\n\
         [providers.dev.capture]\n[providers.dev.pools.news]\n\
         [mailbox_providers]\nmx_lookup = false\n\
         [[rules]]\nname = 'big mail is news'\nwhen = {{ size = {{ min = '1MiB' }} }}\n\
         then = {{ stream = 'news' }}\n",
        free_port(),
        free_port(),
        dir.display()
    );
    std::fs::write(&file, text).unwrap();
    file
}

fn place() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path()).display().to_string();
    (dir, file)
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for word in [
        "serve",
        "check",
        "explain",
        "send",
        "queue",
        "log",
        "providers",
        "suppressions",
        "erase",
        "store",
        "sandbox",
        "demo",
        "Exit codes",
        "MALOTE_ADMIN_TOKEN",
    ] {
        assert!(out.contains(word), "{word} is missing:\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "colours go to terminals only");
}

#[test]
fn a_command_line_that_is_not_good_ends_with_2() {
    for arguments in [
        &["fly"][..],
        &["serve"],
        &["explain"],
        &["explain", "not-an-id"],
        &["queue", "cancel"],
        &["queue", "pause"],
        &["queue", "pause", "--stream", "a", "--provider", "b"],
        &["queue", "list", "--state", "flying"],
        &["send", "--from", "a@x.test", "--to", "b@x.test"],
        &["sandbox", "--kind", "pigeon", "--listen", "127.0.0.1:0"],
        &["log", "--since", "yesterday"],
        &["log", "--admin", "nonsense"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {out}{err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_a_services_answers_mean_is_told_without_a_gateway() {
    let (code, out, _) = run(&["providers", "--kind", "sendgrid"]);
    assert_eq!(code, 0);
    let credits = out.find("Maximum credits exceeded").unwrap();
    assert!(out[..credits].ends_with("api 401 quota_spent\n    {\"errors\":[{\"message\":\""));
    assert!(out.contains("smtp 4"), "{out}");
    let told = json(&["providers", "--kind", "elasticemail", "--json"]);
    let answers = told["answers"].as_array().unwrap();
    let is_ours = |answer: &&Value| answer["is_quoted"] == false;
    assert!(answers.iter().any(|answer| is_ours(&answer)), "{told}");
    let (code, _, err) = run(&["providers", "--kind", "pigeon"]);
    assert_eq!(code, 2);
    assert!(err.contains("mailgun") && err.contains("postfix"), "{err}");
}

#[test]
fn check_lists_every_fault_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path());
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text
        .replace("class = 'campaign'", "class = 'campaing'")
        .replace("provider = 'dev' }", "provider = 'dve' }")
        .replace("[http]\nlisten", "[http]\nlisen");
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = run(&["check", "--config", file]);
    assert_eq!(code, 2);
    for word in ["lisen", "campaing", "dve"] {
        assert!(out.contains(word), "{word}:\n{out}");
    }
    let (code, out, _) = run(&["check", "--config", file, "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["ok"]), (2, &Value::Bool(false)));
    assert_eq!(report["errors"], 3, "{report}");
    let (code, _, err) = run(&["doctor", "--config", file]);
    assert_eq!(code, 2, "what needs all of it refuses it too: {err}");
}

#[test]
fn check_online_asks_the_providers() {
    let (_dir, file) = place();
    let report = json(&["check", "--config", &file, "--online", "--json"]);
    assert_eq!(report["online"][0]["provider"], "dev");
    assert_eq!(report["online"][0]["is_good"], true);
    let (code, out, _) = run(&["check", "--config", &file, "--online"]);
    assert_eq!(code, 0);
    assert!(out.contains("PROVIDER") && out.contains("capture"), "{out}");
}

#[test]
fn a_hypothetical_message_is_explained_from_the_configuration_alone() {
    let (_dir, file) = place();
    let shop = [
        "explain",
        "--from",
        "a@shop.example",
        "--to",
        "b@x.test",
        "--credential",
        "shop",
    ];
    let with = |more: &[&'static str]| -> Vec<&str> {
        let place = ["--config", &file];
        shop.iter()
            .copied()
            .chain(place)
            .chain(more.iter().copied())
            .collect()
    };
    let (code, out, err) = run(&with(&["--header", "X-EMAIL-ID: 7"]));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("no gateway answers"), "{err}");
    assert!(
        out.contains("stream transactional") && out.contains("1. dev/default"),
        "{out}"
    );
    let (code, out, err) = run(&with(&["--offline", "--size", "2MiB", "--json"]));
    assert_eq!((code, err.as_str()), (0, ""));
    let explanation: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explanation["stream"]["stream"], "news", "{out}");
    let (code, _, err) = run(&with(&["--offline", "--header", "no colon"]));
    assert_eq!(code, 2, "{err}");
}

#[test]
fn without_a_gateway_what_changes_something_fails_and_says_so() {
    let (_dir, file) = place();
    for arguments in [
        &["queue", "pause", "--stream", "news", "--config", &file][..],
        &["queue", "cancel", "--stream", "news", "--config", &file],
        &["suppressions", "add", "a@x.test", "--config", &file],
    ] {
        let (code, _, err) = run(arguments);
        assert_eq!(code, 1, "{arguments:?}: {err}");
        assert!(err.contains("no gateway answers"), "{arguments:?}: {err}");
    }
    let (code, _, err) = run(&["queue", "stats", "--config", &file]);
    assert_eq!(code, 1, "there is no store yet: {err}");
    assert!(err.contains("there is no store at "), "{err}");
}

#[test]
fn a_store_that_cannot_be_read_is_said_to_be_there_or_not() {
    let (dir, file) = place();
    let check = ["store", "check", "--config", &file];
    // A store that leads back to itself is there for nobody, whoever runs this.
    let store = dir.path().join("malote.db");
    std::os::unix::fs::symlink(&store, &store).unwrap();
    let (code, _, err) = run(&check);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("symbolic links"), "{err}");
    let nowhere = format!("sqlite:{}", dir.path().join("nope.db").display());
    let to = format!("sqlite:{}", dir.path().join("to.db").display());
    let (code, _, err) = run(&["store", "migrate", "--from", &nowhere, "--to", &to]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("there is no store at "), "{err}");
}
