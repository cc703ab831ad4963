//! What opens a breaker, what closes it, and what says nothing.

use super::*;

const CALL_MAX: Duration = Duration::from_secs(60);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn ended(signal: Signal, started_at: Timestamp) -> Ended {
    Ended {
        signal,
        started_at,
        is_probe: false,
    }
}

/// A call that ends as soon as it began.
fn say(breaker: &mut Breaker, signal: Signal, now: Timestamp) -> bool {
    breaker.record(&ended(signal, now), now)
}

/// The same of a probe.
fn probe(breaker: &mut Breaker, signal: Signal, now: Timestamp) -> bool {
    assert_eq!(breaker.pass(now, CALL_MAX), Pass::Probe);
    let ended = Ended {
        is_probe: true,
        ..ended(signal, now)
    };
    breaker.record(&ended, now)
}

fn opened(now: Timestamp) -> Breaker {
    let mut breaker = Breaker::default();
    let opened = (0..FAILURES_IN_A_ROW_MAX).filter(|_| say(&mut breaker, Signal::Fails, now));
    assert_eq!(opened.count(), 1, "opens once, at the last failure");
    breaker
}

#[test]
fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let mut breaker = Breaker::default();
    for _ in 0..4 {
        assert!(!say(&mut breaker, Signal::Fails, at(0)));
    }
    say(&mut breaker, Signal::Works, at(0));
    assert!(!say(&mut breaker, Signal::Fails, at(0)));
    assert_eq!(opened(at(0)).peek(at(1)), Pass::NotUntil(at(5)));
}

#[test]
fn half_the_calls_failing_opens_it_too() {
    let mut breaker = Breaker::default();
    let opened = (0..40).any(|n| {
        let signal = if n % 2 == 0 {
            Signal::Works
        } else {
            Signal::Fails
        };
        say(&mut breaker, signal, at(0))
    });
    assert!(opened);
}

#[test]
fn after_the_rest_one_probe_passes_and_the_others_wait_for_it() {
    let mut breaker = opened(at(0));
    assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::Probe);
    assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::NotUntil(at(65)));
    assert_eq!(
        breaker.pass(at(66), CALL_MAX),
        Pass::Probe,
        "a lost probe does not block for ever"
    );
}

#[test]
fn a_probe_that_another_node_makes_is_waited_for() {
    let mut breaker = opened(at(0));
    assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::Probe);
    breaker.leave_probe(at(6));
    assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::NotUntil(at(6)));
    assert_eq!(breaker.pass(at(6), CALL_MAX), Pass::Probe);
}

#[test]
fn a_rest_that_a_clock_ahead_of_ours_began_ends_as_any_other() {
    let ahead = opened(at(3_600));
    let believed = ahead.as_seen_from(at(0));
    assert_eq!(believed.peek(at(0)), Pass::NotUntil(at(120)));
    let soon = opened(at(0)).as_seen_from(at(1));
    assert_eq!(soon.peek(at(1)), Pass::NotUntil(at(5)));
}

#[test]
fn a_probe_that_said_nothing_makes_room_for_another_at_once() {
    let mut breaker = opened(at(0));
    assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::Probe);
    breaker.give_back_probe(at(5));
    probe(&mut breaker, Signal::Works, at(6));
    breaker.give_back_probe(at(5));
    assert_eq!(breaker.word(), "ramp", "a late give-back changes nothing");
}

#[test]
fn one_failure_in_a_ramp_is_no_outage_but_five_in_a_row_are() {
    let mut breaker = opened(at(0));
    probe(&mut breaker, Signal::Works, at(5));
    assert!(!say(&mut breaker, Signal::Fails, at(6)));
    say(&mut breaker, Signal::Works, at(6));
    assert!((0..4).all(|_| !say(&mut breaker, Signal::Fails, at(7))));
    assert!(say(&mut breaker, Signal::Fails, at(7)));
    assert_eq!(
        breaker.peek(at(8)),
        Pass::NotUntil(at(17)),
        "twice the rest"
    );
}

#[test]
fn a_breaker_that_nobody_asks_opens_again_after_its_rest() {
    let mut breaker = opened(at(0));
    assert!(!breaker.record_unasked(&ended(Signal::Fails, at(1)), at(1)));
    assert!(breaker.record_unasked(&ended(Signal::Fails, at(6)), at(6)));
    assert_eq!(breaker.peek(at(7)), Pass::NotUntil(at(16)));
    breaker.record_unasked(&ended(Signal::Works, at(17)), at(17));
    assert_eq!(breaker.word(), "ramp");
}

#[test]
fn a_failed_probe_doubles_the_rest_up_to_two_minutes() {
    let mut breaker = opened(at(0));
    let mut now = at(0);
    for rest in [5, 10, 20, 40, 80, 120, 120] {
        assert_eq!(
            breaker.peek(now),
            Pass::NotUntil(later(now, Duration::from_secs(rest)))
        );
        now = later(now, Duration::from_secs(rest));
        assert!(probe(&mut breaker, Signal::Fails, now));
    }
}

#[test]
fn a_recovered_target_ramps_up_instead_of_getting_everything_at_once() {
    let mut breaker = opened(at(0));
    probe(&mut breaker, Signal::Works, at(5));
    let passed_in = |breaker: &mut Breaker, second| {
        (0..1000)
            .filter(|_| breaker.pass(at(second), CALL_MAX) == Pass::Yes)
            .count()
    };
    assert_eq!(passed_in(&mut breaker, 6), 5);
    assert_eq!(passed_in(&mut breaker, 7), 5);
    assert_eq!(passed_in(&mut breaker, 16), 10);
    assert_eq!(passed_in(&mut breaker, 26), 20);
    say(&mut breaker, Signal::Works, at(66));
    assert!(breaker.is_at_rest());
}

/// Breakers that opened at 10, one in each state that such a one may be in at 76.
fn after_an_opening() -> [(&'static str, Breaker); 4] {
    let open = opened(at(10));
    let mut half_open = open.clone();
    assert_eq!(half_open.pass(at(15), CALL_MAX), Pass::Probe);
    let mut ramp = open.clone();
    probe(&mut ramp, Signal::Works, at(15));
    let mut closed = ramp.clone();
    say(&mut closed, Signal::Works, at(75));
    [open, half_open, ramp, closed].map(|breaker| (breaker.word(), breaker))
}

#[test]
fn what_calls_begun_before_the_last_opening_say_is_no_news_in_any_state() {
    for (word, breaker) in after_an_opening() {
        for (signal, is_probe) in [
            (Signal::Fails, false),
            (Signal::Fails, true),
            (Signal::Works, false),
            (Signal::Works, true),
        ] {
            let mut late = breaker.clone();
            for second in 0..20 {
                let ended = Ended {
                    is_probe,
                    ..ended(signal, at(10))
                };
                assert!(!late.record(&ended, at(76 + second)));
                late.record_unasked(&ended, at(76 + second));
            }
            assert_eq!(late, breaker, "{word}: {signal:?}");
        }
    }
}

#[test]
fn calls_begun_after_the_last_opening_count_again() {
    for (word, mut breaker) in after_an_opening() {
        let opens = (0..FAILURES_IN_A_ROW_MAX)
            .filter(|_| say(&mut breaker, Signal::Fails, at(76)))
            .count();
        let counts = word == "ramp" || word == "closed";
        assert_eq!(opens == 1, counts, "{word}");
    }
}

#[test]
fn only_the_probe_itself_ends_a_rest() {
    for signal in [Signal::Works, Signal::Fails] {
        let mut breaker = opened(at(0));
        assert_eq!(breaker.pass(at(5), CALL_MAX), Pass::Probe);
        assert!(!say(&mut breaker, signal, at(6)));
        assert_eq!(breaker.word(), "half_open", "{signal:?}");
    }
}

#[test]
fn a_probe_taken_before_the_last_opening_gives_nothing_back() {
    let mut breaker = opened(at(0));
    probe(&mut breaker, Signal::Fails, at(5));
    assert_eq!(breaker.pass(at(15), CALL_MAX), Pass::Probe);
    breaker.give_back_probe(at(5));
    assert_eq!(breaker.pass(at(15), CALL_MAX), Pass::NotUntil(at(75)));
}

#[test]
fn what_a_version_before_kept_is_read_and_reads_what_this_one_keeps() {
    #[derive(Deserialize)]
    struct Before {
        state: State,
        rests: u32,
    }
    let breaker = opened(at(0));
    let text = serde_json::to_string(&breaker).unwrap();
    let before: Before = serde_json::from_str(&text).unwrap();
    assert_eq!((&before.state, before.rests), (&breaker.state, 1));
    let text = r#"{"state":{"Open":{"until":"2027-01-15T08:00:05Z"}},"rests":1}"#;
    let mut read: Breaker = serde_json::from_str(text).unwrap();
    assert_eq!(read.peek(at(0)), Pass::NotUntil(at(5)));
    assert_eq!(read.clone().in_place_of(Some(&breaker)), breaker);
    assert!(probe(&mut read, Signal::Fails, at(5)));
}
