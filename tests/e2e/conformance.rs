//! One suite over all adapters: each service's simulator misbehaves in every way it can, and the
//! verdict, the step that follows and what arrived are asserted, never only that it failed.

mod by_smtp;
mod echo;
mod partial;

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind, Kind};
use malote_tests::{Config, Gateway, SHOP_KEY, Service, provider_tables};
use serde_json::Value;

use crate::{SENT_MAX, attempts, order};

/// What must come of one kind of trouble.
struct Expected {
    /// The fault, as the recipient's local part asks for it.
    fault: &'static str,
    /// The outcome of the first attempt at the service.
    outcome: &'static str,
    /// Who has the message in the end: the service, the relay, or nobody.
    ends: Ends,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    AtService,
    AtRelay,
    Bounced,
    Waiting,
}

const fn expect(fault: &'static str, outcome: &'static str, ends: Ends) -> Expected {
    Expected {
        fault,
        outcome,
        ends,
    }
}

/// The connection is cut before the message was read, or the message is never read. Asked for by a
/// recipient they would come too late, so a simulator of its own plays each.
const EARLY: [FaultKind; 2] = [FaultKind::CutEarly, FaultKind::HangEarly];
/// Octets of a text that no buffer on the way takes whole, so that some is left unwritten.
const LONG_TEXT_BYTES: usize = 4 * 1024 * 1024;

/// What every service comes to unless [`exception`] says otherwise.
const EXPECTED: [Expected; 21] = [
    expect("ana", "sent", Ends::AtService),
    expect("slow", "sent", Ends::AtService),
    expect("401", "provider_unusable", Ends::AtRelay),
    expect("429", "throttled", Ends::AtRelay),
    expect("500", "transient", Ends::AtRelay),
    expect("503", "transient", Ends::AtRelay),
    expect("bare-502", "unknown", Ends::AtRelay),
    expect("quota", "quota_spent", Ends::AtRelay),
    expect("suspended", "provider_unusable", Ends::AtRelay),
    expect("sender", "sender_unusable", Ends::AtRelay),
    expect("recipient", "rejected_recipient", Ends::Bounced),
    expect("content", "rejected_message", Ends::Bounced),
    expect("reputation", "rejected_reputation", Ends::AtRelay),
    expect("hang", "unknown", Ends::AtRelay),
    expect("cut", "unknown", Ends::AtRelay),
    expect("cut-early", "transient", Ends::AtRelay),
    expect("hang-early", "transient", Ends::AtRelay),
    expect("cut-reply", "unknown", Ends::AtRelay),
    expect("nonsense", "unknown", Ends::AtRelay),
    expect("huge", "unknown", Ends::AtRelay),
    expect("redirect", "transient", Ends::AtRelay),
];

/// A gateway with one provider per fault at one service, so that no fault touches another's
/// breaker, and behind each a relay that takes everything: a simulator would play the fault, too.
async fn rehearse(kind: Kind) -> Result<(Gateway, Service, [Service; 2])> {
    let service = Service::start(kind).await?;
    let early = [Service::start(kind).await?, Service::start(kind).await?];
    for (service, fault) in early.iter().zip(EARLY) {
        ensure!(service.sandbox.arm(Fault::always(fault)));
    }
    let mut tables = "[providers.relay.capture]\n".to_owned();
    tables
        .push_str("[routes.main]\nstrategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n");
    for Expected { fault, .. } in &EXPECTED {
        let name = format!("at_{}", fault.replace('-', "_"));
        let at = early_of(fault).map_or(&service, |index| &early[index]);
        tables.push_str(&provider_tables(kind, &name, at.address));
        write!(
            tables,
            "[routes.{name}]\nstrategy = \"failover\"\n\
             targets = [{{ provider = \"{name}\" }}, {{ provider = \"relay\" }}]\n\
             [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = [\"{fault}.example\"] }}\n\
             then = {{ route = \"{name}\" }}\n"
        )?;
    }
    let gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    Ok((gateway, service, early))
}

/// Which of [`EARLY`] this fault is.
fn early_of(fault: &str) -> Option<usize> {
    EARLY.iter().position(|early| early.to_string() == fault)
}

/// A message that meets this fault.
fn order_for(fault: &str) -> Value {
    let mut order = order(&format!("{fault}@{fault}.example"));
    if early_of(fault).is_some() {
        order["text"] = "A line of a long text.\n"
            .repeat(LONG_TEXT_BYTES / 23)
            .into();
    }
    order
}

async fn conforms(kind: Kind) -> Result<()> {
    let (gateway, service, early) = rehearse(kind).await?;
    for Expected { fault, .. } in &EXPECTED {
        gateway.submit(&order_for(fault)).await?;
    }
    let mut surprises = Vec::new();
    for Expected {
        fault,
        outcome,
        ends,
    } in &EXPECTED
    {
        let recipient = format!("{fault}@{fault}.example");
        let (outcome, ends) = exception(kind, fault).unwrap_or((outcome, *ends));
        let states: &[&str] = match ends {
            Ends::Waiting => &["deferred"],
            Ends::AtService | Ends::AtRelay | Ends::Bounced => &["sent", "bounced"],
        };
        let timeline = gateway
            .reached(&recipient, SHOP_KEY, states, SENT_MAX)
            .await?;
        let seen = Seen::of(&timeline)?;
        if (seen.outcome.as_str(), seen.ends) != (outcome, ends) {
            surprises.push(format!(
                "{fault}: {} and {:?}, not {outcome} and {ends:?}; replies: {}",
                seen.outcome, seen.ends, seen.replies
            ));
        }
    }
    for (unread, fault) in early.iter().zip(EARLY) {
        ensure!(unread.sandbox.stats().faults > 0, "{fault} was not played");
        ensure!(unread.sandbox.messages().is_empty(), "{fault}, yet taken");
    }
    drop(service);
    ensure!(
        surprises.is_empty(),
        "{}:\n{}",
        kind.as_str(),
        surprises.join("\n")
    );
    Ok(())
}

struct Seen {
    outcome: String,
    ends: Ends,
    replies: String,
}

impl Seen {
    fn of(timeline: &Value) -> Result<Self> {
        let attempts = attempts(timeline);
        let (_, outcome) = attempts.first().context("no attempt is on record")?;
        let state = timeline["deliveries"][0]["state"].as_str();
        let ends = match (state, attempts.last()) {
            (Some("bounced"), _) => Ends::Bounced,
            (Some("sent"), Some((provider, _))) if provider == "relay" => Ends::AtRelay,
            (Some("sent"), _) => Ends::AtService,
            _ => Ends::Waiting,
        };
        Ok(Self {
            outcome: outcome.clone(),
            ends,
            replies: timeline["deliveries"][0]["attempts"].to_string(),
        })
    }
}

/// Where a service differs, and why.
fn exception(kind: Kind, fault: &str) -> Option<(&'static str, Ends)> {
    let differs = match (kind, fault) {
        // What these services document is a rule for the form of a message, which the next one may
        // take. None of them has an answer of its own for a bad reputation.
        (Kind::Mailjet | Kind::Postmark | Kind::Resend | Kind::Sparkpost, "content")
        | (
            Kind::Mailjet | Kind::Postmark | Kind::Resend | Kind::Sendgrid | Kind::Smtp2go,
            "reputation",
        ) => ("rejected_message_here", Ends::AtRelay),
        // Refused for the content, in the same words.
        (Kind::Ses | Kind::Mailgun | Kind::Elasticemail | Kind::Mailtrap, "reputation") => {
            ("rejected_message", Ends::Bounced)
        }
        // The words name no address.
        (Kind::Ses, "recipient") => ("rejected_message", Ends::Bounced),
        // The whole account is blocked, or the domain.
        (Kind::Brevo, "reputation") => ("provider_unusable", Ends::AtRelay),
        (Kind::Sparkpost, "reputation") => ("sender_unusable", Ends::AtRelay),
        // "Sandbox subdomains are for test purposes only": nothing leaves by this domain.
        (Kind::Mailgun, "sender") => ("provider_unusable", Ends::AtRelay),
        // No answer is documented for a spent quota.
        (Kind::Mailjet, "quota") => ("throttled", Ends::AtRelay),
        // The id stands in the head, which had arrived whole; the body is empty anyway.
        (Kind::Sendgrid, "cut-reply") => ("sent", Ends::AtService),
        // Postal's API always answers 200; a 500 is its web server's and may come after the work.
        (Kind::Postal, "500") => ("unknown", Ends::AtRelay),
        // It takes everything and tells by webhook what it holds or cannot deliver.
        (Kind::Postal, "quota" | "recipient" | "content" | "reputation") => {
            ("sent", Ends::AtService)
        }
        // To one recipient a 4xx is the far server's word: same target, later.
        (Kind::Smtp, "500" | "503") => ("deferred", Ends::Waiting),
        // 502 with no more words: what this server does not understand, another may.
        (Kind::Smtp, "bare-502") => ("rejected_message_here", Ends::AtRelay),
        // 551, user not local: no address for this mailbox is followed.
        (Kind::Smtp, "redirect") => ("rejected_recipient", Ends::Bounced),
        _ => return None,
    };
    Some(differs)
}

macro_rules! conformance {
    ($($name:ident: $kind:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() -> Result<()> {
                conforms(Kind::$kind).await
            }
        )*

        #[test]
        fn no_service_is_left_out() {
            let all = [$(Kind::$kind),*];
            assert!(Kind::all().all(|kind| all.contains(&kind)), "{all:?}");
        }
    };
}

conformance! {
    ses_conforms: Ses,
    mailgun_conforms: Mailgun,
    sendgrid_conforms: Sendgrid,
    resend_conforms: Resend,
    postmark_conforms: Postmark,
    sparkpost_conforms: Sparkpost,
    elasticemail_conforms: Elasticemail,
    smtp2go_conforms: Smtp2go,
    postal_conforms: Postal,
    brevo_conforms: Brevo,
    mailjet_conforms: Mailjet,
    mailtrap_conforms: Mailtrap,
    smtp_conforms: Smtp,
}
