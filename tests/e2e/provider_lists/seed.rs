//! What stands on the services' lists before they are pulled.

use malote_sandbox::{Kind, Suppressed, Why};
use malote_tests::Service;

/// Since when the entries stand there.
pub(super) const AT: &str = "2026-01-02T03:04:05Z";

pub(super) fn suppress(service: &Service, address: &str, why: Why, reply: &str) {
    let is_put = service.sandbox.suppress(Suppressed {
        address: address.to_owned(),
        why,
        reply: reply.to_owned(),
        part: (service.sandbox.kind() == Kind::Postmark).then(|| "broadcast".to_owned()),
        at: AT.parse().ok(),
    });
    assert!(is_put);
}

/// More entries than a page of the service has, of the reason that they have there.
fn fillers(kind: Kind) -> (usize, Why) {
    match kind {
        Kind::Resend | Kind::Brevo => (101, Why::Bounced),
        Kind::Mailjet => (1_001, Why::Manual),
        Kind::Ses
        | Kind::Sendgrid
        | Kind::Mailgun
        | Kind::Postmark
        | Kind::Sparkpost
        | Kind::Elasticemail
        | Kind::Smtp2go
        | Kind::Mailtrap
        | Kind::Postal
        | Kind::Smtp => (1_001, Why::Bounced),
    }
}

/// Whether the service's list has entries for this reason.
pub(super) fn tells(kind: Kind, why: Why) -> bool {
    match why {
        Why::Bounced => kind != Kind::Mailjet,
        Why::Unsubscribed => !matches!(kind, Kind::Ses | Kind::Resend),
        // There it is one of the bounces; at the others it is told by no list that is read.
        Why::Blocked => kind == Kind::Postmark,
        Why::Complained | Why::Manual => true,
        Why::Invalid | Why::Compliance => false,
    }
}

/// The entries of every kind, and how many of them the service's list tells.
pub(super) fn seed(service: &Service) -> usize {
    let kind = service.sandbox.kind();
    let (count, filler) = fillers(kind);
    suppress(
        service,
        "a.gone@one.example",
        Why::Bounced,
        "550 5.1.1 user unknown",
    );
    suppress(service, "a.spam@one.example", Why::Complained, "");
    suppress(service, "a.left@one.example", Why::Unsubscribed, "");
    suppress(
        service,
        "a.ip@one.example",
        Why::Blocked,
        "550 5.7.1 blocked by Spamhaus",
    );
    suppress(
        service,
        "no address",
        Why::Bounced,
        "550 5.1.1 user unknown",
    );
    for number in 0..count {
        let address = format!("f{number:04}@fill.example");
        suppress(service, &address, filler, "550 5.1.1 user unknown");
    }
    if has_words(kind) {
        let blocked = "550 5.7.1 refused, listed by Spamhaus";
        suppress(service, "a.block@one.example", Why::Bounced, blocked);
    }
    let all = service.sandbox.suppressions();
    all.iter().filter(|entry| tells(kind, entry.why)).count()
}

/// Whether the list tells what the server said.
pub(super) fn has_words(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Sendgrid
            | Kind::Mailgun
            | Kind::Sparkpost
            | Kind::Elasticemail
            | Kind::Smtp2go
            | Kind::Mailtrap
    )
}
