//! Where the deliveries of a leased message go: plan each, and put those of one target together.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::{Blame, EventKind};
use malote_core::message::has_bare_cr_lf;
use malote_core::name::{MailboxProvider, RouteName, TargetName};
use malote_core::provider::{Fault, Verdict, bounded};
use malote_core::tracking::{Tracking, TrackingSwitches, Unmet};
use malote_router::{DeliveryFacts, Draw, Exclusion, MessageFacts, Plan, PlanFacts};
use malote_store::{Leased, MessageRecord};

use crate::asked_fields;
use crate::attempt::{Carriage, Group, Member};
use crate::engine::Engine;
use crate::header::Header;
use crate::intake::is_internal;
use crate::outcome::{self, Outcome};
use crate::progress::Progress;
use crate::step::back_off_wait;

/// Longest wait where no target can take mail and none says until when.
pub(crate) const NO_TARGET_WAIT: Duration = Duration::from_secs(30);
/// How often that wait doubles at most: eight minutes.
const NO_TARGET_DOUBLINGS_MAX: u32 = 4;
/// Longest reason or detail kept, in octets.
const TEXT_BYTES_MAX: usize = 512;

/// A message's facts for route rules.
fn facts_of<'a>(
    record: &'a MessageRecord,
    headers: &'a [(String, String)],
    now: Timestamp,
) -> MessageFacts<'a> {
    MessageFacts {
        credential: &record.credential,
        asked_stream: None,
        sender: Some(&record.from),
        headers,
        tags: &record.tags,
        metadata: &record.metadata,
        size_bytes: record.size_bytes,
        email_id_recipients: 0,
        now,
    }
}

impl Engine {
    /// Plans every delivery and puts those of one target together.
    pub(crate) fn group(
        &self,
        carriage: &Carriage<'_>,
        deliveries: Vec<Leased>,
        outcomes: &mut Vec<Outcome>,
        now: Timestamp,
    ) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        if deliveries.is_empty() {
            return groups;
        }
        let header = match Header::parse(carriage.body) {
            Ok(header) if !has_bare_cr_lf(carriage.body) => header,
            Ok(_) | Err(_) => {
                let why = "the kept message is not well formed";
                outcomes.extend(
                    deliveries
                        .into_iter()
                        .map(|d| outcome::quarantine(d, why, now)),
                );
                return groups;
            }
        };
        let headers = header
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()));
        let headers = asked_fields::as_sent(&carriage.record.asked_fields, headers.collect());
        let facts = facts_of(carriage.record, &headers, now);
        for delivery in deliveries {
            let (member, target) = match self.plan(carriage, &facts, delivery, now) {
                Ok(planned) => planned,
                Err(outcome) => {
                    outcomes.push(*outcome);
                    continue;
                }
            };
            let most = carriage.recipients_max(&target);
            let is_single = member.progress.is_single;
            let open = groups.iter_mut().find(|group| {
                !is_single
                    && group.target == target
                    && group.members.len() < most
                    && !group.members[0].progress.is_single
            });
            match open {
                Some(group) => group.members.push(member),
                None => groups.push(Group {
                    target,
                    members: vec![member],
                }),
            }
        }
        groups
    }

    fn plan(
        &self,
        carriage: &Carriage<'_>,
        facts: &MessageFacts<'_>,
        delivery: Leased,
        now: Timestamp,
    ) -> Result<(Member, TargetName), Box<Outcome>> {
        let mailbox_provider = delivery
            .mailbox_provider
            .clone()
            .unwrap_or_else(MailboxProvider::other);
        let mut progress = Progress::read(delivery.progress.as_deref());
        let route = carriage.route(facts, &delivery, &mailbox_provider);
        let plan_facts = PlanFacts {
            stream: &carriage.stream.name,
            recipient: &delivery.recipient,
            mailbox_provider: &mailbox_provider,
            sender_domain: carriage.record.from.domain(),
            campaign: carriage.record.campaign.as_deref(),
            size_bytes: carriage.record.size_bytes,
            needs_smtputf8: delivery.recipient.needs_smtputf8(),
        };
        let on_throttle = carriage.stream.failover.on_throttle;
        let picture = self.registry.picture_for(on_throttle, now);
        let draw = Draw {
            turn: self.turns.next(&route),
            seed: seed(&delivery),
        };
        let plan = carriage
            .policy
            .router
            .plan(&route, &plan_facts, &picture, draw);
        let mut open: Vec<_> = plan
            .targets
            .iter()
            .filter(|planned| !progress.has_used_up(&planned.target))
            .collect();
        let first_choice = progress.ask_again.as_ref().or(progress.stay_with.as_ref());
        if let Some(again) = first_choice
            && let Some(place) = open.iter().position(|planned| planned.target == *again)
        {
            open[..=place].rotate_right(1);
        }
        let Some(first) = open.first() else {
            let chance = rand::random::<f64>();
            return Err(Box::new(no_target(
                carriage,
                delivery,
                progress,
                &plan,
                (now, chance),
            )));
        };
        let target = first.target.clone();
        if let Some(until) = self.registry.throttled_until(&target, now) {
            let wait = until.duration_since(now).unsigned_abs();
            let outcome = outcome::wait_one(delivery, &progress, now, wait);
            return Err(Box::new(outcome));
        }
        let unmet = carriage.unmet_tracking(&target);
        let reason = reason((&first.why, unmet), &plan, &progress);
        let others_left = open.len() - 1;
        let others_out = others_out(&plan, &progress);
        progress.waits = 0;
        Ok((
            Member {
                delivery,
                progress,
                mailbox_provider,
                others_left,
                others_out,
                reason,
            },
            target,
        ))
    }
}

impl Carriage<'_> {
    /// One where MAIL FROM names the delivery.
    fn recipients_max(&self, target: &TargetName) -> usize {
        let path = self.policy.return_path_of(&target.provider);
        if path.is_some() && self.record.mail_from.is_some() {
            return 1;
        }
        let provider = self.policy.providers.get(&target.provider);
        provider.map_or(1, |entry| {
            usize::from(entry.provider.capabilities().recipients_max.max(1))
        })
    }

    /// What the message, else its stream, wants tracked.
    pub(crate) fn tracking(&self) -> Tracking {
        self.record.tracking.or(self.stream.tracking)
    }

    /// What of that the target does not do.
    fn unmet_tracking(&self, target: &TargetName) -> impl Iterator<Item = Unmet> {
        let provider = self.policy.providers.get(&target.provider);
        let switches = provider.map_or(TrackingSwitches::BOTH, |entry| {
            entry.provider.capabilities().tracking
        });
        self.tracking().unmet(switches)
    }

    /// The route by today's rules; the lane remembers the one of the day it was queued. Mail of the
    /// gateway itself that is for one provider alone keeps to it whatever the rules say.
    fn route(
        &self,
        facts: &MessageFacts<'_>,
        delivery: &Leased,
        mailbox_provider: &MailboxProvider,
    ) -> RouteName {
        let router = &self.policy.router;
        if is_internal(self.record.channel) && router.is_direct(&self.lane.route) {
            return self.lane.route.clone();
        }
        let decision = router.route(&DeliveryFacts {
            message: facts,
            stream: &self.stream.name,
            recipient: &delivery.recipient,
            mailbox_provider,
        });
        decision.route.unwrap_or_else(|| self.lane.route.clone())
    }
}

/// What becomes of a delivery for which the plan has no target left.
fn no_target(
    carriage: &Carriage<'_>,
    delivery: Leased,
    mut progress: Progress,
    plan: &Plan,
    (now, chance): (Timestamp, f64),
) -> Outcome {
    let reasons: Vec<String> = plan
        .excluded
        .iter()
        .map(|(target, why)| format!("{target}: {why}"))
        .collect();
    let detail = bounded(&reasons.join("; "), TEXT_BYTES_MAX);
    if plan.fits_nowhere() {
        return outcome::bounced_unsendable(delivery, (Blame::Content, &detail), now);
    }
    let can_come_back = plan.excluded.iter().any(|(_, why)| !why.is_by_capability());
    if let Some((_, verdict)) = progress.refused_by.last()
        && progress.used_up.is_empty()
        && !can_come_back
    {
        let blame = if *verdict == Verdict::Rejected(Fault::Reputation).as_str() {
            Blame::Reputation
        } else {
            Blame::Content
        };
        let why = format!("every target that could carry it has refused it: {verdict}");
        return outcome::bounced_unsendable(delivery, (blame, &why), now);
    }
    if !progress.used_up.is_empty() {
        progress.end_pass();
        let wait = back_off_wait(&carriage.stream.retry, progress.passes, chance);
        let told = (EventKind::Deferred, detail.as_str());
        return outcome::wait_with(delivery, progress, (now, wait), told);
    }
    // Mail that waits for a target comes back ever more rarely, or a large queue of it would be
    // all that its lane does.
    let longest = NO_TARGET_WAIT.saturating_mul(1 << progress.waits.min(NO_TARGET_DOUBLINGS_MAX));
    let until = plan
        .retry_at()
        .map(|at| at.duration_since(now).unsigned_abs());
    let wait = until
        .unwrap_or(longest)
        .clamp(Duration::from_secs(1), longest);
    progress.waits = progress.waits.saturating_add(1);
    if progress.waits == 1 {
        let told = (EventKind::Deferred, detail.as_str());
        return outcome::wait_with(delivery, progress, (now, wait), told);
    }
    outcome::wait_one(delivery, &progress, now, wait)
}

/// How many targets could carry it and are out only now.
fn others_out(plan: &Plan, progress: &Progress) -> usize {
    let is_out = |(target, why): &&(TargetName, Exclusion)| {
        !why.is_by_capability() && !progress.has_used_up(target)
    };
    plan.excluded.iter().filter(is_out).count()
}

/// Why this target, what it does not do, and why others of the plan are not it.
fn reason(
    (why, unmet): (&str, impl Iterator<Item = Unmet>),
    plan: &Plan,
    progress: &Progress,
) -> String {
    let mut text = format!("route {}: {why}", plan.route);
    for unmet in unmet {
        text += &format!("; {unmet}");
    }
    for (target, verdict) in progress.used_up.iter().chain(&progress.refused_by) {
        text += &format!("; {target} passed over: {verdict}");
    }
    for (target, exclusion) in &plan.excluded {
        text += &format!("; {target} excluded: {exclusion}");
    }
    bounded(&text, TEXT_BYTES_MAX)
}

fn seed(delivery: &Leased) -> u64 {
    let bytes = delivery.id.message.as_bytes();
    let mut tail = [0_u8; 8];
    tail.copy_from_slice(&bytes[8..]);
    u64::from_be_bytes(tail) ^ (u64::from(delivery.id.index) << 32) ^ u64::from(delivery.calls)
}
