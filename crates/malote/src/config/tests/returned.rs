//! Listeners for mail that comes back, and links that unsubscribe.

use super::*;

const BOUNCE: &str = "[[smtp.listeners]]\nlisten = \"127.0.0.1:12526\"\nrole = \"bounce\"\n\
    tls = \"none\"\nverp_domain = \"Bounces.shop.example\"\nverp_secret = \"0123456789abcdef\"\n";
const LINKS: &str = "[unsubscribe]\nbase_url = \"https://mail.shop.example/\"\n\
    secret = \"0123456789abcdef\"\n";

/// The errors of the good configuration with this added, as `key: message`.
fn errors_with(added: &str) -> Vec<String> {
    let outcome = read_texts(&[&format!("{GOOD}\n{added}")], &[]);
    let faults = outcome.report.faults.iter();
    let errors = faults.filter(|fault| fault.severity == malote_core::fault::Severity::Error);
    errors
        .map(|fault| format!("{}: {}", fault.key, fault.message))
        .collect()
}

#[test]
fn a_listener_that_takes_mail_back_says_where_deliveries_return_to() {
    let outcome = read_texts(&[&format!("{GOOD}\n{BOUNCE}{LINKS}")], &[]);
    let config = outcome
        .config
        .unwrap_or_else(|| panic!("{}", outcome.report));
    let path = config.return_path.unwrap();
    assert_eq!(path.domain, "bounces.shop.example");
    let links = config.unsubscribe.unwrap();
    assert_eq!(links.base_url, "https://mail.shop.example");
    let outcome = read_texts(&[GOOD], &[]);
    let config = outcome.config.unwrap();
    assert!(config.return_path.is_none() && config.unsubscribe.is_none());
}

#[test]
fn the_keys_of_such_a_listener_are_its_own_and_checked() {
    let second = BOUNCE.replace("12526", "12527");
    for (added, beginning) in [
        (
            BOUNCE.replace("Bounces.shop.example", "not a domain"),
            "smtp.listeners[1].verp_domain: is not a domain name",
        ),
        (
            BOUNCE.replace("verp_domain = \"Bounces.shop.example\"\n", ""),
            "smtp.listeners[1].verp_domain: is missing",
        ),
        (
            BOUNCE.replace("verp_secret = \"0123456789abcdef\"\n", ""),
            "smtp.listeners[1].verp_secret: is missing: give verp_secret, verp_secret_env or",
        ),
        (
            BOUNCE.replace("0123456789abcdef", "short"),
            "smtp.listeners[1].verp_secret: must have at least 16 octets",
        ),
        (
            format!("{BOUNCE}verp_secret_previous = \"short\"\n"),
            "smtp.listeners[1].verp_secret_previous: must have at least 16 octets",
        ),
        (
            format!("{BOUNCE}verp_secret_previous_env = \"MALOTE_TEST_NOT_SET\"\n"),
            "smtp.listeners[1].verp_secret_previous_env: ",
        ),
        (
            format!("{BOUNCE}trusted_plaintext = true\n"),
            "smtp.listeners[1].trusted_plaintext: has no meaning",
        ),
        (
            BOUNCE.replace("role = \"bounce\"\n", ""),
            "smtp.listeners[1].verp_domain: is for listeners with role",
        ),
        (
            format!(
                "{BOUNCE}{}",
                second.replace("0123456789abcdef", "another-secret-of-us")
            ),
            "smtp.listeners[2].verp_domain: takes mail for another domain or secret",
        ),
    ] {
        let said = errors_with(&added);
        assert!(
            said.iter().any(|said| said.starts_with(beginning)),
            "{beginning}: {said:?}"
        );
    }
    assert_eq!(
        errors_with(&format!("{BOUNCE}{second}")),
        Vec::<String>::new()
    );
}

#[test]
fn links_must_lead_to_a_page_over_https() {
    for (from, to, beginning) in [
        (
            "https:",
            "http:",
            "unsubscribe.base_url: is not an https URL",
        ),
        (
            "example/",
            "example/?a=b",
            "unsubscribe.base_url: is not an https URL",
        ),
        (
            "example/",
            "example/<a>",
            "unsubscribe.base_url: is not an https URL",
        ),
        (
            "mail.",
            "user:pw@mail.",
            "unsubscribe.base_url: is not an https URL",
        ),
        (
            "0123456789abcdef",
            "short",
            "unsubscribe.secret: must have at least 16 octets",
        ),
        (
            "secret = \"0123456789abcdef\"\n",
            "",
            "unsubscribe.secret: is missing",
        ),
    ] {
        let said = errors_with(&LINKS.replace(from, to));
        assert!(
            said.iter().any(|said| said.starts_with(beginning)),
            "{beginning}: {said:?}"
        );
    }
    let long = format!("example/{}", "a".repeat(200));
    let told = errors_with(&LINKS.replace("example/", &long));
    assert_eq!(told, ["unsubscribe.base_url: is longer than 200 octets"]);
    let doorless = GOOD.replace("[http]\nlisten = \"127.0.0.1:18080\"\n", "");
    assert_refused(
        &format!("{doorless}{LINKS}"),
        "20 unsubscribe: nobody serves the page behind the links",
    );
    let brief = format!("{GOOD}{LINKS}[retention]\nmessages = \"29d\"\n");
    let told = said(&read_texts(&[&brief], &[]));
    assert!(
        told.iter()
            .any(|fault| fault.contains("unsubscribe links stop working")),
        "{told:?}"
    );
}
