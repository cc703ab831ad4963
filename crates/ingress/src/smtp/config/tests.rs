//! Which `[smtp]` tables start, and what is said of the others.

use std::fs;

use malote_core::credential::{
    BadRecipients, Credential, OnFinalFailure, OnForeignFrom, ReceivedDetail,
};
use malote_core::fault::Severity;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::*;

fn credentials() -> Credentials {
    Credentials::new([Credential {
        name: "loadtest".try_into().unwrap(),
        api_key: None,
        smtp_login: None,
        streams: vec!["campaign".try_into().unwrap()],
        default_stream: None,
        from_domains: Vec::new(),
        on_foreign_from: OnForeignFrom::Reject,
        bad_recipients: BadRecipients::Refuse,
        on_final_failure: OnFinalFailure::Dsn,
        provider_headers: false,
        received: ReceivedDetail::Brief,
        lenient_headers: false,
    }])
}

/// `path: message` of every fault, errors and warnings.
fn faults(table: Value) -> Vec<(Severity, String)> {
    let config: SmtpConfig = serde_json::from_value(table).unwrap();
    let mut faults = Vec::new();
    config.check("smtp", &credentials(), &mut faults);
    faults
        .into_iter()
        .map(|fault| (fault.severity, fault.to_string()))
        .collect()
}

fn plain() -> Value {
    json!({"listen": "127.0.0.1:2525", "tls": "none", "trusted_plaintext": true,
           "anonymous": {"credential": "loadtest", "allow_from": ["127.0.0.1/32"]}})
}

#[test]
fn the_defaults_and_a_private_listener_are_without_fault() {
    assert_eq!(faults(json!({})), []);
    assert_eq!(faults(json!({"listeners": [plain()]})), []);
    let config: SmtpConfig = serde_json::from_value(json!({"listeners": [plain()]})).unwrap();
    let listener = config.listeners[0].open().unwrap();
    assert!(
        listener
            .anonymous_for("127.0.0.1".parse().unwrap())
            .is_some()
    );
    assert!(
        listener
            .anonymous_for("127.0.0.2".parse().unwrap())
            .is_none()
    );
    assert!(listener.certificate().is_none());
    assert!(!config.settings().hostname.is_empty());
}

#[test]
fn an_open_relay_does_not_start() {
    for (network, said) in [
        ("0.0.0.0/0", "open relay"),
        ("::/0", "open relay"),
        ("::ffff:0:0/96", "open relay"),
        ("192.0.2.0/24", "open relay"),
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("anywhere", "is not a network"),
    ] {
        let mut listener = plain();
        listener["anonymous"]["allow_from"] = json!(["127.0.0.1/32", network]);
        let found = faults(json!({"listeners": [listener]}));
        assert_eq!(found.len(), 1, "{network}");
        assert_eq!(found[0].0, Severity::Error);
        assert!(
            found[0]
                .1
                .starts_with("smtp.listeners[0].anonymous.allow_from[1]: ")
        );
        assert!(found[0].1.contains(said), "{}", found[0].1);
    }
}

#[test]
fn every_fault_is_said_at_once_with_its_path() {
    let found = faults(json!({
        "hostname": "not a name", "message_bytes_max": "1KiB", "recipients_max": 5000,
        "idle_max": "30s",
        "listeners": [
            {"listen": "127.0.0.1:2525", "tls": "none", "cert_file": "x"},
            {"listen": "0.0.0.0:2525", "tls": "starttls", "key_file": "x",
             "trusted_plaintext": true, "proxy_protocol_from": ["10.0.0.9/8"],
             "anonymous": {"credential": "nobody", "allow_from": []}},
        ]
    }));
    let paths: Vec<_> = found
        .iter()
        .map(|(severity, text)| (*severity, text.split(": ").next().unwrap()))
        .collect();
    assert_eq!(
        paths,
        [
            (Severity::Error, "smtp.hostname"),
            (Severity::Error, "smtp.message_bytes_max"),
            (Severity::Error, "smtp.recipients_max"),
            (Severity::Warning, "smtp.idle_max"),
            (Severity::Error, "smtp.listeners[0].cert_file"),
            (Severity::Warning, "smtp.listeners[0]"),
            (Severity::Error, "smtp.listeners[1].cert_file"),
            (Severity::Error, "smtp.listeners[1].proxy_protocol_from[0]"),
            (Severity::Error, "smtp.listeners[1].anonymous.credential"),
            (Severity::Error, "smtp.listeners[1].anonymous.allow_from"),
            (Severity::Warning, "smtp.listeners[1].trusted_plaintext"),
            (Severity::Error, "smtp.listeners[1].listen"),
        ]
    );
}

#[test]
fn a_key_that_is_not_the_certificates_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let paths = (
            folder.path().join(format!("{name}.crt")),
            folder.path().join(format!("{name}.key")),
        );
        fs::write(&paths.0, cert.pem()).unwrap();
        fs::write(&paths.1, signing_key.serialize_pem()).unwrap();
        paths
    };
    let (one, two) = (write("one"), write("two"));
    let listener = |cert: &Path, key: &Path| {
        json!({"listeners": [{"listen": "127.0.0.1:0", "tls": "implicit",
                              "cert_file": cert, "key_file": key}]})
    };
    assert_eq!(faults(listener(&one.0, &one.1)), []);
    let found = faults(listener(&one.0, &two.1));
    assert!(found[0].1.contains("do not fit together"), "{}", found[0].1);
    let missing = faults(listener(Path::new("/none.crt"), &one.1));
    assert!(
        missing[0].1.contains("/none.crt cannot be read"),
        "{}",
        missing[0].1
    );
}

#[test]
fn unknown_keys_and_modes_are_refused() {
    for table in [
        json!({"listener": []}),
        json!({"listeners": [{"listen": "127.0.0.1:1", "tls": "none", "x": 1}]}),
        json!({"listeners": [{"listen": "127.0.0.1:1", "tls": "maybe"}]}),
        json!({"listeners": [{"tls": "none"}]}),
        json!({"idle_max": "5"}),
    ] {
        assert!(
            serde_json::from_value::<SmtpConfig>(table.clone()).is_err(),
            "{table}"
        );
    }
}
