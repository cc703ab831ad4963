//! What services say by SMTP in words of their own, and where. What a service documents no words
//! for is said as by any server.

use crate::config::Kind;
use crate::fault::{Fault, FaultKind, Stage};

/// A service's own way with one kind of trouble.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    fault: FaultKind,
    /// Where it is told.
    pub(crate) stage: Stage,
    /// The reply, whose `{sender}` is MAIL FROM's address; `None`: the message is taken, and what
    /// is wrong with it is told later, by an event.
    pub(crate) reply: Option<&'static str>,
}

const fn says(fault: FaultKind, stage: Stage, reply: &'static str) -> Answer {
    Answer {
        fault,
        stage,
        reply: Some(reply),
    }
}

const fn takes(fault: FaultKind) -> Answer {
    Answer {
        fault,
        stage: Stage::End,
        reply: None,
    }
}

/// SMTP Errors and Troubleshooting; the spent credits are of a public log.
const SENDGRID: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 Authentication failed: Bad username / password",
    ),
    says(
        FaultKind::Status(403),
        Stage::Mail,
        "550 Unauthenticated senders not allowed",
    ),
    says(
        FaultKind::Status(429),
        Stage::Rcpt,
        "452 Too many recipients received this hour (throttled)",
    ),
    says(
        FaultKind::Status(500),
        Stage::End,
        "451 Temporary local problem - please try later",
    ),
    says(
        FaultKind::Quota,
        Stage::Auth,
        "451 Authentication failed: Maximum credits exceeded",
    ),
    says(
        FaultKind::Sender,
        Stage::Mail,
        "403 You are not authorized to send from that email address",
    ),
    says(
        FaultKind::Recipient,
        Stage::Rcpt,
        "550 Requested action not taken: mailbox unavailable",
    ),
];

/// "SMTP API Error": a message is judged after it was taken, by the rules of the API.
const POSTMARK: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 5.7.8 Authentication credentials invalid",
    ),
    takes(FaultKind::Quota),
    takes(FaultKind::Suspended),
    takes(FaultKind::Sender),
    takes(FaultKind::Recipient),
    takes(FaultKind::Content),
    takes(FaultKind::Reputation),
    takes(FaultKind::Partial),
];

/// Common Sending Errors.
const SMTP2GO: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 Incorrect authentication data",
    ),
    says(
        FaultKind::Status(403),
        Stage::Rcpt,
        "550 Relay access denied - please authenticate",
    ),
    says(
        FaultKind::Sender,
        Stage::End,
        "550 From header sender domain not verified",
    ),
];

/// Developer guide: SMTP response codes, errors related to the sending quotas, sending errors.
const SES: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 Authentication Credentials Invalid",
    ),
    says(
        FaultKind::Status(403),
        Stage::End,
        "554 Access denied: User `arn:aws:iam::123456789012:user/u' is not authorized to perform `ses:SendRawEmail'",
    ),
    says(
        FaultKind::Status(429),
        Stage::End,
        "454 Throttling failure: Maximum sending rate exceeded",
    ),
    says(
        FaultKind::Status(500),
        Stage::End,
        "451 Temporary service failure",
    ),
    says(
        FaultKind::Quota,
        Stage::End,
        "454 Throttling failure: Daily message quota exceeded",
    ),
    says(
        FaultKind::Suspended,
        Stage::End,
        "554 Message rejected: Account is paused. For more information, please check the inbox of the email address associated with your AWS account.",
    ),
    says(
        FaultKind::Sender,
        Stage::End,
        "554 Message rejected: Email address is not verified. The following identities failed the check in region US-EAST-1: {sender}",
    ),
];

/// Error messages when using SMTP.
const SPARKPOST: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 5.7.8 Sorry. *** No authentication type succeeded",
    ),
    says(
        FaultKind::Sender,
        Stage::End,
        "550 5.7.1 Unconfigured Sending Domain <{sender}>",
    ),
];

/// `lib/smtp_server/client.rb`; over its limit, and to who is on its list, mail is held.
const POSTAL: &[Answer] = &[
    says(
        FaultKind::Status(401),
        Stage::Auth,
        "535 Invalid credential",
    ),
    says(
        FaultKind::Status(403),
        Stage::Rcpt,
        "530 Authentication required",
    ),
    says(
        FaultKind::Suspended,
        Stage::Rcpt,
        "535 Mail server has been suspended",
    ),
    says(
        FaultKind::Sender,
        Stage::End,
        "530 From/Sender name is not valid",
    ),
    takes(FaultKind::Quota),
    takes(FaultKind::Recipient),
    takes(FaultKind::Content),
    takes(FaultKind::Reputation),
    takes(FaultKind::Partial),
];

/// Help articles "Sending limits" and "Features and limits": a spent month is told at the login.
const MAILTRAP: &[Answer] = &[
    says(
        FaultKind::Status(429),
        Stage::End,
        "550 5.7.0 Requested action not taken: too many emails per second",
    ),
    says(
        FaultKind::Quota,
        Stage::Auth,
        "535 5.7.0 Monthly messages limit reached",
    ),
];

/// A service's own way with this kind of trouble.
pub(crate) fn answer(service: Option<Kind>, fault: FaultKind) -> Option<&'static Answer> {
    let answers = match service? {
        Kind::Sendgrid => SENDGRID,
        Kind::Postmark => POSTMARK,
        Kind::Smtp2go => SMTP2GO,
        Kind::Ses => SES,
        Kind::Sparkpost => SPARKPOST,
        Kind::Postal => POSTAL,
        Kind::Mailtrap => MAILTRAP,
        Kind::Mailgun
        | Kind::Elasticemail
        | Kind::Mailjet
        | Kind::Brevo
        | Kind::Resend
        | Kind::Smtp => &[],
    };
    answers.iter().find(|answer| answer.fault == fault)
}

/// Where an armed fault strikes.
pub(crate) fn stage(service: Option<Kind>, fault: &Fault) -> Stage {
    if fault.after_take || fault.stage.is_some() {
        return fault.stage();
    }
    answer(service, fault.kind).map_or_else(|| fault.stage(), |answer| answer.stage)
}
