//! `[credentials.NAME]`: secrets fetched, addresses parsed, contradictions refused.

use std::collections::{BTreeMap, BTreeSet};

use malote_core::address::{EmailAddress, parse_domain};
use malote_core::credential::{Credential, OnFinalFailure, OnForeignFrom, SmtpLogin};
use malote_core::fault::ConfigFault;
use malote_core::name::CredentialName;
use malote_core::secret::{Secret, SecretSource};

use super::raw::{CredentialConfig, ForeignFrom};

/// Longest API key, in octets: it travels in a header line.
const API_KEY_BYTES_MAX: usize = 512;
/// Below this many octets a key can be guessed.
const API_KEY_BYTES_SAFE: usize = 12;

/// All credentials; what is wrong with their tables is noted. `lent` names those that a
/// listener lends to clients without login.
pub(super) fn build_all(
    tables: &BTreeMap<CredentialName, CredentialConfig>,
    lent: &BTreeSet<String>,
    faults: &mut Vec<ConfigFault>,
) -> Vec<Credential> {
    let all: Vec<Credential> = tables
        .iter()
        .map(|(name, table)| {
            Table {
                at: format!("credentials.{name}"),
                name,
                table,
                lent,
                faults,
            }
            .build()
        })
        .collect();
    check_unique(&all, faults);
    all
}

struct Table<'a> {
    at: String,
    name: &'a CredentialName,
    table: &'a CredentialConfig,
    lent: &'a BTreeSet<String>,
    faults: &'a mut Vec<ConfigFault>,
}

impl Table<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.at);
        self.faults.push(ConfigFault::error(path, message));
    }

    fn warning(&mut self, key: &str, message: impl Into<String>) {
        let path = format!("{}.{key}", self.at);
        self.faults.push(ConfigFault::warning(path, message));
    }

    fn build(mut self) -> Credential {
        let api_key = self.api_key();
        let smtp_login = self.smtp_login();
        let is_lent = self.lent.contains(self.name.as_str());
        self.check_repeats();
        let from_domains = self.parse_domains();
        // A login that is not good is one all the same.
        let speaks_smtp = smtp_login.is_some() || self.table.smtp_user.is_some() || is_lent;
        Credential {
            name: self.name.clone(),
            on_foreign_from: self.on_foreign_from(speaks_smtp, &from_domains),
            on_final_failure: self.on_final_failure(speaks_smtp),
            api_key,
            smtp_login,
            streams: self.table.streams.clone(),
            default_stream: self.table.default_stream.clone(),
            from_domains,
            bad_recipients: self.table.bad_recipients,
            provider_headers: self.table.provider_headers,
            received: self.table.received,
            lenient_headers: self.table.lenient_headers,
        }
    }

    /// Somebody must be told (RFC 5321 6.1): by mail, where there is no other way.
    fn on_final_failure(&self, speaks_smtp: bool) -> OnFinalFailure {
        let has_outlet = !self.table.webhooks.is_empty() || self.table.mautic.is_some();
        let default = if speaks_smtp && !has_outlet {
            OnFinalFailure::Dsn
        } else {
            OnFinalFailure::Event
        };
        self.table.on_final_failure.unwrap_or(default)
    }

    fn secret(&mut self, source: &SecretSource<'_>) -> Option<Secret> {
        match source.resolve() {
            Ok(secret) => secret,
            Err(fault) => {
                let suffix = match (source.literal, source.env, source.file) {
                    (None, Some(_), _) => "_env",
                    (None, None, Some(_)) => "_file",
                    _ => "",
                };
                let path = format!("{}.{}{suffix}", self.at, source.field);
                self.faults.push(ConfigFault::caused(path, &fault));
                None
            }
        }
    }

    fn api_key(&mut self) -> Option<Secret> {
        let table = self.table;
        let key = self.secret(&SecretSource {
            field: "api_key",
            literal: table.api_key.as_ref().map(Secret::expose),
            env: table.api_key_env.as_deref(),
            file: table.api_key_file.as_deref(),
        })?;
        let text = key.expose();
        let is_sendable = text.bytes().all(|b| b.is_ascii_graphic());
        if !is_sendable || !(1..=API_KEY_BYTES_MAX).contains(&text.len()) {
            self.error("api_key", "must be 1 to 512 visible ASCII characters");
        } else if text.len() < API_KEY_BYTES_SAFE {
            self.warning("api_key", "is so short that it can be guessed");
        }
        Some(key)
    }

    fn smtp_login(&mut self) -> Option<SmtpLogin> {
        let table = self.table;
        let source = SecretSource {
            field: "smtp_password",
            literal: table.smtp_password.as_ref().map(Secret::expose),
            env: table.smtp_password_env.as_deref(),
            file: table.smtp_password_file.as_deref(),
        };
        match (&table.smtp_user, source.is_given()) {
            (None, false) => None,
            (None, true) => {
                self.error("smtp_password", "has no smtp_user");
                None
            }
            (Some(_), false) => {
                let message = "has no password: give smtp_password_env or smtp_password_file";
                self.error("smtp_user", message);
                None
            }
            (Some(user), true) => {
                if user.is_empty() || user.len() > 255 || user.chars().any(char::is_control) {
                    let message = "must be 1 to 255 octets without control characters";
                    self.error("smtp_user", message);
                }
                let password = self.secret(&source)?;
                if password.expose().is_empty() {
                    self.error("smtp_password", "must not be empty");
                }
                Some(SmtpLogin {
                    user: user.clone(),
                    password,
                })
            }
        }
    }

    /// That the streams exist is the router's check, as it is for rules.
    fn check_repeats(&mut self) {
        let streams = &self.table.streams;
        for (index, stream) in streams.iter().enumerate() {
            if streams[..index].contains(stream) {
                let message = format!("{stream} is listed twice");
                self.error(&format!("streams[{index}]"), message);
            }
        }
    }

    fn parse_domains(&mut self) -> Vec<String> {
        let mut domains = Vec::new();
        for (index, text) in self.table.from_domains.iter().enumerate() {
            match parse_domain(text) {
                Ok(domain) => domains.push(domain),
                Err(fault) => self.error(
                    &format!("from_domains[{index}]"),
                    format!("{text:?}: {fault}; write a domain, as in \"shop.example\""),
                ),
            }
        }
        domains
    }

    fn on_foreign_from(&mut self, speaks_smtp: bool, from_domains: &[String]) -> OnForeignFrom {
        let table = self.table;
        let wish = table.on_foreign_from.unwrap_or(if speaks_smtp {
            ForeignFrom::Rewrite
        } else {
            ForeignFrom::Reject
        });
        let rewrite_from = table.rewrite_from.as_ref().map(|text| {
            let address = EmailAddress::parse(text);
            address.map_err(|fault| self.error("rewrite_from", fault.to_string()))
        });
        match (wish, rewrite_from) {
            (ForeignFrom::Reject, None) => OnForeignFrom::Reject,
            (ForeignFrom::Reject, Some(_)) => {
                let message = "is never used: on_foreign_from is \"reject\" here";
                self.warning("rewrite_from", message);
                OnForeignFrom::Reject
            }
            // Where every From is allowed, none is foreign.
            (ForeignFrom::Rewrite, None) if table.from_domains.is_empty() => OnForeignFrom::Reject,
            (ForeignFrom::Rewrite, None) => {
                let message = "a From outside from_domains is rewritten to rewrite_from, which is \
                               missing; give it, or set on_foreign_from = \"reject\"";
                let key = match table.on_foreign_from {
                    Some(_) => "on_foreign_from",
                    None => "from_domains",
                };
                self.error(key, message);
                OnForeignFrom::Reject
            }
            (ForeignFrom::Rewrite, Some(Err(()))) => OnForeignFrom::Reject,
            (ForeignFrom::Rewrite, Some(Ok(address))) => {
                if table.from_domains.is_empty() {
                    let message = "is never used: without from_domains every From is allowed";
                    self.warning("rewrite_from", message);
                } else if !within(address.domain(), from_domains) {
                    self.error("rewrite_from", "is not in one of from_domains");
                }
                OnForeignFrom::Rewrite(address)
            }
        }
    }
}

fn within(domain: &str, domains: &[String]) -> bool {
    domains.iter().any(|own| {
        let below = domain.strip_suffix(own.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Two credentials that a client cannot tell apart would hand mail to whichever comes first.
fn check_unique(all: &[Credential], faults: &mut Vec<ConfigFault>) {
    for (index, later) in all.iter().enumerate() {
        for earlier in &all[..index] {
            if let (Some(a), Some(b)) = (&earlier.api_key, &later.api_key)
                && a.matches(b.expose().as_bytes())
            {
                let path = format!("credentials.{}.api_key", later.name);
                let message = format!("is the same key as credentials.{}'s", earlier.name);
                faults.push(ConfigFault::error(path, message));
            }
            if let (Some(a), Some(b)) = (&earlier.smtp_login, &later.smtp_login)
                && a.user == b.user
            {
                let path = format!("credentials.{}.smtp_user", later.name);
                let message = format!("is the same user as credentials.{}'s", earlier.name);
                faults.push(ConfigFault::error(path, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let tables: BTreeMap<CredentialName, CredentialConfig> = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        build_all(&tables, &BTreeSet::from(["lent".to_owned()]), &mut faults);
        faults.into_iter().map(|f| (f.path, f.message)).collect()
    }

    fn one(text: &str) -> Credential {
        let tables = toml::from_str(text).unwrap();
        build_all(&tables, &BTreeSet::new(), &mut Vec::new()).remove(0)
    }

    #[test]
    fn defaults_follow_the_door() {
        let app = one("[a]\napi_key = 'abcdefghijkl'\nstreams = ['s']");
        assert_eq!(app.on_final_failure, OnFinalFailure::Event);
        assert_eq!(app.on_foreign_from, OnForeignFrom::Reject);
        let mautic = one(
            "[m]\nsmtp_user = 'm'\nsmtp_password = 'p'\nstreams = ['s']\n\
             from_domains = ['Shop.Example']\nrewrite_from = 'news@shop.example'",
        );
        assert_eq!(mautic.on_final_failure, OnFinalFailure::Dsn);
        assert!(matches!(mautic.on_foreign_from, OnForeignFrom::Rewrite(_)));
        for outlet in ["webhooks = [{}]", "mautic = {}"] {
            let login = "smtp_user = 't'\nsmtp_password = 'p'\nstreams = ['s']";
            let told = one(&format!("[t]\n{login}\n{outlet}"));
            assert_eq!(told.on_final_failure, OnFinalFailure::Event);
        }
        assert_eq!(mautic.from_domains, ["shop.example"]);
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let login = "smtp_user = 'u'\nsmtp_password = 'p'";
        for (table, key) in [
            ("api_key = ''", "api_key"),
            ("api_key = 'k'\napi_key_env = 'K'", "api_key"),
            ("api_key_env = 'MALOTE_TEST_NOT_SET'", "api_key_env"),
            ("api_key_file = '/nowhere/key'", "api_key_file"),
            ("smtp_user = 'u'", "smtp_user"),
            ("smtp_password = 'p'", "smtp_password"),
            (
                &format!("{login}\nfrom_domains = ['a.example']"),
                "from_domains",
            ),
            (
                &format!("{login}\nfrom_domains = ['not a domain']\nrewrite_from = 'x@b.example'"),
                "from_domains[0]",
            ),
            (
                &format!("{login}\nfrom_domains = ['a.example']\nrewrite_from = 'x@ba.example'"),
                "rewrite_from",
            ),
            (
                &format!("{login}\non_foreign_from = 'rewrite'\nrewrite_from = 'nobody'"),
                "rewrite_from",
            ),
            (
                "api_key = 'abcdefghijkl'\nstreams = ['s', 's']",
                "streams[1]",
            ),
        ] {
            let found = faults(&format!("[a]\n{table}"));
            let keys: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
            assert!(
                keys.contains(&format!("credentials.a.{key}").as_str()),
                "{table}: {found:?}"
            );
        }
    }

    #[test]
    fn two_credentials_with_the_same_key_or_user_are_refused() {
        let found = faults(
            "[a]\napi_key = 'abcdefghijkl'\nsmtp_user = 'u'\nsmtp_password = 'p'\n\
             [b]\napi_key = 'abcdefghijkl'\nsmtp_user = 'u'\nsmtp_password = 'q'",
        );
        let keys: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(keys, ["credentials.b.api_key", "credentials.b.smtp_user"]);
        assert!(!format!("{found:?}").contains("abcdefghijkl"));
    }
}
