//! Properties of plans, and the shares that the strategies give.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use malote_core::address::EmailAddress;
use malote_core::name::{MailboxProvider, ProviderName, StreamName};
use malote_core::stream::Class;
use proptest::prelude::*;

use super::*;
use crate::config::{MailboxProvidersConfig, RouterConfig, RouterProvider, RouterStream};

const UNTIL: Timestamp = Timestamp::UNIX_EPOCH;

fn target(text: &str) -> TargetName {
    let (provider, pool) = text.split_once('/').unwrap();
    TargetName {
        provider: provider.try_into().unwrap(),
        pool: pool.try_into().unwrap(),
    }
}

fn able() -> Capabilities {
    Capabilities {
        message_bytes_max: 1_000,
        recipients_max: 10,
        envelope_sender: true,
        smtputf8: true,
        eight_bit: true,
        tracking: malote_core::tracking::TrackingSwitches::BOTH,
    }
}

/// A router with providers `a` to `h`, costing 8 to 1, and the routes given as TOML.
fn router(routes: &str) -> Router {
    let providers = ('a'..='h').zip((1..=8).rev()).map(|(name, cost)| {
        let provider = RouterProvider {
            pools: BTreeSet::new(),
            capabilities: able(),
            cost_per_thousand: (name != 'h').then_some(f64::from(cost)),
        };
        (name.to_string().try_into().unwrap(), provider)
    });
    compiled(routes, providers.collect())
}

fn compiled(routes: &str, providers: BTreeMap<ProviderName, RouterProvider>) -> Router {
    let stream = RouterStream {
        class: Class::Transactional,
        route: "main".try_into().unwrap(),
    };
    let (router, faults) = Router::compile(&RouterConfig {
        rules: Vec::new(),
        routes: toml::from_str(routes).unwrap(),
        streams: [("tx".try_into().unwrap(), stream)].into(),
        credentials: BTreeMap::new(),
        providers,
        mailbox_providers: MailboxProvidersConfig::default(),
        campaign_burst: 50,
    });
    router.unwrap_or_else(|| panic!("{faults:?}"))
}

/// Owns what plan facts borrow.
struct Mail {
    stream: StreamName,
    recipient: EmailAddress,
    mailbox_provider: MailboxProvider,
    campaign: Option<String>,
}

impl Mail {
    fn to(recipient: &str) -> Self {
        Self {
            stream: "tx".try_into().unwrap(),
            recipient: recipient.parse().unwrap(),
            mailbox_provider: "google".try_into().unwrap(),
            campaign: None,
        }
    }

    fn of(campaign: &str) -> Self {
        Self {
            campaign: Some(campaign.to_owned()),
            ..Self::to("joao@dest.example")
        }
    }

    fn facts(&self) -> PlanFacts<'_> {
        PlanFacts {
            stream: &self.stream,
            recipient: &self.recipient,
            mailbox_provider: &self.mailbox_provider,
            sender_domain: "shop.example",
            campaign: self.campaign.as_deref(),
            size_bytes: 1_000,
            needs_smtputf8: false,
        }
    }
}

fn main_route() -> RouteName {
    "main".try_into().unwrap()
}

fn plan(router: &Router, mail: &Mail, health: &Health, draw: Draw) -> Vec<String> {
    let plan = router.plan(&main_route(), &mail.facts(), health, draw);
    plan.targets
        .iter()
        .map(|t| t.target.provider.to_string())
        .collect()
}

fn without(providers: &[&str]) -> Health {
    let mut health = Health::new();
    for provider in providers {
        let provider = ProviderName::try_from(*provider).unwrap();
        health.exclude_provider(provider, Exclusion::Paused);
    }
    health
}

#[test]
fn failover_keeps_the_order_written() {
    let router = router(
        "main = { strategy = 'failover', targets = [{provider='c'}, {provider='a'}, {provider='b'}] }",
    );
    let mail = Mail::to("joao@dest.example");
    assert_eq!(
        plan(&router, &mail, &Health::new(), Draw::default()),
        ["c", "a", "b"]
    );
    assert_eq!(
        plan(&router, &mail, &without(&["c"]), Draw::default()),
        ["a", "b"]
    );
}

#[test]
fn round_robin_gives_each_healthy_target_its_turn() {
    let router = router(
        "main = { strategy = 'round_robin', targets = [{provider='a'}, {provider='b'}, {provider='c'}] }",
    );
    let mail = Mail::to("joao@dest.example");
    for (turn, healthy, one_out) in [
        (0, ["a", "b", "c"], ["a", "c"]),
        (1, ["b", "c", "a"], ["c", "a"]),
        (2, ["c", "a", "b"], ["a", "c"]),
        (u64::MAX, ["a", "b", "c"], ["c", "a"]),
    ] {
        let draw = Draw { turn, seed: 0 };
        assert_eq!(
            plan(&router, &mail, &Health::new(), draw),
            healthy,
            "{turn}"
        );
        assert_eq!(
            plan(&router, &mail, &without(&["b"]), draw),
            one_out,
            "{turn}"
        );
    }
}

#[test]
fn least_cost_takes_the_cheapest_and_the_unknown_last() {
    let router = router(
        "main = { strategy = 'least_cost', targets = [{provider='h'}, {provider='a'}, {provider='g'}] }",
    );
    let mail = Mail::to("joao@dest.example");
    assert_eq!(
        plan(&router, &mail, &Health::new(), Draw::default()),
        ["g", "a", "h"]
    );
}

#[test]
fn first_places_are_drawn_by_weight() {
    let router = router(
        "main = { strategy = 'weighted', targets = [{provider='a', weight=9}, {provider='b', weight=1}, {provider='c', weight=0}] }",
    );
    let mail = Mail::to("joao@dest.example");
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..20_000 {
        let plan = plan(&router, &mail, &Health::new(), Draw { turn: 0, seed });
        assert_eq!(plan[2], "c", "weight 0 comes last");
        *first.entry(plan[0].clone()).or_default() += 1;
    }
    // 20,000 draws of p = 0.1 have a standard deviation of 42.
    assert!(first["b"].abs_diff(2_000) < 4 * 42, "{first:?}");
}

#[test]
fn an_outage_moves_only_its_own_share_of_sticky_mail() {
    let router = router(
        "main = { strategy = 'sticky', by = 'recipient', targets = [{provider='a', weight=2}, {provider='b'}, {provider='c'}] }",
    );
    let mut share: BTreeMap<String, u32> = BTreeMap::new();
    let mut moved_to: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..4_000 {
        let mail = Mail::to(&format!("person{number}@dest.example"));
        let (turn, seed) = (number, number * 7);
        let before = plan(&router, &mail, &Health::new(), Draw { turn, seed });
        let after = plan(&router, &mail, &without(&["b"]), Draw::default());
        if before[0] == "b" {
            assert_eq!(after[0], before[1]);
            *moved_to.entry(after[0].clone()).or_default() += 1;
        } else {
            assert_eq!(after[0], before[0]);
        }
        *share.entry(before[0].clone()).or_default() += 1;
    }
    // Standard deviations: 32 for p = 0.5, 27 for p = 0.25, 15 for p = 2/3 of 1,000.
    assert!(share["a"].abs_diff(2_000) < 4 * 32, "{share:?}");
    assert!(share["b"].abs_diff(1_000) < 4 * 27, "{share:?}");
    assert!(
        moved_to["a"].abs_diff(share["b"] * 2 / 3) < 4 * 15,
        "{moved_to:?}"
    );
}

#[test]
fn sticky_by_campaign_keeps_a_campaign_together_and_the_rest_goes_by_recipient() {
    let router = router(
        "main = { strategy = 'sticky', by = 'campaign', targets = [{provider='a'}, {provider='b'}] }",
    );
    let firsts = |mails: Vec<Mail>| -> BTreeSet<String> {
        let first = |mail: &Mail| plan(&router, mail, &Health::new(), Draw::default()).remove(0);
        mails.iter().map(first).collect()
    };
    let one_campaign = (0..50).map(|n| Mail {
        campaign: Some("7".into()),
        ..Mail::to(&format!("p{n}@dest.example"))
    });
    assert_eq!(firsts(one_campaign.collect()).len(), 1);
    assert_eq!(
        firsts((0..50).map(|n| Mail::of(&n.to_string())).collect()).len(),
        2
    );
    let of_none = (0..50).map(|n| Mail::to(&format!("p{n}@dest.example")));
    assert_eq!(firsts(of_none.collect()).len(), 2);
}

#[test]
fn fallback_targets_come_last_and_each_target_once() {
    let router = router(
        "main = { strategy = 'failover', targets = [{provider='a'}], fallback = 'second' }\n\
         second = { strategy = 'failover', targets = [{provider='a'}, {provider='b'}], fallback = 'third' }\n\
         third = { strategy = 'failover', targets = [{provider='c'}] }",
    );
    let mail = Mail::to("joao@dest.example");
    let plan = router.plan(
        &main_route(),
        &mail.facts(),
        &without(&["a"]),
        Draw::default(),
    );
    let order: Vec<String> = plan
        .targets
        .iter()
        .map(|t| format!("{}: {}", t.target, t.why))
        .collect();
    assert_eq!(
        order,
        [
            "b/default: by fallback to route second, in the order written",
            "c/default: by fallback to route third, in the order written"
        ]
    );
    assert_eq!(plan.excluded, [(target("a/default"), Exclusion::Paused)]);
    let all = ["a/default", "b/default", "c/default"].map(target);
    for route in ["main", "gone"] {
        let route = RouteName::try_from(route).unwrap();
        assert_eq!(router.targets_of(&route, &mail.stream), all);
    }
}

#[test]
fn a_route_that_is_gone_is_replaced_by_the_streams() {
    let router = router("main = { strategy = 'failover', targets = [{provider='a'}] }");
    let mut mail = Mail::to("joao@dest.example");
    let gone = RouteName::try_from("gone").unwrap();
    let plan = router.plan(&gone, &mail.facts(), &Health::new(), Draw::default());
    assert_eq!((plan.route, plan.targets.len()), (main_route(), 1));
    mail.stream = "gone".try_into().unwrap();
    let plan = router.plan(&gone, &mail.facts(), &Health::new(), Draw::default());
    assert_eq!((plan.strategy, plan.targets.len()), (None, 0));
    assert!(!plan.fits_nowhere(), "another configuration may carry it");
}

/// Providers `any` and `ascii` (no SMTPUTF8).
fn router_of_two_abilities() -> Router {
    let provider = |capabilities| RouterProvider {
        pools: BTreeSet::new(),
        capabilities,
        cost_per_thousand: None,
    };
    let ascii_only = Capabilities {
        smtputf8: false,
        ..able()
    };
    compiled(
        "main = { strategy = 'failover', targets = [{provider='any'}, {provider='ascii'}] }",
        [
            ("any".try_into().unwrap(), provider(able())),
            ("ascii".try_into().unwrap(), provider(ascii_only)),
        ]
        .into(),
    )
}

#[test]
fn a_target_that_cannot_carry_the_message_is_excluded_with_the_reason() {
    let router = router_of_two_abilities();
    let mail = Mail::to("joao@dest.example");
    let excluded = |facts: &PlanFacts<'_>| {
        let plan = router.plan(&main_route(), facts, &Health::new(), Draw::default());
        let says = |e: &Exclusion| e.as_str().to_owned();
        let excluded = plan.excluded.iter();
        let words: BTreeMap<String, String> = excluded
            .map(|(target, why)| (target.provider.to_string(), says(why)))
            .collect();
        (words, plan.fits_nowhere())
    };
    let fits = mail.facts();
    let cases = [
        (fits, "", false),
        (
            PlanFacts {
                needs_smtputf8: true,
                ..fits
            },
            "ascii no_smtputf8",
            false,
        ),
        (
            PlanFacts {
                size_bytes: 1_001,
                ..fits
            },
            "any too_large, ascii too_large",
            true,
        ),
    ];
    for (facts, expected, fits_nowhere) in cases {
        let (words, nowhere) = excluded(&facts);
        let words: Vec<String> = words.iter().map(|(p, w)| format!("{p} {w}")).collect();
        assert_eq!(
            (words.join(", ").as_str(), nowhere),
            (expected, fits_nowhere)
        );
    }
}

#[test]
fn health_is_by_provider_target_sender_and_mailbox_provider() {
    let router = router(
        "main = { strategy = 'failover', targets = [{provider='a'}, {provider='b'}, {provider='c'}, {provider='d'}, {provider='e'}] }",
    );
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut health = Health::new();
    health.exclude_target(target("a/default"), Exclusion::Throttled { until: at(50) });
    health.exclude_target(
        target("a/default"),
        Exclusion::BreakerOpen { until: at(30) },
    );
    health.exclude_sender(target("b/default"), "shop.example", Exclusion::SenderOut);
    health.exclude_sender(target("c/default"), "other.example", Exclusion::SenderOut);
    let google = MailboxProvider::try_from("google").unwrap();
    let open = Exclusion::ReputationOpen { until: at(40) };
    health.exclude_mailbox_provider(target("d/default"), google, open.clone());
    let other = MailboxProvider::other();
    health.exclude_mailbox_provider(target("e/default"), other, open.clone());
    let mail = Mail::to("joao@gmail.com");
    let plan = router.plan(&main_route(), &mail.facts(), &health, Draw::default());
    assert_eq!(
        plan.excluded,
        [
            (target("a/default"), Exclusion::Throttled { until: at(50) }),
            (target("b/default"), Exclusion::SenderOut),
            (target("d/default"), open),
        ],
        "of two reasons the longer counts"
    );
    assert_eq!(plan.retry_at(), Some(at(40)));
    let left: Vec<String> = plan.targets.iter().map(|t| t.target.to_string()).collect();
    assert_eq!(left, ["c/default", "e/default"]);
}

proptest! {
    #[test]
    fn each_target_is_planned_or_excluded_once_and_the_same_question_has_the_same_answer(
        strategy in prop::sample::select(vec![
            "'failover'", "'weighted'", "'round_robin'", "'sticky', by = 'recipient'", "'least_cost'",
        ]),
        targets in prop::sample::subsequence(('a'..='h').collect::<Vec<_>>(), 1..=8),
        weights in prop::collection::vec(0..5_u32, 8),
        out in prop::collection::vec(any::<bool>(), 8),
        (turn, seed) in any::<(u64, u64)>(),
        person in "[a-z]{1,12}",
    ) {
        let mut written = String::new();
        for (name, weight) in targets.iter().zip(&weights) {
            let weight = weight + u32::from(*name == targets[0]);
            write!(written, "{{provider='{name}', weight={weight}}},").unwrap();
        }
        let router = router(&format!("main = {{ strategy = {strategy}, targets = [{written}] }}"));
        let mut health = Health::new();
        let down: BTreeSet<TargetName> = ('a'..='h')
            .zip(out)
            .filter(|(_, out)| *out)
            .map(|(name, _)| target(&format!("{name}/default")))
            .collect();
        for name in &down {
            health.exclude_target(name.clone(), Exclusion::BreakerOpen { until: UNTIL });
        }
        let mail = Mail::to(&format!("{person}@dest.example"));
        let draw = Draw { turn, seed };
        let plan = router.plan(&main_route(), &mail.facts(), &health, draw);
        let planned = plan.targets.iter().map(|t| &t.target);
        prop_assert!(planned.clone().all(|t| !down.contains(t)));
        prop_assert!(plan.excluded.iter().all(|(t, _)| down.contains(t)));
        let mut all: Vec<String> = planned
            .chain(plan.excluded.iter().map(|(t, _)| t))
            .map(|t| t.provider.to_string())
            .collect();
        all.sort();
        let written: Vec<String> = targets.iter().map(char::to_string).collect();
        prop_assert_eq!(all, written);
        prop_assert_eq!(router.plan(&main_route(), &mail.facts(), &health, draw), plan);
    }
}

#[test]
fn a_direct_route_has_its_provider_alone_and_no_rule_or_list_names_it() {
    let main = "[main]\nstrategy = \"failover\"\ntargets = [{ provider = \"a\" }]";
    let router = router(main);
    let of = |name: &str| router.direct_route(&name.try_into().unwrap());
    let direct = of("b").unwrap();
    assert_eq!(direct.as_str(), "direct-b");
    assert!(router.is_direct(&direct) && !router.is_direct(&main_route()));
    let mail = Mail::to("joao@dest.example");
    let plan = router.plan(&direct, &mail.facts(), &Health::default(), Draw::default());
    let targets: Vec<_> = plan.targets.iter().map(|planned| &planned.target).collect();
    assert_eq!(targets, [&target("b/default")]);
    let stream = "tx".try_into().unwrap();
    assert_eq!(router.targets_of(&direct, &stream), [target("b/default")]);
    assert_eq!(router.targets(), BTreeSet::from([target("a/default")]));
    assert_eq!(of("z"), None);
}
