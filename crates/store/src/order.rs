//! The order in which a timeline shows its events: cause before effect, whoever's clock told.

use std::cmp::Ordering;

use jiff::Timestamp;
use malote_core::event::EventKind;
use malote_core::ledger::{AttemptView, EventView};
use malote_core::name::ProviderName;

/// An event as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    /// By our clock. What a service tells has its own time beside it, often cut to whole seconds.
    pub(crate) durable_at: Timestamp,
    /// What is shown.
    pub(crate) event: EventView,
}

/// Events in the order in which a reader understands them, from the order in which they were
/// written. No time is changed: a service's `delivered` of 10:00:07 stands behind our own `sent` of
/// 10:00:07.4, and behind it as well where the service's clock is slow by a minute.
pub(crate) fn in_order(written: Vec<Written>, attempts: &[AttemptView]) -> Vec<EventView> {
    let mut keyed: Vec<(Place, EventView)> = written
        .into_iter()
        .map(|one| (Place::of(&one, attempts), one.event))
        .collect();
    // Stable: what is equal stays as it was written.
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.into_iter().map(|(_, event)| event).collect()
}

/// Where an event stands. What is told of one attempt in the same moment goes by what follows from
/// what.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Not before its cause.
    at: Timestamp,
    is_told: bool,
    told_at: Timestamp,
    rank: u8,
}

impl Place {
    fn of(written: &Written, attempts: &[AttemptView]) -> Self {
        let event = &written.event;
        // What we write ourselves has one time only.
        let teller = event
            .provider
            .as_ref()
            .filter(|_| event.at.cmp(&written.durable_at) != Ordering::Equal);
        let taken_at = teller.and_then(|provider| taken_at(provider, attempts));
        Self {
            at: taken_at.map_or(event.at, |taken_at| taken_at.max(event.at)),
            is_told: teller.is_some(),
            told_at: event.at,
            rank: teller.map_or(0, |_| rank(&event.kind)),
        }
    }
}

/// Before which a provider can have told nothing: when it first took the message, or may have
/// begun to take it.
fn taken_at(provider: &ProviderName, attempts: &[AttemptView]) -> Option<Timestamp> {
    let own = attempts.iter().filter(|one| one.provider == *provider);
    let mut moments = own.filter_map(|one| match one.outcome.as_deref() {
        Some("sent") => one.ended_at.or(Some(one.started_at)),
        Some("unknown") | None => Some(one.started_at),
        Some(_) => None,
    });
    moments.next()
}

/// What a service tells of the same second, in the order in which it can have happened.
const fn rank(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Accepted | EventKind::Sent => 0,
        EventKind::Deferred
        | EventKind::FailedOver
        | EventKind::Held
        | EventKind::Released
        | EventKind::Unknown
        | EventKind::ResendRisk
        | EventKind::Quarantined => 1,
        EventKind::Delivered
        | EventKind::Bounced
        | EventKind::Rejected
        | EventKind::Suppressed
        | EventKind::Expired
        | EventKind::Cancelled => 2,
        EventKind::Opened | EventKind::Other(_) => 3,
        EventKind::Clicked => 4,
        EventKind::Complained | EventKind::Unsubscribed | EventKind::Resubscribed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_795_305_600_000 + millis).unwrap()
    }

    fn attempt(provider: &str, outcome: Option<&str>, (from, to): (i64, i64)) -> AttemptView {
        AttemptView {
            number: 1,
            started_at: at(from),
            ended_at: outcome.map(|_| at(to)),
            provider: provider.parse().unwrap(),
            pool: "default".parse().unwrap(),
            outcome: outcome.map(str::to_owned),
            reply: None,
            reason: String::new(),
        }
    }

    fn ours(kind: EventKind, provider: Option<&str>, when: i64) -> Written {
        told(kind, provider, (when, when))
    }

    fn told(kind: EventKind, provider: Option<&str>, (when, learnt): (i64, i64)) -> Written {
        Written {
            durable_at: at(learnt),
            event: EventView {
                at: at(when),
                kind,
                blame: None,
                provider: provider.map(|name| name.parse().unwrap()),
                detail: String::new(),
            },
        }
    }

    fn words(written: Vec<Written>, attempts: &[AttemptView]) -> String {
        let shown = in_order(written, attempts);
        let words: Vec<_> = shown.iter().map(|event| event.kind.as_str()).collect();
        words.join(" ")
    }

    #[test]
    fn what_a_service_tells_stands_behind_our_own_sent() {
        use EventKind::{
            Accepted, Bounced, Clicked, Deferred, Delivered, Opened, Sent, Unsubscribed,
        };
        let ses = |kind, when, learnt| told(kind, Some("ses"), (when, learnt));
        let once = [attempt("ses", Some("sent"), (7_200, 7_400))];
        let sent = ours(Sent, Some("ses"), 7_400);
        for (more, expected) in [
            // Whole seconds.
            (vec![ses(Delivered, 7_000, 9_000)], "delivered"),
            // A clock that is slow by a minute.
            (vec![ses(Delivered, -53_000, 9_000)], "delivered"),
            // A later word of something earlier.
            (
                vec![ses(Delivered, 20_000, 21_000), ses(Deferred, 9_000, 22_000)],
                "deferred delivered",
            ),
            // The same second, told backwards.
            (
                vec![
                    ses(Clicked, 8_000, 9_000),
                    ses(Opened, 8_000, 9_001),
                    ses(Delivered, 8_000, 9_002),
                ],
                "delivered opened clicked",
            ),
            // Different seconds, both before our own.
            (
                vec![ses(Bounced, 6_000, 9_000), ses(Delivered, 5_000, 9_001)],
                "delivered bounced",
            ),
            // What recipients ask the gateway itself has our clock.
            (vec![ours(Unsubscribed, None, 9_000)], "unsubscribed"),
        ] {
            let mut written = vec![ours(Accepted, None, 7_000), sent.clone()];
            written.extend(more);
            assert_eq!(words(written, &once), format!("accepted sent {expected}"));
        }
        // Faster than our own settlement.
        let written = vec![
            ours(Accepted, None, 7_000),
            ses(Delivered, 7_000, 7_300),
            sent,
        ];
        assert_eq!(words(written, &once), "accepted sent delivered");
    }

    #[test]
    fn of_several_attempts_the_one_that_may_have_been_taken_counts() {
        use EventKind::{Deferred, Delivered, FailedOver, Sent, Unknown};
        let delivered = |when, learnt| told(Delivered, Some("ses"), (when, learnt));
        let ses = |kind, when| ours(kind, Some("ses"), when);
        for (attempts, written, expected) in [
            // Our own word of the first attempt is not about the second.
            (
                vec![
                    attempt("ses", Some("transient"), (1_100, 1_200)),
                    attempt("ses", Some("sent"), (9_000, 9_400)),
                ],
                vec![
                    ses(Deferred, 1_200),
                    ses(Sent, 9_400),
                    delivered(9_000, 11_000),
                ],
                "deferred sent delivered",
            ),
            // It was delivered while we still waited for the answer.
            (
                vec![attempt("ses", Some("unknown"), (1_000, 61_000))],
                vec![ses(Unknown, 61_000), delivered(3_000, 70_000)],
                "delivered unknown",
            ),
            (
                vec![
                    attempt("mailgun", Some("transient"), (1_000, 1_500)),
                    attempt("ses", Some("sent"), (1_600, 1_900)),
                ],
                vec![
                    ours(FailedOver, Some("mailgun"), 1_500),
                    ses(Sent, 1_900),
                    delivered(1_000, 4_000),
                ],
                "failed_over sent delivered",
            ),
        ] {
            assert_eq!(words(written, &attempts), expected);
        }
    }

    #[test]
    fn no_time_is_changed() {
        let once = [attempt("ses", Some("sent"), (7_200, 7_400))];
        let written = vec![told(EventKind::Delivered, Some("ses"), (7_000, 9_000))];
        assert_eq!(in_order(written, &once)[0].at, at(7_000));
    }
}
