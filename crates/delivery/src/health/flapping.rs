//! A target that works and fails in turns, every two seconds: how often mail changes its way.

use malote_core::provider::Reply;

use super::*;

/// How long it works, and then fails. A turn of just two seconds fits into each rest: all probes
/// after it would meet the same turn.
const TURNS_MS: [i64; 3] = [1_900, 2_000, 2_130];
/// How long it is watched.
const WATCHED_MS: i64 = 20 * 60_000;
/// Changes of the route within any minute at most, as docs/OPERATING.md says.
const CHANGES_MAX: usize = 8;
/// The same once it was left for the fifth time, and how many changes that takes.
const CHANGES_LATER_MAX: usize = 2;
const SETTLED_AFTER: usize = 9;

/// A target before another one in a failover route.
struct Flapping {
    registry: Registry,
    target: TargetName,
    turn_ms: i64,
    begins_ms: i64,
    /// Calls that failed at it.
    failed: u32,
}

impl Flapping {
    fn works(&self, at_ms: i64) -> bool {
        (at_ms + self.begins_ms) / self.turn_ms % 2 == 0
    }

    /// Sends one message, by the other target if this one is out.
    fn send(&mut self, at_ms: i64) {
        let now = at(at_ms);
        let nobody = MailboxProvider::other();
        let picture = self.registry.picture(now);
        if picture.exclusion(&self.target, "", &nobody).is_some() {
            return;
        }
        let Ok(probe) = self
            .registry
            .pass(&self.target, now, Duration::from_secs(60))
        else {
            return;
        };
        let error = SendError::new(Verdict::Transient, Reply::none("no"));
        let result = (!self.works(at_ms)).then_some(&error);
        self.failed += u32::from(result.is_some());
        let call = WholeCall {
            target: &self.target,
            probe: probe.as_ref(),
            started_at: now,
            ended_at: now,
        };
        self.registry.call_ended(&call, [result].into_iter());
    }

    /// Whether mail goes by it, as it comes.
    fn is_used(&self) -> bool {
        matches!(self.registry.breaker_word(&self.target), "closed" | "ramp")
    }
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

/// When mail left the target and came back to it, at so many messages a second, and how many calls
/// failed.
fn played(per_second: i64, (turn_ms, begins_ms): (i64, i64)) -> (Vec<i64>, u32) {
    let mut flapping = Flapping {
        registry: Registry::default(),
        target: TargetName {
            provider: "ses".try_into().unwrap(),
            pool: "tx".try_into().unwrap(),
        },
        turn_ms,
        begins_ms,
        failed: 0,
    };
    let (mut changes, mut was_used) = (Vec::new(), true);
    for message in 0..WATCHED_MS * per_second / 1_000 {
        let at_ms = message * 1_000 / per_second;
        flapping.send(at_ms);
        if flapping.is_used() != was_used {
            was_used = !was_used;
            changes.push(at_ms);
        }
    }
    (changes, flapping.failed)
}

fn most_in_a_minute(changes: &[i64]) -> usize {
    let within = |from: i64| {
        let of_minute = |at: &&i64| (from..from + 60_000).contains(*at);
        changes.iter().filter(of_minute).count()
    };
    changes.iter().map(|from| within(*from)).max().unwrap_or(0)
}

#[test]
fn a_target_that_flaps_every_two_seconds_is_left_and_taken_up_again_ever_more_rarely() {
    for (per_second, turn_ms) in rates_and_turns() {
        for begins_ms in (0..2 * turn_ms).step_by(350) {
            let (changes, failed) = played(per_second, (turn_ms, begins_ms));
            let case = format!("{per_second}/s, {turn_ms} ms from {begins_ms}: {changes:?}");
            let later = changes.get(SETTLED_AFTER..).unwrap_or_default();
            assert!(most_in_a_minute(&changes) <= CHANGES_MAX, "{case}");
            assert!(most_in_a_minute(later) <= CHANGES_LATER_MAX, "{case}");
            // Slower mail fails too seldom to open a breaker, and goes on to the next target each time.
            assert!(per_second < 5 || !changes.is_empty(), "{case}");
            let attempts = per_second * WATCHED_MS / 1_000;
            let few = i64::from(failed) * 20 <= attempts;
            assert!(per_second < 5 || few, "{failed} of {attempts}: {case}");
        }
    }
}

fn rates_and_turns() -> impl Iterator<Item = (i64, i64)> {
    let rates = [1, 2, 3, 5, 10, 50];
    rates
        .into_iter()
        .flat_map(|rate| TURNS_MS.map(|turn_ms| (rate, turn_ms)))
}
