//! Promises of suppressions, which nodes share, and of the soft bounces that lead to them.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a broken promise of the engine under test is a panic"
)]

use jiff::Timestamp;
use malote_core::address::EmailAddress;

use crate::conformance::mail::at;
use crate::{
    Erasing, Return, Shared, SoftBounce, Suppression, SuppressionQuery, SuppressionReason,
    SuppressionScope,
};

/// Who comes back undoes an unsubscribe in its scope, never a complaint or a bounce.
pub async fn only_an_unsubscribe_is_undone_by_who_comes_back(shared: &dyn Shared) {
    let complaint = entry("bob@x.test", stream("news"), None);
    shared
        .suppress(vec![unsubscribe("ann@x.test", 0), complaint])
        .await
        .unwrap();
    for (who, scope, is_stopped) in [
        ("ann@x.test", SuppressionScope::Global, true),
        ("ann@x.test", stream("offers"), true),
        ("ANN@x.test", stream("news"), false),
        ("bob@x.test", stream("news"), true),
    ] {
        let back = Return {
            scope: scope.clone(),
            ..back(who, 1)
        };
        shared.lift_unsubscribes(vec![back]).await.unwrap();
        assert_eq!(
            is_stopped_in_news(shared, who).await,
            is_stopped,
            "{who} {scope:?}"
        );
    }
    // What stood for no time is neither shown nor lifted.
    let lifted = shared.unsuppress(&address("ann@x.test"), None).await;
    assert_eq!(lifted.unwrap(), 0);
    let listed = listed(shared, &SuppressionQuery::default()).await;
    assert_eq!(listed, [entry("bob@x.test", stream("news"), None)]);
}

/// What is told of somebody, and when it happened.
enum Word {
    Left(i64),
    Back(i64),
}

/// Services tell late, and in any order: of unsubscribes and returns the last to happen counts.
pub async fn of_an_unsubscribe_and_a_return_the_later_counts(shared: &dyn Shared) {
    use Word::{Back, Left};
    let cases: [(&[Word], bool); 9] = [
        (&[Left(1), Back(2)], false),
        (&[Back(2), Left(1)], false),
        (&[Left(2), Back(1)], true),
        (&[Left(1), Back(2), Left(3)], true),
        (&[Left(1), Left(3), Back(2)], true),
        (&[Back(2), Left(1), Left(3)], true),
        (&[Back(1), Back(3), Left(2)], false),
        (&[Left(1), Back(2), Left(1)], false),
        // At once: the last to be told.
        (&[Back(2), Left(2)], true),
    ];
    for (number, (told, is_stopped)) in cases.into_iter().enumerate() {
        let who = format!("p{number}@x.test");
        for word in told {
            match word {
                Left(when) => shared.suppress(vec![unsubscribe(&who, *when)]).await,
                Back(when) => shared.lift_unsubscribes(vec![back(&who, *when)]).await,
            }
            .unwrap();
        }
        let stands = is_stopped_in_news(shared, &who).await;
        assert_eq!(stands, is_stopped, "case {number}");
    }
    // In one batch, too.
    shared
        .lift_unsubscribes(vec![back("q@x.test", 2), back("q@x.test", 1)])
        .await
        .unwrap();
    let both = vec![unsubscribe("q@x.test", 1), unsubscribe("q@x.test", 3)];
    shared.suppress(both).await.unwrap();
    assert!(is_stopped_in_news(shared, "q@x.test").await);
    // A return says nothing of complaints, however late they are told, and beside what.
    let left_and_complained = vec![
        unsubscribe("s@x.test", 1),
        entry("s@x.test", stream("news"), None),
    ];
    shared.suppress(left_and_complained).await.unwrap();
    let came_back = vec![back("s@x.test", 2)];
    shared.lift_unsubscribes(came_back).await.unwrap();
    assert!(is_stopped_in_news(shared, "s@x.test").await);
    shared
        .lift_unsubscribes(vec![back("r@x.test", 9)])
        .await
        .unwrap();
    let complaint = entry("r@x.test", stream("news"), None);
    shared.suppress(vec![complaint]).await.unwrap();
    assert!(is_stopped_in_news(shared, "r@x.test").await);
}

fn unsubscribe(who: &str, when: i64) -> Suppression {
    Suppression {
        reason: SuppressionReason::Unsubscribe,
        created_at: at(when),
        ..entry(who, stream("news"), None)
    }
}

fn back(who: &str, when: i64) -> Return {
    Return {
        address: address(who).into(),
        scope: stream("news"),
        at: at(when),
        source: "recipient".into(),
    }
}

async fn is_stopped_in_news(shared: &dyn Shared, who: &str) -> bool {
    let (addresses, scopes) = ([address(who)], [stream("news")]);
    let found = shared.suppressed(&addresses, &scopes, at(20)).await;
    found.unwrap()[0].is_some()
}

/// One row stands for all that was said of an address in a scope, whatever came first.
pub async fn what_stands_beside_an_unsubscribe_is_not_undone_with_it(shared: &dyn Shared) {
    use SuppressionReason::{Complaint, Manual, Unsubscribe};
    let (shop, by_itself) = ("credential:shop", "recipient");
    let (left, left_by_shop) = ((Unsubscribe, by_itself, None), (Unsubscribe, shop, None));
    let complained = (Complaint, "provider:ses", None);
    let (by_shop, by_hand) = ((Manual, shop, None), (Manual, "operator", Some(at(9))));
    for (number, (first, second, is_lifted)) in [
        (left, left, true),
        (left, left_by_shop, true),
        (left_by_shop, left, true),
        (left, complained, false),
        (complained, left, false),
        (left, by_shop, false),
        (by_shop, left, false),
        (left_by_shop, complained, false),
        // However short the other one.
        (left, by_hand, false),
        (by_hand, left, false),
        (by_hand, left_by_shop, false),
        (left_by_shop, by_hand, false),
    ]
    .into_iter()
    .enumerate()
    {
        let own = address(&format!("a{number}@x.test"));
        let given = |(reason, source, until): (SuppressionReason, &str, _)| Suppression {
            reason,
            source: source.to_owned(),
            ..entry(own.as_str(), stream("news"), until)
        };
        suppress_both_ways(shared, [given(first), given(second)]).await;
        let returned = vec![back(own.as_str(), 1)];
        shared.lift_unsubscribes(returned).await.unwrap();
        // And no app lifts what was not its own word alone.
        let asked = std::slice::from_ref(&own);
        let stopped = shared.suppressed(asked, &[stream("news")], at(1)).await;
        let stands = stopped.unwrap().remove(0);
        assert_eq!(stands.is_none(), is_lifted, "{first:?} {second:?}");
        assert!(
            stands.is_none_or(|stands| stands.source != shop),
            "{first:?} {second:?}"
        );
    }
}

/// Of two words told at once the same stands as of both told one by one.
pub async fn of_two_unsubscribes_the_time_of_the_later_is_kept(shared: &dyn Shared) {
    let (never, soon, late) = (None, Some(8), Some(9));
    let (shop, by_itself) = ("credential:shop", "recipient");
    // When it happened, until when it holds, by whom; then when what stands began, if it does.
    for (number, (first, second, begins)) in [
        ((1, never, by_itself), (3, never, by_itself), Some(3)),
        ((3, never, by_itself), (1, never, by_itself), Some(3)),
        ((1, late, by_itself), (3, soon, by_itself), Some(3)),
        ((3, soon, by_itself), (1, late, by_itself), Some(3)),
        ((3, never, shop), (1, never, by_itself), Some(3)),
        ((1, soon, by_itself), (3, never, shop), Some(3)),
        // A return, and what is told of before and after.
        ((4, Some(4), by_itself), (3, never, by_itself), None),
        ((4, Some(4), by_itself), (5, soon, shop), Some(5)),
    ]
    .into_iter()
    .enumerate()
    {
        let who = format!("u{number}@x.test");
        let given = |(when, until, source): (i64, Option<i64>, &str)| Suppression {
            source: source.to_owned(),
            expires_at: until.map(at),
            ..unsubscribe(&who, when)
        };
        suppress_both_ways(shared, [given(first), given(second)]).await;
        let (asked, scopes) = ([address(&who)], [stream("news")]);
        let found = shared.suppressed(&asked, &scopes, at(7)).await.unwrap();
        let found = found[0].as_ref().map(|stands| stands.created_at);
        assert_eq!(found, begins.map(at), "{first:?} {second:?}");
    }
    // Of another reason a return says nothing, and leaves it no words.
    let returned = Suppression {
        expires_at: Some(at(4)),
        ..unsubscribe("v@x.test", 4)
    };
    let own = Suppression {
        source: shop.to_owned(),
        ..entry("v@x.test", stream("news"), None)
    };
    suppress_both_ways(shared, [returned, own.clone()]).await;
    let (asked, scopes) = ([address("v@x.test")], [stream("news")]);
    let found = shared.suppressed(&asked, &scopes, at(7)).await.unwrap();
    assert_eq!(found, [Some(own)]);
}

/// One after the other, which is what then stands; and that both at once come to the same.
async fn suppress_both_ways(shared: &dyn Shared, [first, second]: [Suppression; 2]) {
    let asked = [first.address.known().unwrap().clone()];
    let scopes = [first.scope.clone()];
    let stands = async || shared.suppressed(&asked, &scopes, at(1)).await.unwrap();
    let both = vec![first.clone(), second.clone()];
    shared.suppress(both).await.unwrap();
    let at_once = stands().await;
    shared.unsuppress(&asked[0], None).await.unwrap();
    for one in [first, second] {
        shared.suppress(vec![one]).await.unwrap();
    }
    assert_eq!(at_once, stands().await);
}

fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn entry(text: &str, scope: SuppressionScope, expires_at: Option<Timestamp>) -> Suppression {
    Suppression {
        address: address(text).into(),
        scope,
        reason: SuppressionReason::Complaint,
        detail: "feedback loop".into(),
        source: "provider:ses".into(),
        provider: Some("ses".parse().unwrap()),
        credential: None,
        created_at: at(0),
        expires_at,
    }
}

fn stream(name: &str) -> SuppressionScope {
    SuppressionScope::Stream(name.parse().unwrap())
}

/// However the address is spelled, in its scope, until it expires or is lifted.
pub async fn a_suppression_stops_an_address_in_its_scope(shared: &dyn Shared) {
    let global = entry("Ann@x.test", SuppressionScope::Global, None);
    let news = entry("bob@x.test", stream("news"), Some(at(100)));
    let entries = vec![global.clone(), news.clone()];
    shared.suppress(entries).await.unwrap();
    let asked = [
        address("aNN@X.test"),
        address("bob@x.test"),
        address("c@x.test"),
    ];
    let both = [SuppressionScope::Global, stream("news")];
    let stopped = shared.suppressed(&asked, &both, at(99)).await.unwrap();
    assert_eq!(stopped, [Some(global.clone()), Some(news), None]);
    let only = [SuppressionScope::Global];
    let stopped = shared.suppressed(&asked, &only, at(99)).await.unwrap();
    assert_eq!(stopped, [Some(global), None, None]);
    let stopped = shared.suppressed(&asked, &both, at(100)).await.unwrap();
    assert_eq!(stopped[1], None);
    let lifted = shared.unsuppress(&asked[0], Some(&stream("news"))).await;
    assert_eq!(lifted.unwrap(), 0);
    assert_eq!(shared.unsuppress(&asked[0], None).await.unwrap(), 1);
    let stopped = shared.suppressed(&asked, &both, at(99)).await.unwrap();
    assert_eq!(stopped[0], None);
}

/// For ever beats a date, a later date an earlier one; nothing shortens.
pub async fn a_suppression_is_replaced_only_by_a_longer_one(shared: &dyn Shared) {
    let asked = [address("ann@x.test")];
    let scopes = [SuppressionScope::Global];
    for (given, stands) in [
        (Some(100), Some(100)),
        (Some(50), Some(100)),
        (Some(200), Some(200)),
        (None, None),
        (Some(300), None),
    ] {
        let expires_at = given.map(at);
        let one = entry("ann@x.test", SuppressionScope::Global, expires_at);
        shared.suppress(vec![one]).await.unwrap();
        let stopped = shared.suppressed(&asked, &scopes, at(0)).await.unwrap();
        let until = stopped[0].as_ref().unwrap().expires_at;
        assert_eq!(until, stands.map(at));
    }
}

/// Whoever may lift an app's entry must not lift with it what somebody else said of the address.
pub async fn an_app_s_word_never_stands_before_another_s(shared: &dyn Shared) {
    let (never, soon, late) = (None, Some(100), Some(200));
    let (shop, blog, other) = ("credential:shop", "credential:blog", "recipient");
    for (number, (first, second, source, credential, until)) in [
        ((shop, never), (other, never), other, None, never),
        ((shop, never), (other, soon), other, None, never),
        ((shop, soon), (other, late), other, None, late),
        ((other, soon), (shop, never), other, None, never),
        ((other, never), (shop, never), other, None, never),
        ((other, late), (shop, soon), other, None, late),
        ((shop, soon), (shop, late), shop, Some("shop"), late),
        ((shop, never), (shop, soon), shop, Some("shop"), never),
        ((shop, never), (blog, never), shop, None, never),
        ((shop, soon), (blog, late), blog, None, late),
    ]
    .into_iter()
    .enumerate()
    {
        let own = address(&format!("a{number}@x.test"));
        let given = |(source, until): (&str, Option<i64>)| {
            let name = source.strip_prefix("credential:");
            Suppression {
                source: source.to_owned(),
                credential: name.map(|name| name.parse().unwrap()),
                ..entry(own.as_str(), stream("news"), until.map(at))
            }
        };
        suppress_both_ways(shared, [given(first), given(second)]).await;
        let asked = std::slice::from_ref(&own);
        let stopped = shared.suppressed(asked, &[stream("news")], at(1)).await;
        let stands = stopped.unwrap().remove(0).unwrap();
        let found = (stands.source.as_str(), stands.expires_at);
        assert_eq!(found, (source, until.map(at)), "{first:?} {second:?}");
        let owner = stands.credential.as_ref().map(|name| name.as_str());
        assert_eq!(owner, credential, "{first:?} {second:?}");
    }
    // What had ended says nothing any more.
    let gone = Suppression {
        source: other.to_owned(),
        ..entry("gone@x.test", stream("news"), Some(at(10)))
    };
    let fresh = Suppression {
        source: shop.to_owned(),
        credential: Some("shop".parse().unwrap()),
        created_at: at(20),
        ..entry("gone@x.test", stream("news"), Some(at(30)))
    };
    shared.suppress(vec![gone]).await.unwrap();
    shared.suppress(vec![fresh.clone()]).await.unwrap();
    let asked = [address("gone@x.test")];
    let stopped = shared.suppressed(&asked, &[stream("news")], at(21)).await;
    assert_eq!(stopped.unwrap(), [Some(fresh)]);
}

/// Pages in the order of addresses and scopes, without gap or repeat.
pub async fn suppressions_are_listed_in_pages(shared: &dyn Shared) {
    let mut entries = Vec::new();
    for name in ["c", "a", "b"] {
        let text = format!("{name}@x.test");
        entries.push(entry(&text, stream("news"), None));
        entries.push(entry(&text, SuppressionScope::Global, None));
    }
    shared.suppress(entries.clone()).await.unwrap();
    entries.sort_by_key(|one| (one.address.clone(), one.scope.clone()));
    let all = listed(shared, &SuppressionQuery::default()).await;
    assert_eq!(all, entries);
}

async fn listed(shared: &dyn Shared, query: &SuppressionQuery) -> Vec<Suppression> {
    let mut listed: Vec<Suppression> = Vec::new();
    loop {
        let last = listed.last();
        let query = SuppressionQuery {
            after: last.map(|one| (one.address.clone(), one.scope.clone())),
            limit: 4,
            ..query.clone()
        };
        let page = shared.suppressions(&query).await.unwrap();
        if page.is_empty() {
            return listed;
        }
        listed.extend(page);
    }
}

/// By owner, by scope and by both, in the same order.
pub async fn a_list_of_suppressions_is_filtered_by_owner_and_scope(shared: &dyn Shared) {
    let mut entries = Vec::new();
    for (index, owner) in [Some("shop"), Some("blog"), None]
        .into_iter()
        .cycle()
        .take(30)
        .enumerate()
    {
        let scope = if index % 2 == 0 {
            stream("news")
        } else {
            SuppressionScope::Global
        };
        entries.push(Suppression {
            credential: owner.map(|name| name.parse().unwrap()),
            ..entry(&format!("p{index:02}@x.test"), scope, None)
        });
    }
    shared.suppress(entries.clone()).await.unwrap();
    let shop = Some("shop".parse().unwrap());
    for (owner, scope) in [
        (None, Some(stream("news"))),
        (shop.clone(), None),
        (shop, Some(SuppressionScope::Global)),
        (Some("nobody".parse().unwrap()), None),
    ] {
        let query = SuppressionQuery {
            owner: owner.clone(),
            scope: scope.clone(),
            ..SuppressionQuery::default()
        };
        let is_meant = |one: &&Suppression| {
            (owner.is_none() || one.credential == owner)
                && scope.as_ref().is_none_or(|scope| one.scope == *scope)
        };
        let expected: Vec<Suppression> = entries.iter().filter(is_meant).cloned().collect();
        assert_eq!(listed(shared, &query).await, expected);
    }
}

/// It is found by its hash alone, listed as it, and taken in again as it.
pub async fn an_erased_suppression_still_stops_its_address(shared: &dyn Shared) {
    let mut news = entry("Ann@x.test", stream("news"), None);
    news.source = "mail of ann@x.test".into();
    let other = entry("bob@x.test", SuppressionScope::Global, None);
    let global = entry("ann@x.test", SuppressionScope::Global, None);
    shared
        .suppress(vec![news, other.clone(), global])
        .await
        .unwrap();
    let ann = address("ANN@x.test");
    let counted = shared.erase_suppressions(&ann, Erasing::Count).await;
    assert_eq!(counted.unwrap(), 2);
    let erased = shared.erase_suppressions(&ann, Erasing::Erase).await;
    assert_eq!(erased.unwrap(), 2);
    let again = shared.erase_suppressions(&ann, Erasing::Erase).await;
    assert_eq!(again.unwrap(), 0);
    let all = listed(shared, &SuppressionQuery::default()).await;
    assert_eq!(all.len(), 3);
    assert!(!format!("{all:?}{}", serde_json::to_string(&all).unwrap()).contains("ann@"));
    let stops = async |scope: SuppressionScope| {
        let found = shared
            .suppressed(std::slice::from_ref(&ann), &[scope], at(0))
            .await;
        found.unwrap().remove(0).is_some()
    };
    assert!(stops(SuppressionScope::Global).await && stops(stream("news")).await);
    assert_eq!(shared.unsuppress(&ann, None).await.unwrap(), 2);
    assert!(!stops(SuppressionScope::Global).await);
    shared.suppress(all.clone()).await.unwrap();
    assert!(stops(SuppressionScope::Global).await && stops(stream("news")).await);
    assert_eq!(listed(shared, &SuppressionQuery::default()).await, all);
}

/// Only those of the window count, this one included, and each event once.
pub async fn soft_bounces_are_counted_in_their_window(shared: &dyn Shared) {
    let bounce = |who: &str, now: i64, event: &str| SoftBounce {
        address: address(who),
        at: at(now),
        event: event.to_owned(),
    };
    let count = async |bounce: SoftBounce, since: i64| {
        let counted = shared.count_soft_bounces(vec![bounce], at(since)).await;
        counted.unwrap()[0]
    };
    assert_eq!(count(bounce("Ann@x.test", 0, "ses/1"), -100).await, 1);
    assert_eq!(count(bounce("ann@x.test", 0, "ses/2"), -100).await, 2);
    assert_eq!(count(bounce("ann@x.test", 0, "ses/2"), -100).await, 2);
    assert_eq!(count(bounce("bob@x.test", 0, "ses/2"), -100).await, 1);
    assert_eq!(count(bounce("ann@x.test", 50, "ses/3"), -50).await, 3);
    assert_eq!(count(bounce("ann@x.test", 60, "ses/4"), 10).await, 2);
    let batch = vec![
        bounce("bob@x.test", 60, "ses/5"),
        bounce("ann@x.test", 60, "ses/5"),
        bounce("bob@x.test", 61, "ses/6"),
        bounce("bob@x.test", 61, "ses/6"),
    ];
    let counted = shared.count_soft_bounces(batch, at(10)).await;
    assert_eq!(counted.unwrap(), [2, 3, 2, 2]);
}
