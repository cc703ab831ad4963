//! Half of a group is refused and half is taken, or the whole is refused because of one: what
//! becomes of every recipient.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{Config, Gateway, SHOP_KEY, Service, eventually, provider_tables};
use serde_json::{Value, json};

use crate::{SENT_MAX, order};

/// One message's recipients. The first asks for the fault: in a call for all of them the first two
/// are refused, in a call for itself alone it is.
const GROUP: [&str; 4] = [
    "partial@group.example",
    "second@group.example",
    "third@group.example",
    "fourth@group.example",
];

const BY_ONE: &str = "service ungroup, service sent; sent";
const SENT: &str = "service sent; sent";
const REFUSED: &str = "service rejected_recipient; bounced";
const SUPPRESSED: &str = "service suppressed; suppressed";

/// What must come of each recipient of [`GROUP`]: every attempt's provider and outcome, then the
/// state.
fn expected(kind: Kind) -> [&'static str; 4] {
    match kind {
        // One bad address fails the whole call and none is sent: each recipient has a call of its
        // own after that, and only the bad one is refused.
        Kind::Mailgun
        | Kind::Sendgrid
        | Kind::Resend
        | Kind::Elasticemail
        | Kind::Smtp2go
        | Kind::Brevo
        | Kind::Mailjet
        | Kind::Mailtrap => {
            let refused = "service ungroup, service rejected_recipient; bounced";
            [refused, BY_ONE, BY_ONE, BY_ONE]
        }
        // The same, in words that name no address.
        Kind::Ses => {
            let refused = "service ungroup, service rejected_message; bounced";
            [refused, BY_ONE, BY_ONE, BY_ONE]
        }
        // The answer counts the refused and names them.
        Kind::Sparkpost => [REFUSED, REFUSED, SENT, SENT],
        // Success, with the inactive addresses in its text.
        Kind::Postmark => [SUPPRESSED, SUPPRESSED, SENT, SENT],
        // It takes everything and tells by webhook what it holds.
        Kind::Postal => [SENT; 4],
        // RCPT is answered one by one.
        Kind::Smtp => [REFUSED, SENT, SENT, SENT],
    }
}

async fn is_told_apart(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    let mut tables = provider_tables(kind, "service", service.address);
    tables.push_str(
        "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\n\
         targets = [{ provider = \"service\" }, { provider = \"relay\" }]\n",
    );
    let gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    let mut message = order(GROUP[0]);
    message["to"] = json!(GROUP);
    let id = gateway.submit(&message).await?;
    let mut last = Value::Null;
    let settled = eventually("every recipient is settled", SENT_MAX, async || {
        last = gateway.message(&id, SHOP_KEY).await?;
        let deliveries = last["deliveries"].as_array().context("no deliveries")?;
        let is_settled = |delivery: &Value| {
            let state = delivery["state"].as_str();
            state.is_some_and(|state| ["sent", "bounced", "suppressed"].contains(&state))
        };
        Ok(deliveries.iter().all(is_settled).then_some(()))
    });
    settled.await.with_context(|| format!("{last:#}"))?;
    let seen = fates(&last)?;
    let expected = GROUP.into_iter().zip(expected(kind));
    let expected = expected.map(|(rcpt, fate)| (rcpt.to_owned(), fate.to_owned()));
    let expected: BTreeMap<String, String> = expected.collect();
    ensure!(seen == expected, "{}: {seen:#?}\n{last:#}", kind.as_str());
    for (rcpt, fate) in &seen {
        let copies = service.count_to(rcpt);
        let is_sent = fate.ends_with(SENT);
        ensure!(copies == usize::from(is_sent), "{rcpt}: {copies} copies");
    }
    Ok(())
}

/// By recipient: each attempt's provider and outcome, then the state.
fn fates(timeline: &Value) -> Result<BTreeMap<String, String>> {
    let deliveries = timeline["deliveries"].as_array().context("no deliveries")?;
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let fate = |delivery: &Value| {
        let attempts = delivery["attempts"].as_array();
        let steps = attempts.into_iter().flatten();
        let steps = steps.map(|at| format!("{} {}", word(&at["provider"]), word(&at["outcome"])));
        let steps = steps.collect::<Vec<_>>().join(", ");
        (
            word(&delivery["recipient"]),
            format!("{steps}; {}", word(&delivery["state"])),
        )
    };
    Ok(deliveries.iter().map(fate).collect())
}

macro_rules! partial {
    ($($name:ident: $kind:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                is_told_apart(Kind::$kind).await
            }
        )*

        #[test]
        fn no_service_is_left_out() {
            let all = [$(Kind::$kind),*];
            assert!(Kind::all().all(|kind| all.contains(&kind)), "{all:?}");
        }
    };
}

partial! {
    ses_tells_them_apart: Ses,
    mailgun_tells_them_apart: Mailgun,
    sendgrid_tells_them_apart: Sendgrid,
    resend_tells_them_apart: Resend,
    postmark_tells_them_apart: Postmark,
    sparkpost_tells_them_apart: Sparkpost,
    elasticemail_tells_them_apart: Elasticemail,
    smtp2go_tells_them_apart: Smtp2go,
    postal_tells_them_apart: Postal,
    brevo_tells_them_apart: Brevo,
    mailjet_tells_them_apart: Mailjet,
    mailtrap_tells_them_apart: Mailtrap,
    smtp_tells_them_apart: Smtp,
}
