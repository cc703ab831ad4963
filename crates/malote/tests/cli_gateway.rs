//! The command line against a running gateway, and against its store when it no longer runs.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its scene has failed"
)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take here.
const WAIT_MAX: Duration = Duration::from_secs(30);
const TOKEN: &str = "operators-secret-token";

struct Gateway {
    dir: TempDir,
    child: Child,
    admin: u16,
    http: u16,
    smtp: u16,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("malote"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MALOTE_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("SHOP_KEY", "mk_test_shop")
        .env("SHOP_PASSWORD", "shop-password");
    command
}

impl Gateway {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (admin, http, smtp) = (free_port(), free_port(), free_port());
        let text = format!(
            "[admin]\nlisten = '127.0.0.1:{admin}'\ntoken = '{TOKEN}'\n\
             [http]\nlisten = '127.0.0.1:{http}'\n\
             [[smtp.listeners]]\nlisten = '127.0.0.1:{smtp}'\ntls = 'none'\n\
             trusted_plaintext = true\n\
             [store.sqlite]\npath = 'malote.db'\n\
             [credentials.shop]\napi_key_env = 'SHOP_KEY'\nsmtp_user = 'shop'\n\
             smtp_password_env = 'SHOP_PASSWORD'\nstreams = ['transactional', 'news']\n\
             default_stream = 'transactional'\nfrom_domains = ['shop.example']\n\
             rewrite_from = 'shop@shop.example'\n\
             [streams.transactional]\nclass = 'transactional'\nroute = 'transactional'\n\
             [streams.news]\nclass = 'campaign'\nroute = 'news'\n\
             [routes.transactional]\nstrategy = 'failover'\n\
             targets = [{{ provider = 'dev' }}]\n\
             [routes.news]\nstrategy = 'failover'\n\
             targets = [{{ provider = 'dev', pool = 'news' }}]\n\
             [providers.dev.capture]\n[providers.dev.pools.news]\n"
        );
        std::fs::write(dir.path().join("malote.toml"), text).unwrap();
        let child = command(dir.path())
            .args(["serve", "--config", "malote.toml"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Self {
            dir,
            child,
            admin,
            http,
            smtp,
        };
        let until = Instant::now() + WAIT_MAX;
        // An empty queue: exit code 3 and nothing said of a store.
        while gateway.run(&["queue", "list"]).2 != "nothing waits\n" {
            assert!(Instant::now() < until, "the gateway did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        gateway
    }

    /// Runs a command with the gateway's configuration.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = command(self.dir.path());
        self.ended(command.args(arguments).args(["--config", "malote.toml"]))
    }

    /// Runs a command to its end.
    fn ended(&self, command: &mut Command) -> (i32, String, String) {
        let output = command.output().unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(
            !format!("{out}{err}").contains(TOKEN),
            "the token is shown: {out}{err}"
        );
        (output.status.code().unwrap(), out, err)
    }

    /// Its operators' door.
    fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        out
    }

    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let until = Instant::now() + WAIT_MAX;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the gateway did not stop");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

const SEND: [&str; 5] = ["send", "--from", "a@shop.example", "--to", "b@x.test"];

#[test]
fn an_operator_s_day() {
    let mut gateway = Gateway::start();
    let id = send(&gateway);
    queue(&gateway);
    names_of_nothing(&gateway);
    suppressions(&gateway);
    bad_edit(&gateway);
    tokens(&gateway);
    health(&gateway);
    store(&mut gateway, &id);
}

/// Sends a message of the news by SMTP; with `more` arguments.
fn send_news(gateway: &Gateway, more: &[&str]) -> String {
    let smtp = format!("127.0.0.1:{}", gateway.smtp);
    let login = [
        "--smtp",
        &smtp,
        "--user",
        "shop",
        "--password-env",
        "SHOP_PASSWORD",
    ];
    gateway.good(&[&SEND[..], &login[..], &["--stream", "news"], more].concat())
}

/// The HTTP API at this URL, as `send` takes it.
const fn door_of(url: &str) -> [&str; 4] {
    ["--http", url, "--api-key-env", "SHOP_KEY"]
}

fn send(gateway: &Gateway) -> String {
    let http = format!("http://127.0.0.1:{}", gateway.http);
    let out = gateway.good(&[&SEND[..], &door_of(&http)[..], &["--wait"]].concat());
    assert!(out.contains("sent [dev]"), "{out}");
    let out = send_news(gateway, &["--wait"]);
    assert!(out.contains("sent [dev]"), "{out}");
    let id = out.lines().next().unwrap();
    let life = gateway.good(&["log", id]);
    assert!(life.contains("attempt 1 at dev/news: sent"), "{life}");
    let why = gateway.good(&["explain", id]);
    assert!(why.contains("stream news: header X-Malote-Stream"), "{why}");
    assert!(why.contains("1. dev/news"), "{why}");
    let nobody = "01934d2b-0000-7000-8000-000000000001";
    assert_eq!(gateway.run(&["explain", nobody]).0, 3);
    let log = gateway.good(&["log", "--rcpt", "B@x.test", "--json"]);
    assert_eq!(log.lines().count(), 2, "{log}");
    for (limit, said) in [("1", "the newest 1 only: more with --limit\n"), ("2", "")] {
        let (_, _, err) = gateway.run(&["log", "--limit", limit]);
        assert_eq!(err, said, "{limit}");
    }
    let (code, _, err) = gateway.run(&["log", "--rcpt", "nobody@x.test"]);
    assert_eq!(code, 3, "{err}");
    id.to_owned()
}

/// Neither a bad edit nor a shell without the service's secrets keeps anybody from asking.
fn bad_edit(gateway: &Gateway) {
    let dir = gateway.dir.path();
    let text = std::fs::read_to_string(dir.join("malote.toml")).unwrap();
    for added in ["[nonsense]\n", "[smtp\n"] {
        std::fs::write(dir.join("edited.toml"), format!("{text}{added}")).unwrap();
        for arguments in [
            &["health"][..],
            &["queue", "stats"],
            &["queue", "resume", "--stream", "news"],
            &["log", "--rcpt", "b@x.test"],
        ] {
            let mut command = command(dir);
            command.env_remove("SHOP_KEY").args(arguments);
            let (code, out, err) = gateway.ended(command.args(["--config", "edited.toml"]));
            assert_eq!(code, 0, "{added}: {arguments:?}: {out}{err}");
        }
    }
}

/// A health check that asks at the wrong place says so.
fn health(gateway: &Gateway) {
    for (port, said) in [
        (free_port(), "(Connection refused (os error 111)): see"),
        (
            gateway.http,
            "is no admin listener: see --admin and --config\n",
        ),
    ] {
        let url = format!("http://127.0.0.1:{port}");
        let mut command = command(gateway.dir.path());
        let (code, _, err) = gateway.ended(command.args(["health", "--admin", &url]));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(said) && err.contains(&url), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

/// Which token was refused is said, and what to do.
fn tokens(gateway: &Gateway) {
    let url = gateway.admin();
    let refused = |arguments: &[&str], token: &str, said: &str| {
        let mut command = command(gateway.dir.path());
        command.env("MALOTE_ADMIN_TOKEN", token);
        let (code, _, err) = gateway.ended(command.args(["queue", "stats"]).args(arguments));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(said), "{err}");
    };
    let stale = "refuses the token in MALOTE_ADMIN_TOKEN, which goes before that of the config";
    refused(&["--config", "malote.toml"], "stale", stale);
    let wrong = "refuses the token in MALOTE_ADMIN_TOKEN\n";
    refused(&["--admin", &url], "wrong", wrong);
    refused(
        &["--admin", &url],
        "",
        "wants its admin token in MALOTE_ADMIN_TOKEN\n",
    );
    let dir = gateway.dir.path();
    let text = std::fs::read_to_string(dir.join("malote.toml")).unwrap();
    let text = text.replace(&format!("token = '{TOKEN}'"), "token_env = 'NOT_SET'");
    std::fs::write(dir.join("unset.toml"), text).unwrap();
    let unset = "MALOTE_ADMIN_TOKEN (admin.token: token_env names the environment variable NOT_SET";
    refused(&["--config", "unset.toml"], "", unset);
}

fn queue(gateway: &Gateway) {
    let told = |arguments: &[&str], text: &str| {
        let out = gateway.good(arguments);
        assert!(out.contains(text), "{arguments:?}: {out}");
    };
    told(
        &["queue", "pause", "--stream", "news"],
        "stream news is paused",
    );
    let http = format!("http://127.0.0.1:{}", gateway.http);
    let out = send_news(gateway, &[]);
    let waits = out.trim();
    told(&["queue", "list"], "b@x.test");
    sent_in_vain(gateway, &http);
    let stats: Value = serde_json::from_str(&gateway.good(&["queue", "stats", "--json"])).unwrap();
    assert_eq!(stats["streams"][0]["deliveries"]["queued"], 1, "{stats}");
    assert_eq!(stats["switches"][0]["state"], "paused", "{stats}");
    let waits_for = "stream news, which is paused (`malote queue resume --stream news`)";
    told(&["queue", "list"], waits_for);
    told(&["explain", waits], waits_for);
    told(&["log", waits], waits_for);
    told(&["log", waits], "due since");
    told(&["queue", "hold", waits], "1 delivery held");
    told(&["queue", "release", waits], "1 delivery released");
    told(&["queue", "cancel", waits], "1 delivery taken back");
    for arguments in [
        &["queue", "cancel", waits][..],
        &["queue", "resolve", waits, "--sent"],
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["suppressions", "list", "--json"],
    ] {
        assert_eq!(gateway.run(arguments).0, 3, "{arguments:?}");
    }
    told(
        &["queue", "resume", "--stream", "news"],
        "nothing is paused",
    );
    told(&["providers"], "dev/news");
    told(
        &["queue", "pause", "--provider", "dev"],
        "provider dev is paused",
    );
    let out = send_news(gateway, &[]);
    let waits = out.trim();
    for arguments in [&["log", waits][..], &["queue", "list"]] {
        told(arguments, "dev/news: paused by an operator");
    }
    told(&["queue", "retry", waits], "1 delivery due now");
    told(&["queue", "cancel", waits], "1 delivery taken back");
    told(
        &["queue", "resume", "--provider", "dev"],
        "nothing is paused",
    );
}

fn sent_in_vain(gateway: &Gateway, http: &str) {
    let late = ["--stream", "news", "--wait", "--wait-max", "1s"];
    let (code, out, err) = gateway.run(&[&SEND[..], &door_of(http)[..], &late[..]].concat());
    let id = out.lines().next().unwrap();
    assert_eq!(code, 1, "{err}");
    assert!(err.contains(&format!("see malote log {id}\n")), "{err}");
    gateway.good(&["queue", "cancel", id]);
    let foreign = ["--from", "a@other.example", "--to", "b@x.test"];
    let (_, _, err) = gateway.run(&[&["send"], &foreign[..], &door_of(http)[..]].concat());
    assert!(err.starts_with("error: refused: "), "{err}");
    assert!(!err.contains('{') && !err.contains("urn:"), "{err}");
}

fn names_of_nothing(gateway: &Gateway) {
    for (arguments, said) in [
        (
            &["queue", "list", "--stream", "typo"][..],
            "error: no stream typo is configured\n",
        ),
        (
            &["queue", "cancel", "--stream", "typo"],
            "error: no stream typo is configured\n",
        ),
        (
            &["log", "--stream", "typo"],
            "error: no stream typo is configured\n",
        ),
        (
            &["queue", "hold", "--credential", "typo"],
            "error: no credential typo is configured\n",
        ),
        (
            &["queue", "pause", "--stream", "typo"],
            "error: no stream typo is configured\n",
        ),
    ] {
        let (code, _, err) = gateway.run(arguments);
        assert_eq!((code, err.as_str()), (2, said), "{arguments:?}");
    }
}

fn suppressions(gateway: &Gateway) {
    let file = gateway.dir.path().join("list.txt");
    std::fs::write(
        &file,
        "one@x.test\n{\"address\":\"two@x.test\",\"stream\":\"news\"}\nbad\n",
    )
    .unwrap();
    let (code, out, err) = gateway.run(&["suppressions", "import", "list.txt"]);
    assert_eq!(code, 1, "a bad line is told: {out}{err}");
    assert!(
        out.contains("2 imported, 1 refused") && err.contains("line 3"),
        "{out}{err}"
    );
    let add = ["suppressions", "add", "three@x.test", "--expires", "30d"];
    assert_eq!(gateway.good(&add), "three@x.test is suppressed\n");
    let again = gateway.good(&["suppressions", "add", "Three@x.test", "--expires", "1d"]);
    assert!(
        again.contains("was suppressed already") && again.contains("operator"),
        "{again}"
    );
    assert_eq!(gateway.good(&["suppressions", "export"]).lines().count(), 3);
    assert!(
        gateway
            .good(&["suppressions", "list", "--rcpt", "ONE@x.test"])
            .contains("manual")
    );
    let sheet = "\u{feff}email;scope;reason;detail\r\n\
        five@x.test;news;complaint;\"said \"\"no\"\"; twice\"\r\nsix@x.test;;bored;\r\n";
    std::fs::write(gateway.dir.path().join("sheet.csv"), sheet).unwrap();
    let (code, out, err) = gateway.run(&["suppressions", "import", "sheet.csv"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        out.contains("1 imported, 1 refused") && err.contains("line 3: reason: use one of"),
        "{out}{err}"
    );
    let csv = gateway.good(&["suppressions", "export", "--format", "csv"]);
    assert!(
        csv.starts_with("email,scope,reason,source,at,expires_at,detail\r\n"),
        "{csv}"
    );
    assert!(csv.contains("five@x.test,news,complaint,import,"), "{csv}");
    assert!(csv.contains(",\"said \"\"no\"\"; twice\"\r\n"), "{csv}");
    std::fs::write(gateway.dir.path().join("back.csv"), csv).unwrap();
    let back = gateway.good(&["suppressions", "import", "back.csv"]);
    assert!(back.contains("4 imported, 0 refused"), "{back}");
    erased(gateway);
    gateway.good(&["suppressions", "remove", "one@x.test"]);
    assert_eq!(gateway.run(&["suppressions", "remove", "one@x.test"]).0, 3);
    let add = ["suppressions", "add", "four@x.test", "--json"];
    let kept = document(&gateway.good(&add));
    assert_eq!(
        (&kept["address"], &kept["reason"]),
        (&"four@x.test".into(), &"manual".into())
    );
    let remove = ["suppressions", "remove", "four@x.test", "--json"];
    assert_eq!(document(&gateway.good(&remove))["lifted"], 1);
    let (code, out, _) = gateway.run(&remove);
    assert_eq!((code, &document(&out)["lifted"]), (3, &0.into()));
}

fn erased(gateway: &Gateway) {
    let counted = document(&gateway.good(&["erase", "FIVE@x.test", "--dry-run", "--json"]));
    assert_eq!(
        (&counted["suppressions"], &counted["cancelled"]),
        (&1.into(), &0.into())
    );
    assert!(
        gateway
            .good(&["suppressions", "export"])
            .contains("five@x.test")
    );
    assert!(gateway.good(&["erase", "FIVE@x.test"]).contains("hash:"));
    assert!(
        !gateway
            .good(&["suppressions", "export"])
            .contains("five@x.test")
    );
    gateway.good(&["suppressions", "list", "--rcpt", "five@x.test"]);
    gateway.good(&["suppressions", "remove", "five@x.test"]);
}

fn document(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn store(gateway: &mut Gateway, id: &str) {
    gateway.good(&["store", "backup", "backup"]);
    let (code, _, err) = gateway.run(&["store", "restore", "backup"]);
    assert_eq!(code, 1, "not over a store: {err}");
    gateway.stop();
    for arguments in [
        &["log", id][..],
        &["log", "--rcpt", "b@x.test"],
        &["explain", id],
        &["queue", "stats"],
        &["providers"],
        &["suppressions", "export"],
        &["store", "backup", "backup-offline"],
        &["store", "check"],
    ] {
        let (code, out, err) = gateway.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {out}{err}");
        let is_read = arguments[0] != "store";
        assert_eq!(
            err.contains("reading the store"),
            is_read,
            "{arguments:?}: {err}"
        );
    }
    let checked = document(&gateway.good(&["store", "check", "--json"]));
    assert_eq!(checked, serde_json::json!({ "ok": true, "faults": [] }));
    let file = gateway.dir.path().join("malote.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let store_at = |path: &str| {
        let text = text.replace("path = 'malote.db'", &format!("path = '{path}'"));
        std::fs::write(&file, text).unwrap();
    };
    store_at("restored-json.db");
    let restored = document(&gateway.good(&["store", "restore", "backup", "--json"]));
    assert_eq!(restored["path"], "restored-json.db");
    assert_eq!(restored["held"], 0);
    store_at("restored.db");
    assert!(
        gateway
            .good(&["store", "restore", "backup"])
            .contains("0 deliveries are held")
    );
    assert!(gateway.good(&["log", id]).contains("b@x.test"));
}
