//! Posts the webhooks that a simulator was told to post of its own accord.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::behaviour::{Happening, Webhooks};
use crate::event::{EventKind, Report, Webhook, webhooks};
use crate::loopback::post;
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;

/// Webhooks that wait for their time; more are dropped, and counted.
const WAITING_MAX: usize = 100_000;
/// Webhooks under way at once.
const UNDER_WAY_MAX: usize = 16;
/// How often one is posted until it is answered 2xx.
const TRIES_MAX: u32 = 4;
/// Pause before the second try; it doubles.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Messages looked at in one go.
const BATCH_MAX: usize = 1_000;

/// A webhook that waits for its time.
struct Waiting {
    due: Instant,
    /// Those of one time go in the order in which they came up.
    order: u64,
    url: Arc<str>,
    report: Report,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// Reports until `shutdown`.
pub(crate) async fn run(sandbox: Sandbox, shutdown: CancellationToken) {
    let mut waiting: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
    let mut under_way = JoinSet::new();
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut seen = 0;
    let mut order = 0;
    loop {
        let due = waiting.peek().map(|first| first.0.due);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sandbox.mailbox().taken() => {
                loop {
                    let taken = sandbox.mailbox().list(seen, None, BATCH_MAX);
                    let Some(last) = taken.last() else { break };
                    seen = last.seq;
                    for taken in &taken {
                        plan(&sandbox, taken, &mut waiting, &mut order);
                    }
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some(Reverse(next)) = waiting.pop() {
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                    let sandbox = sandbox.clone();
                    under_way.spawn(async move {
                        deliver(&sandbox, &next).await;
                        drop(place);
                    });
                }
            }
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
        }
    }
}

/// What happens to each recipient of a message, by the webhooks of now.
fn plan(
    sandbox: &Sandbox,
    taken: &Taken,
    waiting: &mut BinaryHeap<Reverse<Waiting>>,
    order: &mut u64,
) {
    let Some(webhooks) = sandbox.mood().webhooks() else {
        return;
    };
    let url: Arc<str> = webhooks
        .url
        .replace("{kind}", sandbox.kind().as_str())
        .into();
    for (index, recipient) in taken.recipients.iter().enumerate() {
        let mut chance = Chance::of(webhooks.seed, taken.seq, index as u64);
        let stopped_by = sandbox.stops(recipient, &parts_of(taken));
        let fates = match stopped_by {
            Some(_) => vec![Fate::stopped()],
            None => fates(&webhooks, &mut chance),
        };
        for fate in fates {
            let mut report = Report::new(sandbox, fate.happening, taken.clone(), recipient.clone());
            report.forged = fate.is_forged;
            report.stopped_by = stopped_by.unwrap_or(report.stopped_by);
            report.at = happens_at(report.at, fate.happening);
            for after in fate.after {
                if waiting.len() >= WAITING_MAX {
                    sandbox.mailbox().note_webhook(false);
                    continue;
                }
                *order += 1;
                waiting.push(Reverse(Waiting {
                    due: Instant::now() + after,
                    order: *order,
                    url: Arc::clone(&url),
                    report: report.clone(),
                }));
            }
        }
    }
}

/// The parts of the service's list that a message is held against: SparkPost's types, Mailgun's
/// "every tag", and what has no part.
fn parts_of(taken: &Taken) -> [&str; 3] {
    let mut options = taken.options.iter();
    let is_transactional = options.any(|(name, value)| name == "transactional" && value == "true");
    let kind = match is_transactional {
        true => "transactional",
        false => "non_transactional",
    };
    ["", "*", kind]
}

/// When it happens to a message that was taken at `taken_at`; how late it is told is another matter.
fn happens_at(taken_at: Timestamp, happening: &Happening) -> Timestamp {
    let after = Duration::from_secs_f64(happening.after_s);
    taken_at.checked_add(after).unwrap_or(taken_at)
}

/// One webhook and when its copies are posted.
struct Fate<'a> {
    happening: &'a Happening,
    after: Vec<Duration>,
    is_forged: bool,
}

/// What happens to mail that the service itself stops.
static STOPPED: Happening = Happening {
    event: EventKind::Suppressed,
    share: 1.0,
    after_s: 0.0,
    reply: None,
};

impl Fate<'_> {
    fn stopped() -> Self {
        Self {
            happening: &STOPPED,
            after: vec![Duration::ZERO],
            is_forged: false,
        }
    }
}

fn fates<'a>(webhooks: &'a Webhooks, chance: &mut Chance) -> Vec<Fate<'a>> {
    let mut fates = Vec::new();
    for happening in &webhooks.events {
        if chance.next() >= happening.share {
            continue;
        }
        let is_forged = chance.next() < webhooks.forged;
        let is_double = chance.next() < webhooks.duplicated;
        let copies = if is_double { 2 } else { 1 };
        let after = (0..copies)
            .map(|_| Duration::from_secs_f64(happening.after_s + webhooks.late_s * chance.next()));
        fates.push(Fate {
            happening,
            after: after.collect(),
            is_forged,
        });
        if happening.event == EventKind::Bounced {
            break;
        }
    }
    fates
}

/// Posts what reports it, in turn; it counts as one webhook.
async fn deliver(sandbox: &Sandbox, waiting: &Waiting) {
    let Ok(webhooks) = webhooks(sandbox, &waiting.report) else {
        sandbox.mailbox().note_webhook(false);
        return;
    };
    let mut is_taken = true;
    for webhook in webhooks {
        is_taken &= is_posted(&waiting.url, &webhook).await;
    }
    sandbox.mailbox().note_webhook(is_taken);
}

/// Whether it was answered 2xx in the end.
async fn is_posted(url: &str, webhook: &Webhook) -> bool {
    let mut pause = RETRY_PAUSE;
    for attempt in 1..=TRIES_MAX {
        let answered = post(url, &webhook.headers, &webhook.body).await;
        match answered {
            Ok(status) if (200..300).contains(&status) => return true,
            // A refusal of what we sent does not change by sending it again.
            Ok(status) if (400..500).contains(&status) && status != 429 => return false,
            Ok(_) | Err(_) if attempt < TRIES_MAX => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Ok(_) | Err(_) => {}
        }
    }
    false
}

/// Chance that is the same for the same message and seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn of(seed: u64, message: u64, recipient: u64) -> Self {
        Self(seed ^ message.rotate_left(20) ^ recipient.rotate_left(52))
    }

    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(text: &str) -> Webhooks {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn shares_hold_and_nothing_follows_a_bounce() {
        let webhooks = webhooks(
            r#"{"url":"x","events":[{"event":"bounced","share":0.2},{"event":"delivered","after_s":1}],
                "duplicated":0.1,"late_s":5}"#,
        );
        let (mut bounced, mut delivered, mut posted) = (0, 0, 0);
        for message in 0..10_000 {
            let fates = fates(&webhooks, &mut Chance::of(7, message, 0));
            let [fate] = fates.as_slice() else {
                panic!("{} fates", fates.len());
            };
            posted += fate.after.len();
            match fate.happening.event == EventKind::Bounced {
                true => bounced += 1,
                false => delivered += 1,
            }
            assert!(fate.after.iter().all(|after| after.as_secs_f64() < 6.0));
        }
        assert!((1_800..2_200).contains(&bounced), "{bounced}");
        assert_eq!(bounced + delivered, 10_000);
        assert!((10_800..11_200).contains(&posted), "{posted}");
    }

    #[test]
    fn what_happens_later_is_reported_as_later() {
        let webhooks =
            webhooks(r#"{"url":"x","events":[{"event":"delivered","after_s":1.5}],"late_s":60}"#);
        let taken_at = Timestamp::UNIX_EPOCH;
        let at = happens_at(taken_at, &webhooks.events[0]);
        assert_eq!(at.as_millisecond(), 1_500);
    }

    #[test]
    fn the_same_seed_gives_the_same_fate() {
        let draw = |seed| -> Vec<u64> {
            let mut chance = Chance::of(seed, 3, 1);
            (0..5).map(|_| chance.next().to_bits()).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
