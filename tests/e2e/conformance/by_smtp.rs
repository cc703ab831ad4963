//! The same trouble by each service's SMTP, told in its own words and where it tells it: the native
//! kinds' `transport = "smtp"`, and the presets of services that document words of their own.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use malote_sandbox::{Fault, FaultKind, Kind, SandboxConfig};
use malote_tests::{Config, Gateway, SHOP_KEY, Service, smtp_tables};
use serde_json::Value;

use super::{Ends, Expected, LONG_TEXT_BYTES, Seen, expect};
use crate::{SENT_MAX, attempts, order};

/// What comes of each kind of trouble at a server that says it as any does.
static EXPECTED: [Expected; 22] = [
    expect("none", "sent", Ends::AtService),
    expect("slow", "sent", Ends::AtService),
    expect("401", "provider_unusable", Ends::AtRelay),
    expect("403", "provider_unusable", Ends::AtRelay),
    expect("429", "throttled", Ends::AtRelay),
    expect("500", "transient", Ends::AtRelay),
    expect("503", "transient", Ends::AtRelay),
    expect("bare-502", "rejected_message_here", Ends::AtRelay),
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
    expect("redirect", "rejected_recipient", Ends::Bounced),
];

/// Where a service differs, and why.
fn exception(kind: Kind, fault: &str) -> Option<(&'static str, Ends)> {
    let differs = match (kind, fault) {
        // "Mailbox unavailable" is said of much: the address is not to blame for it.
        (Kind::Sendgrid, "recipient") => ("rejected_message_here", Ends::AtRelay),
        // They take the message, and tell by webhook what they make of it.
        (Kind::Postmark, "suspended" | "sender")
        | (Kind::Postmark | Kind::Postal, "quota" | "recipient" | "content" | "reputation") => {
            ("sent", Ends::AtService)
        }
        _ => return None,
    };
    Some(differs)
}

/// The native kinds that send by SMTP, and the presets of services with words of their own.
const KINDS: [Kind; 8] = [
    Kind::Sendgrid,
    Kind::Postmark,
    Kind::Elasticemail,
    Kind::Smtp2go,
    Kind::Ses,
    Kind::Sparkpost,
    Kind::Postal,
    Kind::Mailtrap,
];

/// One service with one fault, and what must come of it.
struct Seat {
    name: String,
    kind: Kind,
    expected: &'static Expected,
    service: Service,
}

impl Seat {
    /// A simulator of this service's SMTP with this fault, its provider and the route to it.
    async fn take(kind: Kind, expected: &'static Expected) -> Result<(Self, String)> {
        let fault = expected.fault;
        let name = format!("{}_{}", kind.as_str(), fault.replace('-', "_"));
        let any = ([127, 0, 0, 1], 0).into();
        let (_, login) = smtp_tables(kind, &name, any);
        let adapt = |config: &mut SandboxConfig| {
            config.smtp.service = Some(kind);
            config.smtp.login = Some(login);
        };
        let service = Service::start_on(Kind::Smtp, any, adapt).await?;
        if fault != "none" {
            let fault: FaultKind = fault.parse()?;
            ensure!(service.sandbox.arm(Fault::always(fault)));
        }
        let (mut tables, _) = smtp_tables(kind, &name, service.address);
        let seat = Self {
            name,
            kind,
            expected,
            service,
        };
        let (name, recipient) = (&seat.name, seat.recipient());
        write!(
            tables,
            "[routes.{name}]\nstrategy = \"failover\"\n\
             targets = [{{ provider = \"{name}\" }}, {{ provider = \"relay\" }}]\n\
             [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = [\"{}\"] }}\n\
             then = {{ route = \"{name}\" }}\n",
            recipient.trim_start_matches("ana@")
        )?;
        Ok((seat, tables))
    }

    /// Who meets the fault; the local part asks for none.
    fn recipient(&self) -> String {
        format!("ana@{}.{}.example", self.expected.fault, self.kind.as_str())
    }

    fn order(&self) -> Value {
        let mut order = order(&self.recipient());
        if self.expected.fault == "hang-early" {
            order["text"] = "A line of a long text.\n"
                .repeat(LONG_TEXT_BYTES / 23)
                .into();
        }
        order
    }

    /// What is not as it must be.
    fn surprises(&self, timeline: &Value) -> Result<Vec<String>> {
        let fault = self.expected.fault;
        let usual = (self.expected.outcome, self.expected.ends);
        let (outcome, ends) = exception(self.kind, fault).unwrap_or(usual);
        let mut seen = Seen::of(timeline)?;
        // The check at start has met it, and mail is not even tried.
        if seen.replies.contains("excluded: the provider is out") {
            "provider_unusable".clone_into(&mut seen.outcome);
        }
        let mut surprises = Vec::new();
        let mut surprise = |text: String| {
            let replies = &seen.replies;
            surprises.push(format!("{}: {text}; replies: {replies}", self.name));
        };
        if (seen.outcome.as_str(), seen.ends) != (outcome, ends) {
            let came = format!("{} and {:?}", seen.outcome, seen.ends);
            surprise(format!("{came}, not {outcome} and {ends:?}"));
        }
        // Behind a cut reply the message was taken, at each attempt at this service.
        let is_in_doubt = |(_, outcome): &&(String, String)| outcome == "unknown";
        let copies = match (ends, fault) {
            (Ends::AtService, _) => 1,
            (_, "cut-reply") => attempts(timeline).iter().filter(is_in_doubt).count(),
            (_, _) => 0,
        };
        let counted = self.service.count_to(&self.recipient());
        if counted != copies {
            surprise(format!("{counted} copies, not {copies}"));
        }
        if (self.service.sandbox.stats().faults > 0) != (fault != "none") {
            surprise("the fault was not played".to_owned());
        }
        Ok(surprises)
    }
}

#[tokio::test]
async fn every_service_conforms_by_smtp() -> Result<()> {
    let mut tables = "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\n\
                      targets = [{ provider = \"relay\" }]\n"
        .to_owned();
    let mut seats = Vec::new();
    for kind in KINDS {
        for expected in &EXPECTED {
            let (seat, table) = Seat::take(kind, expected).await?;
            tables.push_str(&table);
            seats.push(seat);
        }
    }
    let gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    for seat in &seats {
        gateway.submit(&seat.order()).await?;
    }
    let mut surprises = Vec::new();
    for seat in &seats {
        let timeline = gateway
            .reached(&seat.recipient(), SHOP_KEY, &["sent", "bounced"], SENT_MAX)
            .await?;
        surprises.extend(seat.surprises(&timeline)?);
    }
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    Ok(())
}
