//! What people read of a decision, and that machines read back what they wrote.

use std::collections::BTreeMap;

use super::*;
use crate::compile::tests::{ROUTES, RULES, config};
use crate::{DeliveryFacts, Draw, Health, MessageFacts, PlanFacts, Router};

/// A campaign message of 11 MiB to a Microsoft mailbox.
fn explained(router: &Router) -> Explanation {
    let credential = "mautic".try_into().unwrap();
    let headers = [
        ("Precedence".to_owned(), "Bulk".to_owned()),
        ("X-EMAIL-ID".into(), "3".into()),
    ];
    let message = MessageFacts {
        credential: &credential,
        asked_stream: None,
        sender: None,
        headers: &headers,
        tags: &[],
        metadata: &BTreeMap::new(),
        size_bytes: 11 << 20,
        email_id_recipients: 1,
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let stream = router.stream(&message);
    let recipient = "joao@hotmail.com".parse().unwrap();
    let mailbox_provider = router.mailbox_provider("hotmail.com", None);
    let name = stream.stream.clone().unwrap();
    let route = router.route(&DeliveryFacts {
        message: &message,
        stream: &name,
        recipient: &recipient,
        mailbox_provider: &mailbox_provider,
    });
    let facts = PlanFacts {
        stream: &name,
        recipient: &recipient,
        mailbox_provider: &mailbox_provider,
        sender_domain: "",
        campaign: message.campaign(),
        size_bytes: message.size_bytes,
        needs_smtputf8: false,
    };
    let plan = router.plan(
        route.route.as_ref().unwrap(),
        &facts,
        &Health::new(),
        Draw::default(),
    );
    Explanation {
        stream,
        is_paused: false,
        deliveries: vec![ExplainedDelivery {
            recipient: recipient.to_string(),
            mailbox_provider,
            route,
            plan: Some(plan),
        }],
    }
}

#[test]
fn the_example_compiles_and_explains_itself() {
    let (router, faults) = Router::compile(&config(&format!("{RULES}{ROUTES}")));
    assert_eq!(faults, []);
    let router = router.unwrap();
    assert!(router.reaches(
        &"campaign".try_into().unwrap(),
        &"relay".try_into().unwrap()
    ));
    assert!(!router.reaches(&"campaign".try_into().unwrap(), &"ses".try_into().unwrap()));
    let targets: Vec<String> = router.targets().iter().map(ToString::to_string).collect();
    assert_eq!(
        targets,
        ["mailgun/news", "relay/bulk", "relay/default", "ses/tx"]
    );
    let explained = explained(&router);
    assert_eq!(
        explained.to_string(),
        r#"stream campaign: header Precedence: bulk
  tried "Mautic mail without a campaign's marks is transactional": no, as this does not hold: header X-EMAIL-ID absent
to joao@hotmail.com (mailbox provider microsoft)
  route microsoft: Microsoft mailboxes leave through the relay
    tried "Microsoft mailboxes leave through the relay": yes
  plan of route microsoft (failover)
    excluded relay/bulk: the message is larger than its 10MiB
"#
    );
    let json = serde_json::to_string(&explained).unwrap();
    assert_eq!(
        serde_json::from_str::<Explanation>(&json).unwrap(),
        explained
    );
}
