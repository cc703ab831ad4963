//! The verdict table, row by row.

use malote_core::provider::Reply;
use malote_core::stream::{Class, FailoverPolicy, WritePace};

use super::*;

fn target() -> TargetName {
    TargetName {
        provider: "ses".try_into().unwrap(),
        pool: "tx".try_into().unwrap(),
    }
}

fn stream(on_unknown: OnUnknown, on_throttle: OnThrottle, transient_after_s: u64) -> Stream {
    Stream {
        name: "s".try_into().unwrap(),
        class: Class::Transactional,
        route: "r".try_into().unwrap(),
        retry: RetryPolicy {
            first: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(900),
            give_up_after: Duration::from_secs(86_400),
        },
        on_unknown,
        failover: FailoverPolicy {
            transient_after: Duration::from_secs(transient_after_s),
            on_throttle,
        },
        write_pace: WritePace::default(),
        reply_wait_max: Duration::from_secs(60),
        tracking: malote_core::tracking::Tracking::default(),
        guard: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

struct Case {
    stream: Stream,
    others_left: usize,
    others_out: usize,
    has_retry_budget: bool,
    progress: Progress,
}

impl Case {
    fn new() -> Self {
        Self {
            stream: stream(OnUnknown::PreferNoLoss, OnThrottle::Next, 0),
            others_left: 1,
            others_out: 0,
            has_retry_budget: true,
            progress: Progress::default(),
        }
    }

    fn last_target(mut self) -> Self {
        self.others_left = 0;
        self
    }

    fn with(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self
    }

    fn decide(&mut self, verdict: Verdict) -> Step {
        self.decide_error(SendError::new(verdict, Reply::none("x")))
    }

    fn decide_error(&mut self, error: SendError) -> Step {
        let target = target();
        let situation = Situation {
            stream: &self.stream,
            target: &target,
            others_left: self.others_left,
            others_out: self.others_out,
            attempts: 3,
            expires_at: now() + Duration::from_secs(80_000),
            now: now(),
            chance: 1.0,
            has_retry_budget: self.has_retry_budget,
        };
        decide(&situation, &mut self.progress, &Err(error))
    }
}

fn wait_s(step: &Step) -> i64 {
    step.due_at.unwrap().as_second() - now().as_second()
}

#[test]
fn a_fault_of_the_provider_goes_to_the_next_target_at_once() {
    for (verdict, attempts) in [
        (Verdict::Transient, 4),
        (Verdict::QuotaSpent { until: None }, 3),
        (Verdict::ProviderUnusable, 3),
        (Verdict::PoolUnusable, 3),
        (Verdict::SenderUnusable, 3),
        (Verdict::Throttled { after: None }, 3),
        (Verdict::Rejected(Fault::MessageHere), 4),
        (Verdict::Rejected(Fault::Reputation), 4),
    ] {
        let mut case = Case::new();
        let step = case.decide(verdict.clone());
        assert_eq!(
            (step.state, wait_s(&step)),
            (State::Queued, 0),
            "{verdict:?}"
        );
        assert_eq!(step.event, EventKind::FailedOver, "{verdict:?}");
        assert_eq!(step.attempts, attempts, "{verdict:?}");
        assert!(case.progress.has_used_up(&target()), "{verdict:?}");
    }
}

#[test]
fn the_last_target_of_a_pass_is_followed_by_back_off_and_a_new_pass() {
    for verdict in [
        Verdict::Transient,
        Verdict::ProviderUnusable,
        Verdict::QuotaSpent { until: None },
    ] {
        let mut case = Case::new().last_target();
        let step = case.decide(verdict.clone());
        assert_eq!(
            (step.state, wait_s(&step)),
            (State::Deferred, 10),
            "{verdict:?}"
        );
        assert!(!case.progress.has_used_up(&target()), "{verdict:?}");
        assert_eq!(case.progress.passes, 1);
    }
}

#[test]
fn a_deferral_and_a_bounce_say_whose_fault_it_is_and_only_the_verdict_says_the_recipients() {
    let throttled = Verdict::Throttled { after: None };
    let reputation = Verdict::Rejected(Fault::Reputation);
    for (verdict, said, blame) in [
        (throttled.clone(), None, Some(Blame::Rate)),
        (throttled, Some(Blame::Reputation), Some(Blame::Reputation)),
        (Verdict::QuotaSpent { until: None }, None, Some(Blame::Rate)),
        (
            Verdict::Transient,
            Some(Blame::Policy),
            Some(Blame::Infrastructure),
        ),
        (Verdict::ProviderUnusable, None, Some(Blame::Infrastructure)),
        (Verdict::PoolUnusable, None, Some(Blame::Infrastructure)),
        (Verdict::SenderUnusable, None, Some(Blame::SenderAuth)),
        (Verdict::Deferred, None, Some(Blame::Unknown)),
        (
            Verdict::Deferred,
            Some(Blame::MailboxFull),
            Some(Blame::MailboxFull),
        ),
        (Verdict::Ungroup, Some(Blame::Content), None),
        (reputation.clone(), None, Some(Blame::Reputation)),
        (
            reputation.clone(),
            Some(Blame::SenderAuth),
            Some(Blame::SenderAuth),
        ),
        (reputation, Some(Blame::Recipient), Some(Blame::Reputation)),
        (
            Verdict::Rejected(Fault::MessageHere),
            Some(Blame::Unknown),
            Some(Blame::Unknown),
        ),
        (
            Verdict::Rejected(Fault::Recipient),
            Some(Blame::Unknown),
            Some(Blame::Recipient),
        ),
    ] {
        let error = SendError::new(verdict.clone(), Reply::none("x")).with_blame(said);
        let step = Case::new().last_target().decide_error(error);
        assert!(matches!(
            step.event,
            EventKind::Bounced | EventKind::Deferred
        ));
        assert_eq!(step.blame, blame, "{verdict:?} {said:?}");
    }
}

#[test]
fn only_the_recipients_own_fault_suppresses() {
    for (verdict, blame, suppress) in [
        (Verdict::Rejected(Fault::Recipient), Blame::Recipient, true),
        (Verdict::Rejected(Fault::Message), Blame::Content, false),
        (Verdict::Rejected(Fault::MessageHere), Blame::Content, false),
        (
            Verdict::Rejected(Fault::Reputation),
            Blame::Reputation,
            false,
        ),
        (
            Verdict::Rejected(Fault::NotPermitted),
            Blame::Infrastructure,
            false,
        ),
    ] {
        let step = Case::new().last_target().decide(verdict.clone());
        assert_eq!(
            (step.state, step.blame),
            (State::Bounced, Some(blame)),
            "{verdict:?}"
        );
        assert_eq!(step.suppress, suppress, "{verdict:?}");
    }
    let content = Case::new().decide(Verdict::Rejected(Fault::Message));
    assert_eq!(
        content.state,
        State::Bounced,
        "content is not shown to a second provider"
    );
    let suppressed = Case::new().decide(Verdict::Suppressed);
    assert_eq!(
        (suppressed.state, suppressed.suppress),
        (State::Suppressed, false)
    );
}

#[test]
fn a_patient_stream_stays_with_a_failing_target_until_its_patience_ends() {
    let patient = stream(OnUnknown::PreferNoDuplicate, OnThrottle::Wait, 300);
    let mut case = Case::new().with(patient);
    assert_eq!(case.decide(Verdict::Transient).state, State::Deferred);
    case.progress.failing_since = vec![(target(), now() - Duration::from_secs(300))];
    assert_eq!(case.decide(Verdict::Transient).state, State::Queued);
}

#[test]
fn a_waiting_stream_waits_out_a_throttle_and_the_attempt_does_not_count() {
    let waiting = stream(OnUnknown::PreferNoDuplicate, OnThrottle::Wait, 0);
    let step = Case::new().with(waiting).decide(Verdict::Throttled {
        after: Some(Duration::from_secs(7)),
    });
    assert_eq!(
        (step.state, wait_s(&step), step.attempts),
        (State::Deferred, 7, 3)
    );
}

#[test]
fn an_unknown_outcome_is_held_or_asked_again_as_the_stream_says() {
    let careful = stream(OnUnknown::PreferNoDuplicate, OnThrottle::Wait, 0);
    let held = Case::new().with(careful).decide(Verdict::Unknown);
    assert_eq!((held.state, held.due_at), (State::Unknown, None));

    let mut case = Case::new();
    let first = case.decide(Verdict::Unknown);
    assert_eq!(
        (first.state, first.event),
        (State::Deferred, EventKind::ResendRisk)
    );
    assert_eq!(
        case.progress.ask_again,
        Some(target()),
        "the same provider first"
    );
    let second = case.decide(Verdict::Unknown);
    assert_eq!(second.state, State::Queued, "then the next");
    assert!(case.progress.has_used_up(&target()));
}

#[test]
fn a_group_refused_for_one_recipient_is_sent_one_by_one_without_counting() {
    let mut case = Case::new();
    let step = case.decide(Verdict::Ungroup);
    assert_eq!(
        (step.state, wait_s(&step), step.attempts),
        (State::Queued, 0, 3)
    );
    assert!(case.progress.is_single);
}

#[test]
fn immediate_attempts_beyond_the_budget_wait_a_little() {
    let mut case = Case::new();
    case.has_retry_budget = false;
    let step = case.decide(Verdict::Transient);
    assert_eq!((step.state, wait_s(&step)), (State::Queued, 10));
    assert!(!step.draws_on_budget);
}

#[test]
fn back_off_doubles_up_to_its_bound_with_full_jitter() {
    let retry = stream(OnUnknown::PreferNoLoss, OnThrottle::Wait, 0).retry;
    let bound = |passes| back_off_wait(&retry, passes, 1.0).as_secs();
    assert_eq!(
        [1, 2, 3, 7, 8, 4_000_000_000].map(bound),
        [10, 20, 40, 640, 900, 900]
    );
    assert_eq!(back_off_wait(&retry, 3, 0.5), Duration::from_secs(20));
    assert!(
        back_off_wait(&retry, 3, 0.0) >= Duration::from_millis(100),
        "never a busy loop"
    );
}

#[test]
fn no_wait_is_set_beyond_the_end_of_the_message() {
    let mut case = Case::new().last_target();
    case.progress.passes = 30;
    case.stream.retry.max = Duration::from_secs(1_000_000);
    assert_eq!(wait_s(&case.decide(Verdict::Transient)), 80_000);
}

#[test]
fn notes_survive_being_kept() {
    let mut case = Case::new();
    case.decide(Verdict::Transient);
    case.decide(Verdict::Unknown);
    let kept = case.progress.write();
    assert_eq!(Progress::read(kept.as_deref()), case.progress);
    assert_eq!(
        Progress::read(Some("{\"of\":\"another version\"")),
        Progress::default()
    );
}

#[test]
fn what_another_target_may_take_later_is_not_bounced_now() {
    for fault in [Fault::Reputation, Fault::MessageHere] {
        let mut case = Case::new().last_target();
        case.others_out = 1;
        let step = case.decide(Verdict::Rejected(fault));
        assert_eq!(step.state, State::Deferred, "{fault:?}");
        assert!(case.progress.has_used_up(&target()), "{fault:?}");
        case.others_out = 0;
        assert_eq!(
            case.decide(Verdict::Rejected(fault)).state,
            State::Bounced,
            "{fault:?}"
        );
    }
    let mut case = Case::new().last_target();
    case.others_out = 1;
    let step = case.decide(Verdict::Rejected(Fault::Message));
    assert_eq!(step.state, State::Bounced, "nobody would take it");
}

#[test]
fn one_recipient_alone_that_is_to_be_ungrouped_backs_off() {
    let mut case = Case::new();
    assert_eq!(wait_s(&case.decide(Verdict::Ungroup)), 0);
    assert!(wait_s(&case.decide(Verdict::Ungroup)) > 0);
}

#[test]
fn a_throttle_is_waited_out_as_asked_and_by_chance_a_tenth_longer() {
    let secs = |seconds: u64| Some(Duration::from_secs(seconds));
    for (asked, least, most) in [
        (secs(3), 3_000, 3_300),
        (None, 5_000, 5_500),
        (secs(0), 1_000, 1_100),
        (secs(99_999_999), 3_600_000, 3_960_000),
    ] {
        let wait = |chance| throttle_wait(asked, chance).as_millis();
        assert_eq!((wait(0.0), wait(1.0)), (least, most), "{asked:?}");
        assert!((least..most).contains(&wait(0.5)), "{asked:?}");
    }
}

#[test]
fn a_throttle_of_no_time_at_all_is_still_a_wait() {
    let mut case = Case::new().last_target();
    let after = Some(Duration::ZERO);
    assert_eq!(wait_s(&case.decide(Verdict::Throttled { after })), 1);
}
