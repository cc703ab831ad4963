//! Every fault of a configuration, with its path and its message.

use malote_core::provider::Capabilities;
use malote_core::stream::Class;
use malote_core::tracking::TrackingSwitches;
use serde::Deserialize;

use super::*;
use crate::config::{
    CAMPAIGN_BURST_DEFAULT, MailboxProvidersConfig, RouteConfig, RouterCredential, RouterProvider,
    RouterStream, RuleConfig,
};

/// Capabilities that exclude nothing in these tests.
pub(crate) fn able() -> Capabilities {
    Capabilities {
        message_bytes_max: 10 << 20,
        recipients_max: 50,
        envelope_sender: true,
        smtputf8: true,
        eight_bit: true,
        tracking: TrackingSwitches::BOTH,
    }
}

/// What of a configuration file concerns the router.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rules: Vec<RuleConfig>,
    #[serde(default)]
    routes: BTreeMap<malote_core::name::RouteName, RouteConfig>,
    #[serde(default)]
    mailbox_providers: MailboxProvidersConfig,
}

/// Streams, credentials and providers as in the example configuration, with the given rest.
pub(crate) fn config(text: &str) -> RouterConfig {
    let file: File = toml::from_str(text).unwrap();
    let stream = |class, route: &str| RouterStream {
        class,
        route: route.try_into().unwrap(),
    };
    let credential = |streams: &[&str], default: Option<&str>| RouterCredential {
        streams: streams.iter().map(|s| (*s).try_into().unwrap()).collect(),
        default_stream: default.map(|d| d.try_into().unwrap()),
    };
    let provider = |pools: &[&str], cost_per_thousand| RouterProvider {
        pools: pools.iter().map(|p| (*p).try_into().unwrap()).collect(),
        capabilities: able(),
        cost_per_thousand,
    };
    RouterConfig {
        rules: file.rules,
        routes: file.routes,
        streams: [
            (
                "transactional".try_into().unwrap(),
                stream(Class::Transactional, "transactional"),
            ),
            (
                "campaign".try_into().unwrap(),
                stream(Class::Campaign, "campaign"),
            ),
        ]
        .into(),
        credentials: [
            (
                "shop".try_into().unwrap(),
                credential(&["transactional"], None),
            ),
            (
                "mautic".try_into().unwrap(),
                credential(&["campaign", "transactional"], Some("transactional")),
            ),
        ]
        .into(),
        providers: [
            ("ses".try_into().unwrap(), provider(&["tx"], Some(0.1))),
            ("mailgun".try_into().unwrap(), provider(&["news"], None)),
            ("relay".try_into().unwrap(), provider(&["bulk"], None)),
        ]
        .into(),
        mailbox_providers: file.mailbox_providers,
        campaign_burst: CAMPAIGN_BURST_DEFAULT,
    }
}

/// The routes of the example configuration.
pub(crate) const ROUTES: &str = r#"
[routes.transactional]
strategy = "failover"
targets = [{ provider = "ses", pool = "tx" }, { provider = "relay" }]
[routes.campaign]
strategy = "weighted"
targets = [{ provider = "mailgun", pool = "news", weight = 9 }, { provider = "relay", pool = "bulk", weight = 1 }]
[routes.microsoft]
strategy = "failover"
targets = [{ provider = "relay", pool = "bulk" }]
"#;

/// The rules of the example configuration.
pub(crate) const RULES: &str = r#"
[[rules]]
name = "Mautic mail without a campaign's marks is transactional"
when = { credential = "mautic", headers = [{ name = "X-EMAIL-ID", absent = true }, { name = "List-Unsubscribe", absent = true }] }
then = { stream = "transactional" }
[[rules]]
name = "Microsoft mailboxes leave through the relay"
when = { stream = "campaign", mailbox_provider = ["microsoft"] }
then = { route = "microsoft" }
"#;

fn faults(text: &str) -> Vec<String> {
    let (router, faults) = compile(&config(text));
    let errors = faults.iter().filter(|f| f.severity == Severity::Error);
    assert_eq!(router.is_none(), errors.count() > 0);
    let says = |fault: &ConfigFault| match fault.severity {
        Severity::Error => fault.to_string(),
        Severity::Warning => format!("warning: {fault}"),
    };
    faults.iter().map(says).collect()
}

#[test]
fn names_that_do_not_exist_come_with_the_nearest_one() {
    let text = r#"
        [[rules]]
        name = "a"
        when = { credential = ["mautik"], mailbox_provider = "gogle" }
        then = { route = "campain" }
        [[rules]]
        name = "b"
        when = { stream = "transactonal" }
        then = { route = "microsoft" }
        [[rules]]
        name = "c"
        then = { stream = "campaigns" }
        [routes.campaign]
        strategy = "failover"
        targets = [{ provider = "mailgum" }, { provider = "mailgun", pool = "new" }]
        fallback = "tx"
        [routes.microsoft]
        strategy = "failover"
        targets = [{ provider = "relay", pool = "bulk" }]
    "#;
    assert_eq!(
        faults(text),
        [
            "streams.transactional.route: there is no route \"transactional\": choose one of campaign, microsoft",
            "rules[0].then.route: there is no route \"campain\": did you mean \"campaign\"?",
            "rules[0].when.credential[0]: there is no credential \"mautik\": did you mean \"mautic\"?",
            "rules[0].when.mailbox_provider: there is no mailbox provider \"gogle\": did you mean \"google\"?",
            "rules[1].when.stream: there is no stream \"transactonal\": did you mean \"transactional\"?",
            "rules[2].then.stream: there is no stream \"campaigns\": did you mean \"campaign\"?",
            "routes.campaign.fallback: there is no route \"tx\": choose one of campaign, microsoft",
            "routes.campaign.targets[0].provider: there is no provider \"mailgum\": did you mean \"mailgun\"?",
            "routes.campaign.targets[1].pool: there is no pool of provider mailgun called \"new\": did you mean \"news\"?",
        ]
    );
}

#[test]
fn a_rule_has_a_name_and_one_consequence() {
    for (rule, says) in [
        (
            "name = 'a'\nthen = {}",
            "rules[0].then: give exactly one of `stream` (once per message) and `route` (once per delivery)",
        ),
        (
            "name = 'a'\nthen = { stream = 'campaign', route = 'campaign' }",
            "rules[0].then: give exactly one of `stream` (once per message) and `route` (once per delivery)",
        ),
        (
            "name = ' '\nthen = { route = 'transactional' }\nwhen = { stream = 'transactional' }",
            "rules[0].name: a rule's name is 1 to 200 characters of text",
        ),
        (
            "name = 'a'\nthen = { stream = 'campaign' }\nwhen = { credential = 'shop' }",
            "warning: rules[0].then.stream: this rule never applies: none of its credentials may use \"campaign\"",
        ),
    ] {
        assert_eq!(
            faults(&format!("[[rules]]\n{rule}\n{ROUTES}")),
            [says],
            "{rule}"
        );
    }
}

#[test]
fn conditions_are_checked_one_by_one() {
    for (when, says) in [
        (
            "stream = 'campaign'",
            "stream: a rule that chooses a stream is tried once per message and cannot test stream: choose a route instead",
        ),
        (
            "recipient_domain = 'x.example'",
            "recipient_domain: a rule that chooses a stream is tried once per message and cannot test recipient_domain: choose a route instead",
        ),
        (
            "mailbox_provider = 'google'",
            "mailbox_provider: a rule that chooses a stream is tried once per message and cannot test mailbox_provider: choose a route instead",
        ),
        (
            "tag = []",
            "tag: an empty list matches nothing: leave it out, or name something",
        ),
        (
            "sender = 'shop.example'",
            "sender: \"shop.example\" is not an address: write \"*@shop.example\", or use sender_domain",
        ),
        (
            "sender_domain = ['*.shop.example']",
            "sender_domain[0]: write \"shop.example\": subdomains match too",
        ),
        (
            "headers = [{ name = 'X' }]",
            "headers[0]: give exactly one of equals, prefix, regex, present, absent",
        ),
        (
            "headers = [{ name = 'X', equals = 'a', regex = 'b' }]",
            "headers[0]: give exactly one of equals, prefix, regex, present, absent",
        ),
        (
            "headers = [{ name = 'X:', present = true }]",
            "headers[0].name: \"X:\" is not the name of a header field",
        ),
        (
            "headers = [{ name = 'X', regex = 'a(b' }]",
            "headers[0].regex: unclosed group",
        ),
        (
            "headers = [{ name = 'X', regex = '(\\w{1000}){1000}' }]",
            "headers[0].regex: this expression compiles to more than 1MiB",
        ),
        (
            "size = {}",
            "size: give min, max or both, as in { min = \"1MiB\" }",
        ),
        (
            "size = { min = '2B', max = '1B' }",
            "size: min is larger than max: this matches nothing",
        ),
        (
            "hour = { from = 24, to = 3 }",
            "hour: hours are from 0 to 23, and `to` may be 24",
        ),
        (
            "hour = { from = 3, to = 3 }",
            "hour: from and to are the same: leave it out to match always",
        ),
        (
            "hour = { from = 3, to = 4, zone = 'Mars/Base' }",
            "hour.zone: \"Mars/Base\" is neither \"utc\" nor a known time zone",
        ),
    ] {
        let rule = format!("name = 'a'\nthen = {{ stream = 'campaign' }}\nwhen = {{ {when} }}");
        let found = faults(&format!("[[rules]]\n{rule}\n{ROUTES}"));
        assert_eq!(found, [format!("rules[0].when.{says}")], "{when}");
    }
}

#[test]
fn rules_of_one_name_and_rules_out_of_reach_are_reported() {
    let text = format!(
        "[[rules]]\nname = 'all'\nthen = {{ stream = 'transactional' }}\n\
         [[rules]]\nname = 'all'\nwhen = {{ stream = 'campaign' }}\nthen = {{ route = 'microsoft' }}\n\
         [[rules]]\nname = 'late'\nwhen = {{ tag = 'x' }}\nthen = {{ stream = 'transactional' }}\n{ROUTES}"
    );
    assert_eq!(
        faults(&text),
        [
            "rules[1].name: rules[0] has the same name: `explain` could not tell them apart",
            "warning: rules[2]: never reached: the rule \"all\" above it matches everything",
        ]
    );
    let passed_over = "[[rules]]\nname = 'most'\nthen = { stream = 'campaign' }\n\
         [[rules]]\nname = 'shop'\nthen = { stream = 'transactional' }\n";
    assert_eq!(faults(&format!("{passed_over}{ROUTES}")), [""; 0]);
}

#[test]
fn routes_are_checked_part_by_part() {
    for (route, says) in [
        (
            "strategy = 'weighted'\ntargets = [{ provider = 'mailgun', weight = nan }]",
            "routes.x.targets[0].weight: a weight is a number from 0 to 1000000, not NaN",
        ),
        (
            "strategy = 'weighted'\ntargets = [{ provider = 'mailgun', weight = -1 }]",
            "routes.x.targets[0].weight: a weight is a number from 0 to 1000000, not -1e0",
        ),
        (
            "strategy = 'weighted'\ntargets = [{ provider = 'mailgun', weight = 1e308 }]",
            "routes.x.targets[0].weight: a weight is a number from 0 to 1000000, not 1e308",
        ),
        (
            "strategy = 'weighted'\ntargets = [{ provider = 'mailgun', weight = 0 }]",
            "routes.x.targets: all weights are 0: give at least one target a weight",
        ),
        (
            "strategy = 'failover'\ntargets = [{ provider = 'mailgun', weight = 2 }]",
            "warning: routes.x.targets[0].weight: a weight changes nothing in a failover route",
        ),
        (
            "strategy = 'failover'\ntargets = []",
            "routes.x.targets: a route needs at least one target: nothing would ever leave by it",
        ),
        (
            "strategy = 'failover'",
            "routes.x.targets: a route needs at least one target: nothing would ever leave by it",
        ),
        (
            "strategy = 'failover'\ntargets = [{ provider = 'relay' }, { provider = 'relay', pool = 'default' }]",
            "routes.x.targets[1]: relay/default is listed twice in this route",
        ),
        (
            "strategy = 'sticky'\ntargets = [{ provider = 'mailgun' }]",
            "routes.x.by: a sticky route says by = \"recipient\" or by = \"campaign\"",
        ),
        (
            "strategy = 'round_robin'\nby = 'campaign'\ntargets = [{ provider = 'mailgun' }]",
            "routes.x.by: `by` belongs to sticky routes, this one is round_robin",
        ),
        (
            "strategy = 'least_cost'\ntargets = [{ provider = 'mailgun' }]",
            "warning: routes.x.targets[0]: provider mailgun has no cost_per_thousand, so it is tried last",
        ),
        (
            "strategy = 'failover'\nfallback = 'x'\ntargets = [{ provider = 'mailgun' }]",
            "routes.x.fallback: fallbacks run in a circle: x -> x",
        ),
    ] {
        assert_eq!(
            faults(&format!("{ROUTES}[routes.x]\n{route}")),
            [says],
            "{route}"
        );
    }
}

#[test]
fn names_of_direct_routes_are_not_for_the_configuration() {
    let route = "[routes.direct-x]\nstrategy = 'failover'\ntargets = [{ provider = 'relay' }]";
    assert_eq!(
        faults(&format!("{ROUTES}{route}")),
        ["routes.direct-x: names that begin with direct- are the gateway's own"]
    );
}

#[test]
fn a_circle_of_fallbacks_is_reported_once() {
    let circle = "[routes.c]\nstrategy = 'failover'\nfallback = 'a'\ntargets = [{ provider = 'ses' }]\n\
         [routes.a]\nstrategy = 'failover'\nfallback = 'b'\ntargets = [{ provider = 'ses' }]\n\
         [routes.b]\nstrategy = 'failover'\nfallback = 'a'\ntargets = [{ provider = 'ses' }]\n";
    assert_eq!(
        faults(&format!("{ROUTES}{circle}")),
        ["routes.a.fallback: fallbacks run in a circle: a -> b -> a"]
    );
}

#[test]
fn classes_that_share_a_pool_are_refused_however_they_reach_it() {
    let shares = |place: &str| {
        format!(
            "{place}: the campaign stream \"campaign\" shares a pool with the transactional stream \
             \"transactional\": both can leave through relay/default; give one of them a pool of its own"
        )
    };
    let mixed = "[routes.mixed]\nstrategy = 'failover'\ntargets = [{ provider = 'relay' }]\n";
    let rule = |when: &str| {
        format!(
            "[[rules]]\nname = 'r'\nwhen = {{ {when} }}\nthen = {{ route = 'mixed' }}\n{ROUTES}{mixed}"
        )
    };
    assert_eq!(
        faults(&format!("{ROUTES}{mixed}")),
        [""; 0],
        "nobody goes there"
    );
    assert_eq!(
        faults(&rule("tag = 'x'")),
        [shares("routes.mixed.targets[0]")]
    );
    assert_eq!(
        faults(&rule("credential = 'mautic'")),
        [shares("routes.mixed.targets[0]")]
    );
    assert_eq!(
        faults(&rule("credential = 'shop'")),
        [""; 0],
        "it sends no campaigns"
    );
    assert_eq!(faults(&rule("stream = 'transactional'")), [""; 0]);
    let by_fallback = ROUTES.replace(
        "[routes.microsoft]",
        "fallback = 'mixed'\n[routes.microsoft]",
    );
    assert_eq!(
        faults(&format!("{by_fallback}{mixed}")),
        [shares("routes.mixed.targets[0]")]
    );
    let own = ROUTES.replace("pool = \"bulk\", weight", "weight");
    assert_eq!(faults(&own), [shares("routes.campaign.targets[1]")]);
}

#[test]
fn what_credentials_and_providers_say_is_checked_too() {
    let mut config = config(ROUTES);
    let shop = config
        .credentials
        .get_mut(&"shop".try_into().unwrap())
        .unwrap();
    shop.default_stream = Some("campaign".try_into().unwrap());
    let mautic = config
        .credentials
        .get_mut(&"mautic".try_into().unwrap())
        .unwrap();
    mautic.streams.push("transactionel".try_into().unwrap());
    let ses = config
        .providers
        .get_mut(&"ses".try_into().unwrap())
        .unwrap();
    ses.cost_per_thousand = Some(f64::NAN);
    let faults: Vec<String> = compile(&config).1.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "credentials.mautic.streams[2]: there is no stream \"transactionel\": did you mean \"transactional\"?",
            "credentials.shop.default_stream: \"campaign\" is not one of this credential's streams",
            "providers.ses.cost_per_thousand: a cost is 0 or a number above it",
        ]
    );
}

#[test]
fn unknown_keys_are_refused() {
    for text in [
        "[[rules]]\nname = 'a'\nthen = { streem = 'x' }",
        "[[rules]]\nname = 'a'\nwhen = { sender_domains = 'x' }\nthen = { stream = 'x' }",
        "[routes.a]\nstrategy = 'failover'\ntarget = []",
        "[routes.a]\nstrategy = 'fastest'\ntargets = []",
        "[mailbox_providers]\nlookup = true",
    ] {
        assert!(toml::from_str::<File>(text).is_err(), "{text}");
    }
}
