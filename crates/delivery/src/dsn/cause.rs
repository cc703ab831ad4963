//! Why a delivery failed, as a notification puts it: from the state and what was said last.

use malote_core::event::State;
use malote_core::provider::Reply;

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The address does not exist or takes no mail.
    NoMailbox,
    /// Anything else that is final: content, policy, size.
    Refused,
    /// Too old.
    Expired,
}

impl Cause {
    /// Only what can be nothing else is the address's fault: the reader stops all mail to it.
    pub(super) fn of(state: State, reply: Option<&Reply>) -> Self {
        match state {
            State::Expired => Self::Expired,
            State::Bounced if reply.is_some_and(is_no_mailbox) => Self::NoMailbox,
            State::Bounced
            | State::Scheduled
            | State::Queued
            | State::Sending
            | State::Sent
            | State::Delivered
            | State::Deferred
            | State::Held
            | State::Suppressed
            | State::Cancelled
            | State::Unknown
            | State::Quarantined => Self::Refused,
        }
    }

    /// For people.
    pub(super) const fn explained(self) -> &'static str {
        match self {
            Self::NoMailbox => "The address does not exist or takes no mail.",
            Self::Refused => "The message was refused for good.",
            Self::Expired => "The message could not be delivered in time.",
        }
    }

    /// The status code (RFC 3463): the server's own, if it fits.
    pub(super) fn status(self, reply: Option<&Reply>) -> String {
        let own = reply.and_then(enhanced).filter(|code| code.0 == 5);
        match (self, own) {
            (Self::Expired, _) => "4.4.7".to_owned(),
            (Self::NoMailbox | Self::Refused, Some((class, subject, detail))) => {
                format!("{class}.{subject}.{detail}")
            }
            (Self::NoMailbox, None) => "5.1.1".to_owned(),
            (Self::Refused, None) => "5.0.0".to_owned(),
        }
    }

    /// Words that Mautic reads rightly.
    pub(super) fn canonical(self, reply: Option<&Reply>) -> String {
        let status = self.status(reply);
        match self {
            Self::NoMailbox => format!("smtp; 550 {status} User unknown"),
            Self::Refused => format!("smtp; 550 {status} delivery refused"),
            Self::Expired => format!("smtp; 451 {status} delivery time ran out"),
        }
    }

    /// What the server said (RFC 3464 2.3.6), if it said it in SMTP.
    pub(super) fn diagnostic(self, reply: Option<&Reply>) -> String {
        match reply {
            Some(reply) if is_smtp(reply) => format!("smtp; {reply}"),
            Some(_) | None => self.canonical(reply),
        }
    }
}

/// Whether a reply is SMTP's and not HTTP's: a refusal whose enhanced code fits its code.
fn is_smtp(reply: &Reply) -> bool {
    let class = |code: u16| u32::from(code / 100);
    match (
        reply.code,
        parse_enhanced(reply.enhanced.as_deref().unwrap_or_default()),
    ) {
        (Some(code), Some(enhanced)) => class(code) == enhanced.0 && code < 560,
        // HTTP knows 500 to 511 too; SMTP's refusals of mail are the ones above.
        (Some(code), None) => (550..560).contains(&code),
        (None, _) => false,
    }
}

fn is_no_mailbox(reply: &Reply) -> bool {
    match enhanced(reply) {
        // 5.1.7 and 5.1.8 speak of the sender (RFC 3463 3.2).
        Some((5, 1, detail)) => !matches!(detail, 7 | 8),
        Some((5, 2, 0 | 1) | (5, 4, 1 | 4)) => true,
        Some((5, 0, 0)) | None => says_no_mailbox(reply.text()),
        Some(_) => false,
    }
}

fn says_no_mailbox(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    any(&[
        "user unknown",
        "unknown user",
        "no such user",
        "no such recipient",
        "no such mailbox",
        "no such person",
        "not exist",
        "n't exist",
        "mailbox unavailable",
        "mailbox not found",
        "invalid recipient",
        "invalid mailbox",
        "unrouteable address",
    ]) && !any(&[
        "block",
        "policy",
        "spam",
        "relay",
        "quota",
        "full",
        "reputation",
    ])
}

/// The enhanced code of a reply, or the first one in its text: a service's event quotes the remote
/// server, as in `smtp; 550 5.1.1 user unknown`.
fn enhanced(reply: &Reply) -> Option<(u32, u32, u32)> {
    let own = reply.enhanced.as_deref().and_then(parse_enhanced);
    own.or_else(|| {
        let split = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '#' | '-' | ';' | ',');
        reply.text().split(split).find_map(parse_enhanced)
    })
}

fn parse_enhanced(word: &str) -> Option<(u32, u32, u32)> {
    let mut parts = word.split('.').map(|part| {
        let is_number = matches!(part.len(), 1..=3) && part.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| part.parse::<u32>().ok()).flatten()
    });
    let code = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: &[(Option<u16>, &str, &str, &str)], cause: Cause) {
        for (code, enhanced, text, status) in rows {
            let enhanced = (!enhanced.is_empty()).then(|| (*enhanced).to_owned());
            let said = Reply::new(*code, enhanced, text);
            let found = Cause::of(State::Bounced, Some(&said));
            assert_eq!(
                (found, found.status(Some(&said)).as_str()),
                (cause, *status),
                "{said}"
            );
        }
    }

    #[test]
    fn what_can_be_nothing_else_is_the_addresss_fault() {
        let rows = [
            (Some(550), "5.1.1", "no", "5.1.1"),
            (Some(550), "5.1.10", "no", "5.1.10"),
            (None, "", "smtp; 550 5.1.1 user unknown", "5.1.1"),
            (None, "", "550 5.4.4 (no host)", "5.4.4"),
            (Some(550), "", "No such user here", "5.1.1"),
        ];
        check(&rows, Cause::NoMailbox);
    }

    #[test]
    fn anything_else_is_a_refusal() {
        let rows = [
            (Some(550), "5.7.1", "User unknown", "5.7.1"),
            (Some(550), "5.1.8", "sender", "5.1.8"),
            (None, "", "550 5.7.1 mailbox unavailable (S3150)", "5.7.1"),
            (None, "", "blocked: mailbox unavailable", "5.0.0"),
            (Some(400), "MessageRejected", "Virus", "5.0.0"),
            (Some(552), "5.2.2", "full", "5.2.2"),
            (None, "", "host 10.5.1.1 said no", "5.0.0"),
        ];
        check(&rows, Cause::Refused);
        assert_eq!(Cause::of(State::Bounced, None), Cause::Refused);
        let unknown = Reply::new(Some(550), Some("5.1.1".into()), "no");
        assert_eq!(Cause::of(State::Expired, Some(&unknown)), Cause::Expired);
    }

    #[test]
    fn a_diagnostic_code_is_what_an_smtp_server_said() {
        for (code, enhanced, text, diagnostic) in [
            (Some(554), Some("5.7.1"), "spam", "smtp; 554 5.7.1 spam"),
            (Some(550), None, "spam", "smtp; 550 spam"),
            (
                Some(400),
                Some("MessageRejected"),
                "x",
                "smtp; 550 5.0.0 delivery refused",
            ),
            (Some(503), None, "x", "smtp; 550 5.0.0 delivery refused"),
            (None, None, "x", "smtp; 550 5.0.0 delivery refused"),
        ] {
            let reply = Reply::new(code, enhanced.map(str::to_owned), text);
            assert_eq!(Cause::Refused.diagnostic(Some(&reply)), diagnostic);
        }
    }
}
