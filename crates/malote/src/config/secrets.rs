//! Which keys hold secrets, so that reports never show one, and what is said about how they are
//! kept.

use std::ops::Range;
use std::os::unix::fs::PermissionsExt;

use malote_core::fault::ConfigFault;

use super::tree::{Node, Value};

/// The keys whose literal value is a secret.
const SECRET_KEYS: [&str; 20] = [
    "address_key",
    "api_key",
    "api_token",
    "client_secret",
    "key",
    "password",
    "refresh_token",
    "secret",
    "secret_access_key",
    "secret_key",
    "secret_next",
    "secret_previous",
    "server_key",
    "server_token",
    "session_token",
    "signing_key",
    "smtp_password",
    "token",
    "verp_secret",
    "verp_secret_previous",
];

/// The keys that name a file of which others must not know the content.
const PRIVATE_FILE_KEYS: [&str; 1] = ["key_file"];

/// Whether a literal value of `key` is a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

/// Whether the value at `path` holds a secret among other things: a database's URL a password.
fn holds_secret(path: &str) -> bool {
    path.ends_with(".postgres.url")
}

/// Whether `key` names a file that only the gateway should read.
fn is_private_file(key: &str) -> bool {
    PRIVATE_FILE_KEYS.contains(&key) || key.strip_suffix("_file").is_some_and(is_secret)
}

/// Warnings about secrets written into the configuration, and about secret files that others on
/// the machine can read.
pub(crate) fn check(root: &Node, faults: &mut Vec<ConfigFault>) {
    root.each_member(&mut |path, key, member| {
        if is_secret(key) && matches!(member.node.value, Value::Text(_)) {
            let message = format!("a secret in the file: better {key}_env or {key}_file");
            faults.push(ConfigFault::warning(path.to_string(), message));
        }
        let (Value::Text(file) | Value::Variable(file)) = &member.node.value else {
            return;
        };
        let is_url_file = key == "url_file" && path.to_string().contains(".postgres.");
        if !is_private_file(key) && !is_url_file {
            return;
        }
        let others = std::fs::metadata(file).map(|about| about.permissions().mode() & 0o007);
        if others.is_ok_and(|bits| bits != 0) {
            let message = format!("every user of this machine can read {file}; chmod o-rwx it");
            faults.push(ConfigFault::warning(path.to_string(), message));
        }
    });
}

/// The octets of source number `source` that hold secrets.
pub(crate) fn spans(root: &Node, source: usize) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    root.each_member(&mut |path, key, member| {
        let is_secret = is_secret(key) || holds_secret(&path.to_string());
        if is_secret && member.node.place.source == source {
            spans.push(member.node.place.span.clone());
        }
    });
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_every_kind_of_provider_are_hidden() {
        let text = "
            [providers]
            ses = { secret_access_key = 'M1', session_token = 'M2' }
            mailgun = { api_key = 'M3' }
            postmark = { server_token = 'M4' }
            postal = { server_key = 'M5' }
            mailjet = { api_key = 'M6', secret_key = 'M7' }
            mailtrap = { api_token = 'M8' }
            [providers.smtp]
            password = 'M9'
            oauth2 = { client_secret = 'MA', refresh_token = 'MB' }
            [providers.webhook]
            signing_key = 'MC'
            secret = 'MD'
            [[credentials.shop.webhooks]]
            secret = 'ME'
            secret_next = 'MF'
            [[smtp.listeners]]
            verp_secret = 'MG'
            verp_secret_previous = 'MH'
            [unsubscribe]
            secret = 'MI'
            secret_previous = 'MJ'
            [shared.postgres]
            url = 'MK'
            address_key = 'ML'
            [store.postgres]
            url = 'MM'
            address_key = 'MN'
        ";
        let hidden = spans(&Node::parse(text, 0).unwrap(), 0);
        let hidden: Vec<&str> = hidden.into_iter().map(|span| &text[span]).collect();
        for (at, _) in text.match_indices('M') {
            let marker = &text[at..at + 2];
            let is_hidden = |shown: &&str| shown.contains(marker);
            assert!(hidden.iter().any(is_hidden), "{marker} {hidden:?}");
        }
    }
}
