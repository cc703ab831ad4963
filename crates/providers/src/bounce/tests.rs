//! The rules one by one, and what must hold of all of them.

use proptest::prelude::*;

use super::rules::Rules;
use super::*;

fn refusal<'a>(code: &'a str, enhanced: &'a str, text: &'a str) -> Refusal<'a> {
    Refusal {
        code: code.parse().ok(),
        enhanced: (!enhanced.is_empty()).then_some(enhanced),
        text,
    }
}

#[test]
fn every_rule_decides_its_own_example_and_names_its_source() {
    let mut ids = std::collections::BTreeSet::new();
    for rule in &RULES.rules {
        let text = &rule.text;
        assert!(ids.insert(text.id.as_str()), "{} stands twice", text.id);
        assert!(!text.source.is_empty(), "{}", text.id);
        let said = Said::of(refusal("", "", &text.example));
        let first = RULES.first_fit(&said).map(|rule| rule.text.id.as_str());
        assert_eq!(first, Some(text.id.as_str()), "{}", text.example);
    }
    assert!(ids.len() > 50);
}

#[test]
fn a_rule_that_cannot_be_read_is_named() {
    for (text, told) in [
        ("id = \"a\"", "missing field `blame`"),
        (
            "id = \"a\"\nblame = \"nobody\"\nexample = \"\"\nsource = \"\"",
            "nobody",
        ),
        (
            "id = \"a\"\nblame = \"rate\"\nexample = \"\"\nsource = \"\"\nwords = []",
            "words",
        ),
        (
            "id = \"a\"\nblame = \"rate\"\nexample = \"\"\nsource = \"\"\ncode = [250]",
            "rule a: code",
        ),
        (
            "id = \"a\"\nblame = \"rate\"\nexample = \"\"\nsource = \"\"\nstatus = [\"5\"]",
            "rule a: status",
        ),
        (
            "id = \"a\"\nblame = \"rate\"\nexample = \"\"\nsource = \"\"\nany = [\"/(/\"]",
            "regex",
        ),
    ] {
        let fault = Rules::read(&format!("[[rule]]\n{text}")).err().unwrap();
        assert!(fault.contains(told), "{fault}");
    }
}

#[test]
fn only_words_or_codes_about_the_mailbox_blame_the_recipient() {
    use Blame::{Content, Infrastructure, MailboxFull, Recipient, Reputation, SenderAuth, Unknown};
    for (code, enhanced, text, expected) in [
        ("550", "5.1.1", "user unknown", Some(Recipient)),
        ("550", "5.1.10", "null MX", Some(Recipient)),
        ("550", "5.2.1", "mailbox disabled", Some(Recipient)),
        ("550", "", "No such user here", Some(Recipient)),
        ("", "", "smtp; 550-5.1.1 is not here", Some(Recipient)),
        ("", "", "no such user", Some(Recipient)),
        ("550", "5.7.1", "no such user", Some(Recipient)),
        ("550", "5.0.0", "550 5.1.1 rejected", Some(Recipient)),
        // Later it may be there.
        ("450", "4.1.1", "user unknown", None),
        ("550", "5.1.1", "blocked by Spamhaus", Some(Reputation)),
        (
            "550",
            "5.1.1",
            "mailbox unavailable, listed in our block list",
            Some(Reputation),
        ),
        (
            "550",
            "5.1.1",
            "User unknown; your IP has poor reputation",
            Some(Reputation),
        ),
        ("550", "5.7.26", "not authenticated", Some(SenderAuth)),
        ("553", "5.1.8", "no such user", Some(SenderAuth)),
        (
            "550",
            "5.1.1",
            "sender verify failed: user unknown",
            Some(SenderAuth),
        ),
        ("552", "5.2.2", "", Some(MailboxFull)),
        ("552", "", "Quota violated", Some(MailboxFull)),
        ("452", "", "mailbox full", Some(MailboxFull)),
        ("552", "5.3.4", "too big", Some(Content)),
        ("554", "5.6.0", "bad MIME", Some(Content)),
        // Our own account, not the recipient's.
        (
            "550",
            "",
            "message sending for this account is disabled",
            Some(Infrastructure),
        ),
        ("550", "", "your account is disabled", None),
        (
            "550",
            "5.4.1",
            "Recipient address rejected: Access denied",
            Some(Unknown),
        ),
        ("550", "", "mailbox unavailable", None),
        ("550", "5.0.0", "rejected", None),
        ("550", "nonsense", "", None),
        ("550", "5.1", "", None),
        ("550", "5.99999999999.1", "", None),
        ("550", "", "<listed@one.example> rejected", None),
    ] {
        let found = blame(refusal(code, enhanced, text));
        assert_eq!(found, expected, "{code} {enhanced} {text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(code in any::<u16>(), enhanced in ".{0,12}", text in ".{0,700}") {
        blame(Refusal { code: Some(code), enhanced: Some(&enhanced), text: &text });
    }

    #[test]
    fn a_block_beats_every_code_and_every_word_about_the_mailbox(
        detail in 1_u16..11,
        words in prop::sample::select(vec!["user unknown", "no such user", "mailbox not found", "account is disabled"]),
        block in prop::sample::select(vec![
            "blocked using zen.spamhaus.org", "is on our block list (S3150)", "banned sending IP", "poor reputation",
        ]),
    ) {
        let status = format!("5.1.{detail}");
        let text = format!("{words}: {block}");
        let found = blame(refusal("550", &status, &text));
        prop_assert!(!matches!(found, None | Some(Blame::Recipient)), "{found:?}");
    }
}
