//! What may be told of mail is counted from 0 on, and what nobody would tell is not counted.

use malote_core::event::State;

use crate::rig::{Rig, Setup, mail};
use crate::script::Scripted;

#[tokio::test]
async fn a_complaint_stands_at_0_before_it_is_told_and_nowhere_that_nobody_would_tell() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let rig = Rig::start(&Setup::new(&[&a], &[&c])).await;
    for recipient in ["r@yahoo.com", "r@gmail.com", "r@x.example"] {
        let id = rig.submit(mail("news", &[recipient])).await.id;
        rig.wait_for(id, State::Sent).await;
    }
    let metrics = rig.metrics();
    for (kind, mailbox, is_there) in [
        ("complained", "yahoo", true),
        ("complained", "other", true),
        ("complained", "google", false),
        ("bounced", "google", true),
        ("unsubscribed", "google", true),
        ("deferred", "google", true),
    ] {
        let line = format!(
            "malote_provider_events_total{{kind=\"{kind}\",mailbox_provider=\"{mailbox}\",\
             provider=\"c\",stream=\"news\"}} 0\n"
        );
        assert_eq!(metrics.contains(&line), is_there, "{line}");
    }
}
