//! Who complains of mail of no campaign gets no campaign any more, and a human hears of it.

use malote_core::clock::{Clock as _, SystemClock};
use malote_core::event::{EventKind, ProviderEvent, State};
use malote_core::id::DeliveryId;
use malote_core::stream::Class;
use malote_core::webhook::{EventSink as _, Webhook};

use crate::rig::{Rig, Setup, mail};
use crate::script::Scripted;

async fn sent(rig: &Rig, (stream, recipient): (&str, &str)) -> DeliveryId {
    let id = rig.submit(mail(stream, &[recipient])).await.id;
    let view = rig.wait_for(id, State::Sent).await;
    view.deliveries[0].id
}

/// The service tells this of a delivery, twice.
async fn tell(rig: &Rig, delivery: DeliveryId, kind: EventKind) {
    let event = ProviderEvent {
        dedup_key: format!("{delivery}/{}", kind.as_str()),
        at: SystemClock::start().now(),
        kind,
        blame: None,
        delivery: Some(delivery),
        provider_message_id: None,
        recipient: None,
        detail: "abuse".into(),
        raw: bytes::Bytes::new(),
    };
    for _ in 0..2 {
        let webhook = Webhook {
            events: vec![event.clone()],
            unreadable: Vec::new(),
        };
        let provider = "a".parse().unwrap();
        rig.engine.apply(&provider, webhook).await.unwrap();
    }
}

#[tokio::test]
async fn what_stops_every_campaign_is_an_alert_told_once_and_what_stops_its_own_is_none() {
    let (a, c) = (Scripted::new("a"), Scripted::new("c"));
    let setup = Setup::new(&[&a], &[&c]);
    let rig = Rig::start(&setup).await;
    let alerts = || (rig.alerts("complaint"), rig.alerts("unsubscribe"));
    for (place, kind, expected) in [
        (("news", "r@x.example"), EventKind::Complained, (0, 0)),
        (("news", "s@x.example"), EventKind::Unsubscribed, (0, 0)),
        (("tx", "t@x.example"), EventKind::Complained, (1, 0)),
        (("tx", "u@x.example"), EventKind::Unsubscribed, (1, 1)),
    ] {
        let delivery = sent(&rig, place).await;
        tell(&rig, delivery, kind).await;
        assert_eq!(alerts(), expected, "{place:?}");
    }
    // The stream is gone when the complaint comes.
    let delivery = sent(&rig, ("tx", "v@x.example")).await;
    let mut policy = setup.policy();
    policy.streams.retain(|name, _| name.as_str() != "tx");
    rig.engine.reload(policy);
    tell(&rig, delivery, EventKind::Complained).await;
    assert_eq!(alerts(), (2, 1));
    for stopped in ["t@x.example", "u@x.example", "v@x.example"] {
        let is_stopped = rig.is_suppressed(stopped, "news", Class::Campaign).await;
        assert!(is_stopped, "{stopped}");
    }
}
