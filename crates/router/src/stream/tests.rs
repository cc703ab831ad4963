//! The order of the tests that put a message into its stream.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::name::CredentialName;

use super::*;
use crate::config::{MailboxProvidersConfig, RouterConfig, RouterCredential, RouterStream};
use crate::{RuleConfig, compile::tests::able};

const BURST: u64 = 50;

fn names<T: for<'t> TryFrom<&'t str, Error: std::fmt::Debug>>(names: &[&str]) -> Vec<T> {
    names.iter().map(|n| T::try_from(n).unwrap()).collect()
}

fn credential(streams: &[&str], default: Option<&str>) -> RouterCredential {
    RouterCredential {
        streams: names(streams),
        default_stream: default.map(|d| d.try_into().unwrap()),
    }
}

/// Streams `tx` (transactional), `news` and `offers` (campaign), each with a target of its own.
fn router(rules: &str) -> Router {
    let mut routes = BTreeMap::new();
    let mut streams = BTreeMap::new();
    for (name, class) in [
        ("tx", Class::Transactional),
        ("news", Class::Campaign),
        ("offers", Class::Campaign),
    ] {
        let route =
            format!("strategy = 'failover'\ntargets = [{{ provider = 'p', pool = '{name}' }}]");
        let route_name: malote_core::name::RouteName = name.try_into().unwrap();
        routes.insert(route_name.clone(), toml::from_str(&route).unwrap());
        let stream = RouterStream {
            class,
            route: route_name,
        };
        streams.insert(name.try_into().unwrap(), stream);
    }
    let provider = crate::RouterProvider {
        pools: names(&["tx", "news", "offers"]).into_iter().collect(),
        capabilities: able(),
        cost_per_thousand: None,
    };
    let mut rules: BTreeMap<String, Vec<RuleConfig>> = toml::from_str(rules).unwrap();
    let (router, faults) = Router::compile(&RouterConfig {
        rules: rules.remove("rules").unwrap_or_default(),
        routes,
        streams,
        credentials: [
            ("mautic", credential(&["news", "tx"], Some("tx"))),
            ("bulk", credential(&["offers", "news"], Some("news"))),
            ("shop", credential(&["tx"], None)),
            ("vague", credential(&["tx", "news"], None)),
        ]
        .map(|(name, credential)| (name.try_into().unwrap(), credential))
        .into(),
        providers: [("p".try_into().unwrap(), provider)].into(),
        mailbox_providers: MailboxProvidersConfig::default(),
        campaign_burst: BURST,
    });
    router.unwrap_or_else(|| panic!("{faults:?}"))
}

struct Mail<'a> {
    credential: &'a str,
    asked: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
    email_id_recipients: u64,
}

impl<'a> Mail<'a> {
    fn new(credential: &'a str, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self {
            credential,
            asked: None,
            headers,
            email_id_recipients: 1,
        }
    }

    fn decide(&self, router: &Router) -> StreamDecision {
        let credential = CredentialName::try_from(self.credential).unwrap();
        let asked = self.asked.map(|s| StreamName::try_from(s).unwrap());
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let headers: Vec<(String, String)> = self.headers.iter().map(owned).collect();
        router.stream(&MessageFacts {
            credential: &credential,
            asked_stream: asked.as_ref(),
            sender: None,
            headers: &headers,
            tags: &[],
            metadata: &BTreeMap::new(),
            size_bytes: 1,
            email_id_recipients: self.email_id_recipients,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    fn goes(&self, router: &Router) -> (String, StreamReason) {
        let decision = self.decide(router);
        let stream = decision
            .stream
            .map_or_else(|_| "-".to_owned(), |s| s.to_string());
        (stream, decision.reason)
    }
}

const EMAIL_ID: (&str, &str) = ("X-EMAIL-ID", "12");
const BULK: (&str, &str) = ("Precedence", "Bulk");
const LIST: (&str, &str) = ("List-Unsubscribe", "<https://m.example/u/1>");

#[test]
fn each_way_mautic_sends_has_its_stream() {
    let router = router("");
    for (row, headers, stream, reason) in [
        (
            "segment broadcast",
            &[EMAIL_ID, BULK, LIST][..],
            "news",
            StreamReason::PrecedenceBulk,
        ),
        (
            "campaign action, marketing; or transactional in 4.4",
            &[EMAIL_ID, LIST],
            "news",
            StreamReason::ListUnsubscribe,
        ),
        (
            "campaign action, transactional in 5 to 7",
            &[EMAIL_ID],
            "tx",
            StreamReason::EmailIdAlone,
        ),
        (
            "sent by the API in 4.4, form action, deferred by frequency rule, to a user",
            &[LIST],
            "news",
            StreamReason::ListUnsubscribe,
        ),
        (
            "sent by the API in 5 to 7, password reset, invite, report, test mail",
            &[],
            "tx",
            StreamReason::DefaultStream,
        ),
    ] {
        let mail = Mail::new("mautic", headers);
        assert_eq!(mail.goes(&router), (stream.to_owned(), reason), "{row}");
    }
}

#[test]
fn an_email_id_that_reaches_many_within_ten_minutes_is_a_campaign() {
    let router = router("");
    for (recipients, stream, reason) in [
        (BURST, "tx", StreamReason::EmailIdAlone),
        (BURST + 1, "news", StreamReason::EmailIdBurst),
    ] {
        let mail = Mail {
            email_id_recipients: recipients,
            ..Mail::new("mautic", &[EMAIL_ID])
        };
        assert_eq!(mail.goes(&router), (stream.to_owned(), reason));
    }
}

#[test]
fn what_the_credential_allows_bounds_every_test() {
    let router = router("");
    let wants_tx = [("x-malote-stream", " tx "), BULK];
    for (credential, asked, headers, stream, reason) in [
        (
            "mautic",
            Some("tx"),
            &wants_tx[..],
            "tx",
            StreamReason::Asked,
        ),
        ("mautic", None, &wants_tx, "tx", StreamReason::Header),
        (
            "bulk",
            Some("tx"),
            &wants_tx,
            "offers",
            StreamReason::PrecedenceBulk,
        ),
        (
            "bulk",
            None,
            &[EMAIL_ID],
            "news",
            StreamReason::DefaultStream,
        ),
        ("shop", None, &[BULK, LIST], "tx", StreamReason::OnlyStream),
        ("vague", None, &[], "-", StreamReason::Undecided),
        ("unheard-of", None, &[], "-", StreamReason::Undecided),
    ] {
        let mail = Mail {
            asked,
            ..Mail::new(credential, headers)
        };
        assert_eq!(
            mail.goes(&router),
            (stream.to_owned(), reason),
            "{credential}"
        );
    }
    let refused = Mail::new("bulk", &wants_tx).decide(&router);
    let failed = refused.trace[0].first_failed_condition.as_deref();
    assert_eq!(failed, Some("the credential may use the stream \"tx\""));
}

#[test]
fn a_stream_that_the_header_asks_for_in_vain_is_told_with_what_decided() {
    let router = router("");
    let words = |wanted| {
        let headers = [("X-Malote-Stream", wanted)];
        Mail::new("mautic", &headers).decide(&router).in_words()
    };
    assert_eq!(words("news"), "header X-Malote-Stream");
    assert_eq!(
        words("offers"),
        "the credential's default_stream; header X-Malote-Stream was passed over, as this does not \
         hold: the credential may use the stream \"offers\""
    );
}

#[test]
fn rules_come_first_in_file_order_and_leave_a_trace() {
    let router = router(
        "[[rules]]\nname = 'unmarked'\n\
         when = { credential = 'mautic', headers = [{ name = 'X-EMAIL-ID', absent = true }] }\n\
         then = { stream = 'tx' }\n\
         [[rules]]\nname = 'all to offers'\nthen = { stream = 'offers' }\n\
         [[rules]]\nname = 'the rest'\nthen = { stream = 'news' }",
    );
    let unmarked = Mail::new("mautic", &[LIST, ("X-Malote-Stream", "news")]);
    let reason = StreamReason::Rule("unmarked".into());
    assert_eq!(unmarked.goes(&router), ("tx".to_owned(), reason));
    let decision = Mail::new("mautic", &[EMAIL_ID]).decide(&router);
    assert_eq!(decision.reason.to_string(), "the rest");
    assert_eq!(
        decision.to_string(),
        "stream news: the rest\n\
         \x20 tried \"unmarked\": no, as this does not hold: header X-EMAIL-ID absent\n\
         \x20 tried \"all to offers\": no, as this does not hold: \
         the credential may use the stream \"offers\"\n\
         \x20 tried \"the rest\": yes\n"
    );
}

#[test]
fn decisions_survive_being_written_and_read() {
    let router = router("");
    for credential in ["mautic", "vague"] {
        let decision = Mail::new(credential, &[]).decide(&router);
        let json = serde_json::to_string(&decision).unwrap();
        assert_eq!(
            serde_json::from_str::<StreamDecision>(&json).unwrap(),
            decision,
            "{json}"
        );
    }
}
