//! Each row of what servers answer, and what it means.

use super::super::reply;
use super::*;

const THROTTLED: Verdict = Verdict::Throttled { after: None };
const QUOTA: Verdict = Verdict::QuotaSpent { until: None };
const RECIPIENT: Verdict = Verdict::Rejected(Fault::Recipient);
const MESSAGE: Verdict = Verdict::Rejected(Fault::Message);
const MESSAGE_HERE: Verdict = Verdict::Rejected(Fault::MessageHere);
const REPUTATION: Verdict = Verdict::Rejected(Fault::Reputation);

fn check(stage: Stage, recipients: usize, rows: &[(&str, Verdict)]) {
    for (text, verdict) in rows {
        let (reply, _) = reply::parse(format!("{text}\r\n").as_bytes())
            .unwrap()
            .unwrap();
        let context = Context { stage, recipients };
        assert_eq!(classify(context, &reply), *verdict, "{stage:?} {text}");
    }
}

#[test]
fn before_mail() {
    check(
        Stage::Banner,
        1,
        &[
            ("421 4.7.0 Too many connections from your IP", THROTTLED),
            ("421 come back later", THROTTLED),
            ("421 4.3.2 Service shutting down", Verdict::Transient),
            ("421 4.4.2 timeout", Verdict::Transient),
            ("421 server shutting down", Verdict::Transient),
            ("450 busy", Verdict::Transient),
            (
                "554 5.7.1 your address is listed",
                Verdict::ProviderUnusable,
            ),
            ("554 no service", Verdict::ProviderUnusable),
            ("521 no mail here", Verdict::Transient),
            ("354 what", Verdict::Transient),
        ],
    );
    check(
        Stage::Ehlo,
        1,
        &[
            ("421 4.7.0 no", THROTTLED),
            ("451 4.3.0 later", Verdict::Transient),
            ("550 bad name", Verdict::Transient),
        ],
    );
    check(
        Stage::StartTls,
        1,
        &[
            ("454 4.7.0 TLS not available", Verdict::Transient),
            ("502 5.5.1 not implemented", Verdict::ProviderUnusable),
        ],
    );
    check(
        Stage::Auth,
        1,
        &[
            ("535 5.7.8 bad credentials", Verdict::ProviderUnusable),
            ("534 5.7.9 too weak", Verdict::ProviderUnusable),
            ("530 5.7.0 must issue STARTTLS", Verdict::ProviderUnusable),
            ("538 5.7.11 encryption required", Verdict::ProviderUnusable),
            (
                "432 4.7.12 password transition needed",
                Verdict::ProviderUnusable,
            ),
            ("454 4.7.0 temporary failure", Verdict::Transient),
            (
                "454 Throttling failure: Maximum sending rate exceeded",
                THROTTLED,
            ),
            ("421 4.7.0 too many errors", THROTTLED),
        ],
    );
}

#[test]
fn at_mail_from() {
    check(
        Stage::MailFrom,
        1,
        &[
            ("550 5.7.1 not yours", Verdict::SenderUnusable),
            (
                "553 5.7.1 Sender address rejected: not owned by user a",
                Verdict::SenderUnusable,
            ),
            ("553 5.1.8 domain not found", Verdict::SenderUnusable),
            (
                "501 5.1.7 Bad sender address syntax",
                Verdict::SenderUnusable,
            ),
            (
                "530 5.7.0 Authentication required",
                Verdict::ProviderUnusable,
            ),
            ("535 5.7.8 log in first", Verdict::ProviderUnusable),
            ("550 5.7.1 Relaying denied", Verdict::ProviderUnusable),
            ("554 5.7.1 your host is blocked using bl.test", REPUTATION),
            ("552 5.3.4 too large", MESSAGE_HERE),
            ("552 size", MESSAGE_HERE),
            ("555 5.5.4 unsupported option", MESSAGE_HERE),
            ("503 5.5.1 nested MAIL", MESSAGE_HERE),
            ("451 4.3.0 later", Verdict::Transient),
            ("452 4.3.1 no space", Verdict::Transient),
            ("450 4.7.1 Error: too much mail from 192.0.2.1", THROTTLED),
            ("451 4.7.0 slow down", THROTTLED),
            (
                "454 Throttling failure: Daily message quota exceeded",
                QUOTA,
            ),
            (
                "454 Throttling failure: Maximum sending rate exceeded.",
                THROTTLED,
            ),
            ("421 4.7.0 closing", THROTTLED),
            ("421 4.3.2 closing", Verdict::Transient),
        ],
    );
}

#[test]
fn at_rcpt_to_an_unknown_mailbox_is_the_recipients_fault() {
    check(
        Stage::RcptTo,
        1,
        &[
            ("550 5.1.1 User unknown", RECIPIENT),
            ("550 5.1.2 no such domain", RECIPIENT),
            ("553 5.1.3 syntax", RECIPIENT),
            ("551 5.1.6 moved", RECIPIENT),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", RECIPIENT),
            ("550 5.2.1 mailbox disabled", RECIPIENT),
            ("550 no such user", RECIPIENT),
            ("554 no such user here", RECIPIENT),
        ],
    );
}

#[test]
fn at_rcpt_to_policy_relay_and_sender_are_not_the_recipients_fault() {
    check(
        Stage::RcptTo,
        1,
        &[
            ("550 5.7.1 rejected by policy", REPUTATION),
            ("550 5.7.1 User unknown or not allowed", REPUTATION),
            (
                "554 5.7.1 Client host [192.0.2.1] blocked using bl.test",
                REPUTATION,
            ),
            ("554 transaction failed", MESSAGE_HERE),
            ("550 mailbox unavailable", MESSAGE_HERE),
            ("551 user not local", MESSAGE_HERE),
            ("550 5.0.0 rejected", MESSAGE_HERE),
            (
                "550 5.4.1 Recipient address rejected: Access denied",
                MESSAGE_HERE,
            ),
            ("550 5.1.1 blocked using zen.spamhaus.org", REPUTATION),
            (
                "550 5.1.1 mailbox unavailable, part of their network is on our block list (S3150)",
                REPUTATION,
            ),
            ("550 Administrative prohibition", REPUTATION),
            ("550 blocked, see http://bl.test", REPUTATION),
            ("550 5.0.0 SPF check failed", REPUTATION),
            (
                "554 5.7.1 <a@x.test>: Relay access denied",
                Verdict::ProviderUnusable,
            ),
            ("550 relay not permitted", Verdict::ProviderUnusable),
            (
                "530 5.7.0 Authentication required",
                Verdict::ProviderUnusable,
            ),
            ("550 Sender verify failed", Verdict::SenderUnusable),
            (
                "550 5.1.8 domain of sender does not resolve",
                Verdict::SenderUnusable,
            ),
            ("552 5.2.2 mailbox full", Verdict::Deferred),
            ("552 Mailbox is full", Verdict::Deferred),
            ("552 5.2.3 too large for this mailbox", MESSAGE),
            ("552 5.3.4 too large", MESSAGE_HERE),
            ("553 5.6.7 needs SMTPUTF8", MESSAGE_HERE),
            ("501 5.5.4 NOTIFY", MESSAGE_HERE),
            ("550 5.4.6 loop", MESSAGE_HERE),
        ],
    );
}

#[test]
fn at_rcpt_to_4xx_is_the_recipients_own_matter_unless_it_is_our_pace() {
    check(
        Stage::RcptTo,
        2,
        &[
            ("450 4.2.1 busy", Verdict::Deferred),
            ("451 4.7.1 Greylisted", Verdict::Deferred),
            ("452 4.2.2 over quota exceeded", Verdict::Deferred),
            ("450 unavailable", Verdict::Deferred),
            (
                "452 <listed@x.test> mailbox quota exceeded",
                Verdict::Deferred,
            ),
            ("452 4.5.3 Error: too many recipients", Verdict::Ungroup),
            ("452 Too many recipients", Verdict::Ungroup),
            ("552 too many recipients", Verdict::Ungroup),
            ("550 5.5.3 too many", Verdict::Ungroup),
            ("450 4.7.1 Ratelimit exceeded", THROTTLED),
            ("454 daily limit reached", QUOTA),
            ("421 4.7.0 closing", THROTTLED),
        ],
    );
    check(
        Stage::RcptTo,
        1,
        &[("452 4.5.3 too many recipients", Verdict::Deferred)],
    );
}

#[test]
fn at_data_and_after_the_final_dot() {
    for stage in [Stage::Data, Stage::FinalDot] {
        check(
            stage,
            1,
            &[
                ("552 5.3.4 too large", MESSAGE_HERE),
                ("552 message size exceeds", MESSAGE_HERE),
                ("554 5.6.0 bad MIME", MESSAGE),
                ("554 5.6.11 bare LF", MESSAGE),
                ("550 5.6.7 needs SMTPUTF8", MESSAGE_HERE),
                ("554 5.7.1 content rejected", MESSAGE),
                ("550 spam", MESSAGE),
                ("550 5.7.26 unauthenticated", REPUTATION),
                ("550 5.7.1 blocked, poor reputation", REPUTATION),
                (
                    "550 5.7.60 client does not have permissions to send as this sender",
                    Verdict::SenderUnusable,
                ),
                (
                    "554 Message rejected: Email address is not verified.",
                    Verdict::SenderUnusable,
                ),
                (
                    "530 5.7.0 Authentication required",
                    Verdict::ProviderUnusable,
                ),
                ("554 5.3.0 not set up", MESSAGE_HERE),
                ("503 5.5.1 no", MESSAGE_HERE),
                ("451 4.3.0 later", Verdict::Transient),
                ("452 4.3.1 no space", Verdict::Transient),
                ("451 4.7.0 slow down", THROTTLED),
                ("450 Ratelimit exceeded", THROTTLED),
                (
                    "454 Throttling failure: Daily message quota exceeded.",
                    QUOTA,
                ),
                ("421 4.7.0 closing", THROTTLED),
                ("421 4.3.2 closing", Verdict::Transient),
            ],
        );
    }
    check(
        Stage::FinalDot,
        1,
        &[
            ("550 5.1.1 User unknown", RECIPIENT),
            ("552 5.2.2 mailbox full", Verdict::Deferred),
            ("452 4.2.2 mailbox full", Verdict::Deferred),
            ("451 4.7.1 greylisted, come back", Verdict::Deferred),
        ],
    );
}

#[test]
fn after_the_final_dot_a_recipients_fault_in_a_group_asks_to_ungroup() {
    check(
        Stage::FinalDot,
        3,
        &[
            ("550 5.1.1 User unknown", Verdict::Ungroup),
            ("552 5.2.2 mailbox full", Verdict::Ungroup),
            ("452 4.2.2 mailbox full", Verdict::Ungroup),
            ("554 5.7.1 content rejected", MESSAGE),
        ],
    );
}

#[test]
fn only_250_after_the_final_dot_is_an_answer() {
    check(
        Stage::FinalDot,
        1,
        &[
            ("251 forwarded", Verdict::Unknown),
            ("220 hello", Verdict::Unknown),
            ("354 go on", Verdict::Unknown),
        ],
    );
    check(Stage::Data, 1, &[("250 ok", Verdict::Transient)]);
    check(Stage::MailFrom, 1, &[("354 go", Verdict::Transient)]);
}

#[test]
fn a_suspended_login_is_not_the_messages_fault_and_a_disabled_mailbox_not_the_logins() {
    for stage in [Stage::MailFrom, Stage::Data, Stage::FinalDot] {
        check(
            stage,
            1,
            &[
                ("550 5.7.1 Account suspended", Verdict::ProviderUnusable),
                (
                    "550 Your account has been disabled",
                    Verdict::ProviderUnusable,
                ),
            ],
        );
    }
    let disabled = "550 5.2.1 The email account is disabled";
    check(Stage::FinalDot, 1, &[(disabled, RECIPIENT)]);
}

#[test]
fn no_block_is_the_recipients_fault_whatever_service_passes_it_on() {
    let blocks = [
        "550 5.1.1 blocked using zen.spamhaus.org",
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your \
         Internet service provider since part of their network is on our block list (S3150).",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.1].",
        "550 mailbox unavailable: IP address is block listed",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using cbl.abuseat.org",
        "550 5.2.1 user unknown: poor reputation",
    ];
    for preset in super::super::preset::Preset::ALL {
        let dialect = preset.dialect();
        for text in blocks {
            let parsed = reply::parse(format!("{text}\r\n").as_bytes()).unwrap();
            let (reply, _) = parsed.unwrap();
            for stage in [
                Stage::Banner,
                Stage::MailFrom,
                Stage::RcptTo,
                Stage::Data,
                Stage::FinalDot,
            ] {
                let context = Context {
                    stage,
                    recipients: 1,
                };
                let verdict = dialect.verdict(context, &reply, None);
                assert_ne!(verdict, RECIPIENT, "{preset:?} {stage} {text}");
                assert_ne!(blame_of(&verdict, &reply), Some(Blame::Recipient), "{text}");
            }
        }
    }
}
