//! What each condition matches and what it does not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::name::{CredentialName, MailboxProvider, StreamName};
use malote_core::stream::Class;
use proptest::prelude::*;

use super::*;
use crate::config::{MailboxProvidersConfig, RouterConfig, RouterCredential, RouterStream};
use crate::{DeliveryFacts, MessageFacts, RouteConfig, Router, RouterProvider};

/// A router with one route rule that has these conditions.
fn router(when: &str) -> Router {
    let stream = |class| RouterStream {
        class,
        route: "main".try_into().unwrap(),
    };
    let route = |pool: &str| -> RouteConfig {
        let text =
            format!("strategy = 'failover'\ntargets = [{{ provider = 'relay', pool = '{pool}' }}]");
        toml::from_str(&text).unwrap()
    };
    let provider = RouterProvider {
        pools: ["a", "b"].map(|p| p.try_into().unwrap()).into(),
        capabilities: crate::compile::tests::able(),
        cost_per_thousand: None,
    };
    let rules =
        format!("rules = [{{ name = 'r', when = {{ {when} }}, then = {{ route = 'other' }} }}]");
    let mut rules: BTreeMap<String, Vec<crate::RuleConfig>> = toml::from_str(&rules).unwrap();
    let (router, faults) = Router::compile(&RouterConfig {
        rules: rules.remove("rules").unwrap(),
        routes: [
            ("main".try_into().unwrap(), route("a")),
            ("other".try_into().unwrap(), route("b")),
        ]
        .into(),
        streams: [
            ("news".try_into().unwrap(), stream(Class::Campaign)),
            ("alerts".try_into().unwrap(), stream(Class::Campaign)),
        ]
        .into(),
        credentials: ["shop", "mautic"]
            .map(|name| {
                let streams = vec!["news".try_into().unwrap()];
                let credential = RouterCredential {
                    streams,
                    default_stream: None,
                };
                (name.try_into().unwrap(), credential)
            })
            .into(),
        providers: [("relay".try_into().unwrap(), provider)].into(),
        mailbox_providers: MailboxProvidersConfig::default(),
        campaign_burst: 50,
    });
    router.unwrap_or_else(|| panic!("{when}: {faults:?}"))
}

/// Whether the conditions hold for one fixed delivery, and which failed first.
fn tried(when: &str) -> Result<(), String> {
    let credential = CredentialName::try_from("shop").unwrap();
    let stream = StreamName::try_from("news").unwrap();
    let sender: EmailAddress = "Invoice-7@Billing.Shop.example".parse().unwrap();
    let recipient: EmailAddress = "joao@mail.dest.example".parse().unwrap();
    let mailbox_provider = MailboxProvider::try_from("google").unwrap();
    let headers = [
        ("Subject", "Your order 42"),
        ("X-Kind", "one"),
        ("x-kind", "Two"),
        ("X-Empty", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let message = MessageFacts {
        credential: &credential,
        asked_stream: None,
        sender: Some(&sender),
        headers: &headers,
        tags: &["vip".to_owned(), "order".to_owned()],
        metadata: &[("tenant".to_owned(), "acme".to_owned())].into(),
        size_bytes: 2048,
        email_id_recipients: 0,
        // 23:30 in São Paulo.
        now: "2026-06-02T02:30:00Z".parse::<Timestamp>().unwrap(),
    };
    let decision = router(when).route(&DeliveryFacts {
        message: &message,
        stream: &stream,
        recipient: &recipient,
        mailbox_provider: &mailbox_provider,
    });
    let trial = &decision.trace[0];
    assert_eq!(decision.route.unwrap().as_str() == "other", trial.matched);
    trial
        .first_failed_condition
        .as_ref()
        .map_or(Ok(()), |text| Err(text.to_string()))
}

#[test]
fn conditions_that_hold() {
    for when in [
        "",
        "credential = 'shop'",
        "credential = ['mautic', 'shop']",
        "stream = 'news'",
        "sender = 'invoice-7@billing.shop.example'",
        "sender = '*@billing.shop.example'",
        "sender = ['x@y.example', 'INVOICE-?@*']",
        "sender_domain = 'shop.example'",
        "sender_domain = ['x.example', 'billing.shop.example']",
        "recipient_domain = 'Dest.example'",
        "mailbox_provider = ['microsoft', 'google']",
        "headers = [{ name = 'x-KIND', equals = 'two' }]",
        "headers = [{ name = 'X-Kind', equals = ['three', 'one'] }]",
        "headers = [{ name = 'Subject', prefix = 'YOUR ' }]",
        "headers = [{ name = 'Subject', regex = '[0-9]+$' }]",
        "headers = [{ name = 'X-Empty', present = true }]",
        "headers = [{ name = 'X-None', absent = true }, { name = 'Subject', absent = false }]",
        "tag = 'vip'",
        "tag = ['none', 'order']",
        "metadata = { tenant = 'acme' }",
        "metadata = { tenant = ['x', 'acme'] }",
        "size = { min = '2KiB' }",
        "size = { max = '2KiB' }",
        "hour = { from = 2, to = 3 }",
        "hour = { from = 22, to = 6, zone = 'America/Sao_Paulo' }",
        "hour = { from = 23, to = 24, zone = 'America/Sao_Paulo' }",
    ] {
        assert_eq!(tried(when), Ok(()), "{when}");
    }
}

#[test]
fn conditions_that_fail_say_which() {
    for (when, says) in [
        ("credential = 'mautic'", "credential = \"mautic\""),
        ("stream = 'alerts'", "stream = \"alerts\""),
        (
            "sender = 'invoice-?@shop.example'",
            "sender = \"invoice-?@shop.example\"",
        ),
        (
            "sender_domain = 'hop.example'",
            "sender_domain = \"hop.example\"",
        ),
        (
            "recipient_domain = ['st.example', 'x.mail.dest.example']",
            "recipient_domain = one of [\"st.example\", \"x.mail.dest.example\"]",
        ),
        ("mailbox_provider = 'other'", "mailbox_provider = \"other\""),
        (
            "headers = [{ name = 'X-Kind', equals = 'thre' }]",
            "header X-Kind is \"thre\"",
        ),
        (
            "headers = [{ name = 'X-Kind', prefix = 'onee' }]",
            "header X-Kind begins with \"onee\"",
        ),
        (
            "headers = [{ name = 'Subject', regex = '^order' }]",
            "header Subject matches /^order/",
        ),
        (
            "headers = [{ name = 'X-Empty', absent = true }]",
            "header X-Empty absent",
        ),
        (
            "headers = [{ name = 'X-None', present = true }]",
            "header X-None present",
        ),
        ("tag = 'VIP'", "tag = \"VIP\""),
        (
            "metadata = { tenant = 'acme', x = '1' }",
            "metadata.x = \"1\"",
        ),
        ("size = { min = '3KiB' }", "size at least 3KiB"),
        ("size = { max = '2047B' }", "size from 0B to 2047B"),
        ("hour = { from = 3, to = 2 }", "hour from 3 to 2 utc"),
        (
            "tag = 'vip', hour = { from = 9, to = 18 }",
            "hour from 9 to 18 utc",
        ),
    ] {
        assert_eq!(tried(when), Err(says.to_owned()), "{when}");
    }
}

#[test]
fn a_look_alike_domain_is_not_below() {
    assert!(is_under("shop.example", "shop.example"));
    assert!(is_under("a.b.shop.example", "shop.example"));
    assert!(!is_under("evilshop.example", "shop.example"));
    assert!(!is_under("example", "shop.example"));
}

proptest! {
    #[test]
    fn a_glob_matches_as_its_regular_expression_does(
        pattern in "[ab?*@]{0,10}",
        text in "[ab@]{0,12}",
    ) {
        let regex = regex::escape(&pattern).replace("\\*", ".*").replace("\\?", ".");
        let expected = Regex::new(&format!("^{regex}$")).unwrap().is_match(&text);
        prop_assert_eq!(Glob::new(&pattern).matches(&text), expected);
    }

    #[test]
    fn hours_from_and_to_part_the_day(hour in 0..24_i8, from in 0..24_i8, to in 0..24_i8) {
        prop_assume!(from != to);
        prop_assert_ne!(is_between(hour, from, to), is_between(hour, to, from));
    }
}
