//! What every adapter does alike, asked of each by its own table.

use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::{Clock, SystemClock};
use malote_core::provider::{Outgoing, Provider, RETRY_AFTER_MAX, Verdict};
use malote_core::tracking::{Switch, Tracking, TrackingSwitches};

use crate::build;
use crate::correlation::tests::outgoing;
use crate::http::responder::{Act, Responder, answer};

fn provider(table: &str) -> Arc<dyn Provider> {
    let config = toml::from_str(table).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let mut faults = Vec::new();
    let adapter = build(&"x".try_into().unwrap(), &config, &clock, &mut faults);
    adapter.unwrap_or_else(|| panic!("{faults:?}")).provider
}

/// The kind's table but for its endpoint, and what the call says of opens that are wanted and of
/// clicks that are not; nothing where the account decides.
const BY_API: [(&str, &[&str]); 12] = [
    (
        "ses = { region = 'us-east-1', access_key_id = 'AKIAIOSFODNN7EXAMPLE', secret_access_key = 'k',",
        &[
            r#""ConfigurationOverrides":{"Tracking":{"OpenTrackingEnabled":"ENABLED","ClickTrackingEnabled":"DISABLED"}}"#,
        ],
    ),
    (
        "mailgun = { domain = 'x.test', api_key = 'k',",
        &[
            "o:tracking-opens\"\r\n\r\nyes\r\n",
            "o:tracking-clicks\"\r\n\r\nno\r\n",
        ],
    ),
    (
        "sendgrid = { transport = 'api', api_key = 'k',",
        &[
            r#""tracking_settings":{"open_tracking":{"enable":true},"click_tracking":{"enable":false,"enable_text":false}}"#,
        ],
    ),
    (
        "postmark = { transport = 'api', server_token = 'k',",
        &[r#""TrackOpens":true"#, r#""TrackLinks":"None""#],
    ),
    (
        "sparkpost = { api_key = 'k',",
        &[r#""open_tracking":true,"click_tracking":false"#],
    ),
    (
        "elasticemail = { transport = 'api', api_key = 'k',",
        &[r#""Options":{"TrackOpens":true,"TrackClicks":false}"#],
    ),
    (
        "mailjet = { api_key = 'k', secret_key = 'k',",
        &[r#""TrackOpens":"enabled","TrackClicks":"disabled""#],
    ),
    ("brevo = { api_key = 'k',", &[]),
    ("resend = { api_key = 'k',", &[]),
    ("mailtrap = { api_token = 'k',", &[]),
    ("smtp2go = { transport = 'api', api_key = 'k',", &[]),
    ("postal = { server_key = 'k',", &[]),
];

fn message() -> Outgoing {
    let mut message = outgoing(&["x@dest.example"]);
    message.body = "From: a@shop.example\r\nTo: x@dest.example\r\nSubject: s\r\n\r\nhi\r\n".into();
    message
}

async fn call_of(table: &str, tracking: Tracking) -> (String, TrackingSwitches) {
    let peer = Responder::start(vec![answer("500 No", "", "")]).await;
    let provider = provider(&format!("{table} endpoint = '{}' }}", peer.url()));
    let mut message = message();
    message.tracking = tracking;
    let report = provider.send(&message).await;
    let request = peer.texts().pop();
    let request = request.unwrap_or_else(|| panic!("{table} {report:?}"));
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    (body.to_owned(), provider.capabilities().tracking)
}

#[tokio::test]
async fn each_api_is_told_what_to_track_or_says_that_it_cannot_be() {
    let wanted = Tracking {
        opens: Some(true),
        clicks: Some(false),
    };
    for (table, said) in BY_API {
        let (body, switches) = call_of(table, wanted).await;
        for part in said {
            assert!(body.contains(part), "{table} {part} {body}");
        }
        let can_switch = switches.clicks == Switch::Both;
        assert_eq!(!said.is_empty(), can_switch, "{table}");
        let (silent, _) = call_of(table, Tracking::default()).await;
        assert!(!silent.to_lowercase().contains("track"), "{silent}");
    }
}

/// The keys and passwords of the tables.
const SECRETS: [&str; 2] = ["S3cr3tMarker", "S3cr3tNumber"];

#[tokio::test]
async fn a_service_that_repeats_a_whole_call_gives_no_secret_away() {
    for (table, _) in BY_API {
        let peer = Responder::start(vec![Act::Echo]).await;
        let table = table
            .replace("secret_key = 'k'", "secret_key = 'S3cr3tNumber'")
            .replace("'k'", "'S3cr3tMarker'");
        let provider = provider(&format!("{table} endpoint = '{}' }}", peer.url()));
        let sent = provider.send(&message()).await.remove(0).unwrap_err();
        let checked = provider.check().await.unwrap_err();
        let requests = peer.texts();
        for (error, request) in [(sent, &requests[0]), (checked, &requests[1])] {
            let said = error.reply.to_string();
            assert!(
                said.contains("HTTP/1.1"),
                "{table} repeats its call: {said}"
            );
            let fields = ["authorization: ", "-token: ", "api-key: ", "apikey: "];
            let fields = request.lines().filter(|line| {
                let line = line.to_ascii_lowercase();
                fields.iter().any(|field| line.contains(field)) && !line.contains("aws4")
            });
            for field in fields {
                let proof = field.rsplit(' ').next().unwrap();
                assert!(!said.contains(proof), "{table} {said}");
                assert!(said.contains("***"), "{table} {said}");
            }
            for secret in SECRETS {
                assert!(!said.contains(secret), "{table} {said}");
            }
        }
    }
}

#[tokio::test]
async fn each_api_waits_as_long_as_it_is_asked_to_and_an_hour_at_most() {
    let date = SystemClock::start().now() + Duration::from_secs(60);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (table, _) in BY_API {
        for (field, least, most) in [
            ("3", seconds(3), seconds(3)),
            ("99999999", Some(RETRY_AFTER_MAX), Some(RETRY_AFTER_MAX)),
            (date.as_str(), seconds(30), seconds(60)),
            // Some have a wait of their own that is meant where none is told.
            ("-1", None, seconds(60)),
            ("", None, seconds(60)),
        ] {
            let field = match field {
                "" => String::new(),
                value => format!("Retry-After: {value}\r\n"),
            };
            let peer = Responder::start(vec![answer("429 Slow", &field, "")]).await;
            let provider = provider(&format!("{table} endpoint = '{}' }}", peer.url()));
            let error = provider.send(&message()).await.remove(0).unwrap_err();
            let Verdict::Throttled { after } = error.verdict else {
                panic!("{table} {error:?}");
            };
            assert!((least..=most).contains(&after), "{table} {field} {after:?}");
        }
    }
}
