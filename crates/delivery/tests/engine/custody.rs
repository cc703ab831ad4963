//! Custody: one submission is one message.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use malote_core::clock::Clock as _;
use malote_core::credential::OnFinalFailure;
use malote_core::event::State;
use malote_core::intake::{Intake, Refusal};
use malote_core::message::{Channel, IdempotencyKey, ImpossibleRecipient, Notify, Submission};
use malote_store::{EventBook as _, Spool as _};
use tokio::task::JoinSet;

use crate::rig::{Rig, Setup, mail, until};
use crate::script::{Scripted, Seen};

/// Well below the time after which a lane looks by itself, 30 s.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// A lane that found nothing looks no more; a slower one only makes the test see less.
const LANE_SLEEPS_WITHIN: Duration = Duration::from_millis(300);

fn keyed(fingerprint: u8) -> Submission {
    let mut mail = mail("tx", &["r@x.example"]);
    mail.idempotency = Some(IdempotencyKey {
        key: "k".into(),
        fingerprint: Some([fingerprint; 32]),
    });
    mail
}

#[tokio::test]
async fn a_hundred_submissions_with_one_key_are_one_message_also_after_a_restart() {
    let a = Scripted::new("a");
    let setup = Setup::new(&[&a], &[]);
    let rig = Rig::start(&setup).await;
    let mut posts = JoinSet::new();
    for _ in 0..100 {
        let engine = Arc::clone(&rig.engine);
        posts.spawn(async move { engine.accept(keyed(1)).await });
    }
    let (mut ids, mut first) = (BTreeSet::new(), 0);
    for result in posts.join_all().await {
        match result {
            Ok(accepted) => {
                ids.insert(accepted.id);
                first += usize::from(!accepted.is_replay);
            }
            Err(refusal) => assert_eq!(refusal, Refusal::InProgress),
        }
    }
    assert_eq!((ids.len(), first), (1, 1));
    let id = ids.into_iter().next().unwrap();
    rig.wait_for(id, State::Sent).await;
    let rig = rig.restart(&setup).await;
    let again = rig.submit(keyed(1)).await;
    assert!(again.is_replay && again.id == id);
    assert_eq!(rig.engine.accept(keyed(2)).await, Err(Refusal::KeyReused));
    assert_eq!(a.calls(), 1);
}

#[tokio::test]
async fn a_repeat_by_mautic_is_the_same_message_though_its_body_differs() {
    let c = Scripted::new("c");
    let rig = Rig::start(&Setup::new(&[], &[&c])).await;
    let sent = |message_id: u8, recipient: &str| {
        let mut mail = mail("news", &[recipient]);
        let body = format!(
            "From: shop@shop.example\r\nMessage-ID: <{message_id}@mautic>\r\n\
             Return-Path: <r+bounce_0123456789abc@shop.example>\r\n\r\nhi\r\n"
        );
        mail.body = body.into_bytes().into();
        mail
    };
    let first = rig.submit(sent(1, "r@x.example")).await;
    let repeat = rig.submit(sent(2, "R@x.example")).await;
    let other = rig.submit(sent(3, "other@x.example")).await;
    assert!(repeat.is_replay && repeat.id == first.id);
    assert!(!other.is_replay);
    rig.wait_for_all(&[first.id, other.id], State::Sent).await;
    assert_eq!(c.calls(), 2);
}

#[tokio::test]
async fn the_sender_is_told_of_an_address_that_cannot_exist_once() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let mut setup = Setup::new(&[&a], &[&c]);
    setup.on_final_failure = OnFinalFailure::Dsn;
    let rig = Rig::start(&setup).await;
    let impossible = |text: &str, notify| ImpossibleRecipient {
        text: text.into(),
        reason: "no domain".into(),
        notify,
        orcpt: None,
    };
    let never = Notify {
        success: false,
        failure: false,
        delay: false,
    };
    let submission = || {
        let mut mail = keyed(1);
        mail.channel = Channel::Smtp([127, 0, 0, 1].into());
        mail.impossible = vec![
            impossible("nobody", None),
            impossible("silent", Some(never)),
        ];
        mail
    };
    rig.submit(submission()).await;
    assert!(rig.submit(submission()).await.is_replay);
    until("message and notice are sent", || a.calls() == 2).await;
    let seen = a.seen();
    let to_sender = |one: &&Seen| one.recipients == ["bounces@shop.example"];
    let notice = seen.iter().find(to_sender).unwrap();
    for line in [
        "Final-Recipient: rfc822; nobody\r\n",
        "Status: 5.1.3\r\n",
        "Diagnostic-Code: smtp; 550 5.1.3 no domain\r\n",
    ] {
        assert!(notice.body.contains(line), "{}", notice.body);
    }
    assert!(!notice.body.contains("silent"));
    assert_eq!(rig.counted("malote_dsns_total", "queued"), 1.0);
}

/// What becomes of a future that is given up after so many polls, unless it ends before.
async fn polled<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

#[tokio::test]
async fn mail_whose_client_hangs_up_in_the_middle_of_the_commit_leaves_at_once() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let ids = rig.submit_many("tx", 1).await;
    rig.wait_for_all(&ids, State::Sent).await;
    for times in 1.. {
        // The lane sleeps by then: what it finds while it still looks needs no bell.
        tokio::time::sleep(LANE_SLEEPS_WITHIN).await;
        let accepting = rig.engine.accept(mail("tx", &["r@x.example"]));
        let is_over = polled(times, accepting).await.is_some();
        // The writer takes things in turn: what it was given before is committed by now.
        let anybody = "a".parse().unwrap();
        let unreadable = rig
            .store
            .keep_unreadable(&anybody, Vec::new(), rig.clock.now());
        unreadable.await.unwrap();
        let is_waiting = async || {
            let stats = rig.store.stats(rig.clock.now()).await.unwrap();
            let waiting = [State::Queued, State::Sending];
            stats
                .by_state
                .iter()
                .any(|((_, state), count)| *count > 0 && waiting.contains(state))
        };
        let asked = Instant::now();
        while is_waiting().await {
            assert!(
                asked.elapsed() < LEAVES_WITHIN,
                "nobody rang after {times} polls"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if is_over {
            assert!(times > 1, "given up in no middle");
            return;
        }
    }
}

#[tokio::test]
async fn one_field_s_key_is_a_message_for_each_envelope() {
    let a = Scripted::new("a");
    let rig = Rig::start(&Setup::new(&[&a], &[])).await;
    let keyed = |recipients: &[&str], body: &str| {
        let mut mail = mail("tx", recipients);
        let text = format!("From: shop@shop.example\r\nX-Malote-Idempotency-Key: k\r\n\r\n{body}");
        mail.body = text.into_bytes().into();
        mail
    };
    let first = rig
        .submit(keyed(&["r@x.example", "s@x.example"], "hi"))
        .await;
    let repeat = rig
        .submit(keyed(&["S@x.example", "r@x.example"], "hi"))
        .await;
    assert!(repeat.is_replay && repeat.id == first.id);
    let others = rig.submit(keyed(&["t@x.example"], "hi")).await;
    let mut foreign = keyed(&["t@x.example"], "hi");
    foreign.mail_from = None;
    let foreign = rig.submit(foreign).await;
    assert!(!others.is_replay && !foreign.is_replay);
    let reused = rig.engine.accept(keyed(&["t@x.example"], "ho")).await;
    assert_eq!(reused, Err(Refusal::KeyReused));
    rig.wait_for_all(&[first.id, others.id, foreign.id], State::Sent)
        .await;
    assert_eq!(a.calls(), 4);
}
