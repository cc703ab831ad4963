//! What becomes of a message that was taken and will not be delivered
//! (`app/lib/message_dequeuer/outgoing_message_processor.rb`).

use crate::fault::FaultKind;

/// Held for an operator, or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    /// The status that its delivery gets.
    pub(super) status: &'static str,
    /// Why, with `{rcpt}` for the recipient.
    pub(super) details: &'static str,
    /// Whether only the first half of a call's recipients meet it.
    pub(super) is_of_half: bool,
}

const fn held(details: &'static str) -> Fate {
    Fate {
        status: "Held",
        details,
        is_of_half: false,
    }
}

const fn failed(details: &'static str) -> Fate {
    Fate {
        status: "HardFail",
        ..held(details)
    }
}

const SUPPRESSED: &str =
    "Recipient ({rcpt}) is on the suppression list (reason: too many hard fails)";

/// Whether the service meets this with an answer like any other, and acts upon it later.
pub(super) const fn is_later(kind: FaultKind) -> bool {
    of_kind(kind).is_some()
}

const fn of_kind(kind: FaultKind) -> Option<Fate> {
    match kind {
        FaultKind::Quota => Some(held(
            "Message held because send limit (500) has been reached.",
        )),
        FaultKind::Recipient => Some(held(SUPPRESSED)),
        FaultKind::Partial => Some(Fate {
            is_of_half: true,
            ..held(SUPPRESSED)
        }),
        FaultKind::Content => Some(failed(
            "Message is likely spam. Threshold is 5.0 and the message scored 9.9.",
        )),
        FaultKind::Reputation => Some(failed(
            "Permanent SMTP delivery error when sending to mx.example.net (192.0.2.25)",
        )),
        FaultKind::Status(_)
        | FaultKind::Bare(_)
        | FaultKind::Suspended
        | FaultKind::Sender
        | FaultKind::Hang
        | FaultKind::Cut
        | FaultKind::CutEarly
        | FaultKind::HangEarly
        | FaultKind::CutReply
        | FaultKind::Nonsense
        | FaultKind::Redirect
        | FaultKind::Huge
        | FaultKind::Echo
        | FaultKind::Slow => None,
    }
}

/// What becomes of the message, by the fault that was armed for it, or because the server is in
/// development mode and delivers nothing.
pub(super) fn of(fault: Option<FaultKind>, is_limited: bool) -> Option<Fate> {
    let in_development = is_limited.then_some(held("Server is in development mode."));
    fault.and_then(of_kind).or(in_development)
}
