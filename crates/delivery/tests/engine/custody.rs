//! Custody: one submission is one message.

use std::collections::BTreeSet;
use std::sync::Arc;

use malote_core::event::State;
use malote_core::intake::{Intake, Refusal};
use malote_core::message::{IdempotencyKey, Submission};
use tokio::task::JoinSet;

use crate::rig::{Rig, Setup, mail};
use crate::script::Scripted;

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
