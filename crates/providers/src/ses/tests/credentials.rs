//! The chain of places that may have keys.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::secret::Secret;

use crate::http::responder::{Act, Responder, answer};
use crate::ses::config::{SesConfig, Settings};
use crate::ses::credentials::{Credentials, Environment, NoKeys};

fn now() -> Timestamp {
    "2026-11-22T00:00:00Z".parse().unwrap()
}

fn credentials(config: &SesConfig, variables: &[(&str, &str)]) -> Credentials {
    let mut faults = Vec::new();
    let config = SesConfig {
        region: Some("us-east-1".into()),
        ..config.clone()
    };
    let settings: Settings = config
        .check(
            "providers.ses",
            &crate::ProviderConfig::default(),
            &mut faults,
        )
        .unwrap();
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = Environment::read(|name| variables.get(name).map(|v| (*v).to_owned()));
    Credentials::new(&config, &settings, &environment).unwrap()
}

const NO_INSTANCE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

fn document(id: &str, expiration: &str) -> String {
    format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"t","Expiration":"{expiration}"}}"#
    )
}

#[tokio::test]
async fn the_configuration_beats_the_environment_which_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(
        &file,
        "[default]\naws_access_key_id=FILE\naws_secret_access_key=s\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", file);
    let variables = [
        ("AWS_ACCESS_KEY_ID", "ENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
        shared,
        NO_INSTANCE,
    ];
    let given = SesConfig {
        access_key_id: Some("CONFIG".into()),
        secret_access_key: Some(Secret::new("s")),
        ..SesConfig::default()
    };
    let named = SesConfig {
        credentials_file: Some(file.into()),
        ..SesConfig::default()
    };
    for (config, variables, expected) in [
        (&given, &variables[..], "CONFIG"),
        (&SesConfig::default(), &variables[..], "ENVIRONMENT"),
        (&SesConfig::default(), &[shared, NO_INSTANCE][..], "FILE"),
        (&named, &variables[..], "FILE"),
    ] {
        let keys = credentials(config, variables).keys(now()).await.unwrap();
        assert_eq!(keys.access_key_id, expected);
    }
}

#[tokio::test]
async fn without_any_place_there_are_no_keys() {
    let found = credentials(&SesConfig::default(), &[NO_INSTANCE])
        .keys(now())
        .await;
    assert_eq!(found.unwrap_err(), NoKeys::None);
}

#[tokio::test]
async fn a_container_gives_keys_with_its_token_and_they_are_kept_until_due() {
    let first = answer("200 OK", "", &document("ASIA1", "2026-11-22T01:00:00Z"));
    let second = answer("200 OK", "", &document("ASIA2", "2026-11-22T02:00:00Z"));
    let peer = Responder::start(vec![first, second]).await;
    let url = format!("{}/creds", peer.url());
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "tok"),
        NO_INSTANCE,
    ];
    let chain = credentials(&SesConfig::default(), &variables);
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    for (time, expected) in [
        ("2026-11-22T00:00:00Z", "ASIA1"),
        ("2026-11-22T00:54:00Z", "ASIA1"),
        ("2026-11-22T00:56:00Z", "ASIA2"),
    ] {
        assert_eq!(
            chain.keys(at(time)).await.unwrap().access_key_id,
            expected,
            "{time}"
        );
    }
    assert_eq!(peer.texts().len(), 2);
    assert!(
        peer.texts()[0]
            .to_lowercase()
            .contains("authorization: tok")
    );
}

#[tokio::test]
async fn credentials_are_not_asked_of_foreign_hosts_in_clear() {
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://192.0.2.1/x"),
        NO_INSTANCE,
    ];
    let found = credentials(&SesConfig::default(), &variables)
        .keys(now())
        .await;
    assert_eq!(found.unwrap_err(), NoKeys::None);
}

#[tokio::test]
async fn an_instance_gives_keys_within_a_session() {
    let peer = Responder::start(vec![
        answer("200 OK", "", "SESSION"),
        answer("200 OK", "", "mail-role\n"),
        answer(
            "200 OK",
            "",
            &document("ASIAINSTANCE", "2026-11-22T06:00:00Z"),
        ),
    ])
    .await;
    let config = SesConfig {
        metadata_endpoint: Some(peer.url()),
        ..SesConfig::default()
    };
    let keys = credentials(&config, &[]).keys(now()).await.unwrap();
    assert_eq!(keys.access_key_id, "ASIAINSTANCE");
    let texts = peer.texts();
    assert!(texts[0].starts_with("PUT /latest/api/token "));
    assert!(texts[2].starts_with("GET /latest/meta-data/iam/security-credentials/mail-role "));
    assert!(
        texts[2]
            .to_lowercase()
            .contains("x-aws-ec2-metadata-token: session")
    );
}

#[tokio::test]
async fn nonsense_from_an_instance_is_said_and_holds_no_secret() {
    for acts in [
        vec![answer("403 Forbidden", "", "")],
        vec![answer("200 OK", "", "S"), answer("200 OK", "", "../../x")],
        vec![
            answer("200 OK", "", "S"),
            answer("200 OK", "", "r"),
            answer("200 OK", "", "S3CR3T"),
        ],
        vec![
            answer("200 OK", "", "S"),
            answer("200 OK", "", "r"),
            answer("200 OK", "", &document("A", "2020-01-01T00:00:00Z")),
        ],
    ] {
        let peer = Responder::start(acts).await;
        let config = SesConfig {
            metadata_endpoint: Some(peer.url()),
            ..SesConfig::default()
        };
        let fault = credentials(&config, &[]).keys(now()).await.unwrap_err();
        assert!(matches!(fault, NoKeys::Unreadable(_)), "{fault:?}");
        assert!(!fault.to_string().contains("S3CR3T"));
    }
    let peer = Responder::start(vec![answer("200 OK", "", "S"), answer("404 None", "", "")]).await;
    let config = SesConfig {
        metadata_endpoint: Some(peer.url()),
        ..SesConfig::default()
    };
    assert_eq!(
        credentials(&config, &[]).keys(now()).await.unwrap_err(),
        NoKeys::None
    );
    let peer = Responder::start(vec![Act::Close]).await;
    let config = SesConfig {
        metadata_endpoint: Some(peer.url()),
        ..SesConfig::default()
    };
    assert_eq!(
        credentials(&config, &[]).keys(now()).await.unwrap_err(),
        NoKeys::None
    );
}
