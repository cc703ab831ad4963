//! Who runs a recipient's mailbox: a table of domains, then the names of MX hosts.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::name::MailboxProvider;

use crate::config::MailboxProvidersConfig;

/// Name, consumer domains, names of MX hosts. A name comes once; `other` is what is left.
const BUILT_IN: &[(&str, &[&str], &[&str])] = &[
    (
        "google",
        &["gmail.com", "googlemail.com"],
        &["google.com", "googlemail.com"],
    ),
    (
        "microsoft",
        &[
            "hotmail.be",
            "hotmail.ca",
            "hotmail.ch",
            "hotmail.co.jp",
            "hotmail.co.uk",
            "hotmail.com",
            "hotmail.com.ar",
            "hotmail.com.br",
            "hotmail.de",
            "hotmail.es",
            "hotmail.fr",
            "hotmail.it",
            "hotmail.nl",
            "hotmail.se",
            "live.be",
            "live.ca",
            "live.cl",
            "live.co.uk",
            "live.com",
            "live.com.ar",
            "live.com.au",
            "live.com.mx",
            "live.com.pt",
            "live.de",
            "live.dk",
            "live.fr",
            "live.it",
            "live.nl",
            "live.no",
            "live.se",
            "msn.com",
            "outlook.co",
            "outlook.com",
            "outlook.com.ar",
            "outlook.com.au",
            "outlook.com.br",
            "outlook.de",
            "outlook.es",
            "outlook.fr",
            "outlook.it",
            "outlook.jp",
            "outlook.pt",
            "passport.com",
            "windowslive.com",
        ],
        &["protection.outlook.com", "hotmail.com", "mx.microsoft"],
    ),
    (
        "yahoo",
        &[
            "aim.com",
            "aol.co.uk",
            "aol.com",
            "aol.com.br",
            "aol.de",
            "aol.fr",
            "myyahoo.com",
            "rocketmail.com",
            "verizon.net",
            "yahoo.ca",
            "yahoo.co.id",
            "yahoo.co.in",
            "yahoo.co.nz",
            "yahoo.co.uk",
            "yahoo.com",
            "yahoo.com.ar",
            "yahoo.com.au",
            "yahoo.com.br",
            "yahoo.com.hk",
            "yahoo.com.mx",
            "yahoo.com.ph",
            "yahoo.com.sg",
            "yahoo.com.tw",
            "yahoo.com.vn",
            "yahoo.de",
            "yahoo.es",
            "yahoo.fr",
            "yahoo.gr",
            "yahoo.ie",
            "yahoo.in",
            "yahoo.it",
            "yahoo.ro",
            "yahoo.se",
            "ymail.com",
        ],
        &["yahoodns.net"],
    ),
    ("yahoo_jp", &["yahoo.co.jp"], &["yahoo.co.jp"]),
    (
        "apple",
        &["icloud.com", "mac.com", "me.com"],
        &["mail.icloud.com"],
    ),
    (
        "uol",
        &["bol.com.br", "uol.com.br"],
        &["uol.com.br", "uhserver.com"],
    ),
    ("locaweb", &["locaweb.com.br"], &["locaweb.com.br"]),
    (
        "terra",
        &["terra.com", "terra.com.br"],
        &["terra.com", "terra.com.br"],
    ),
    ("ig", &["ig.com.br"], &["ig.com.br"]),
    ("globo", &["globo.com", "globomail.com"], &["globo.com"]),
    ("kinghost", &[], &["kinghost.net"]),
    (
        "protonmail",
        &["pm.me", "proton.me", "protonmail.ch", "protonmail.com"],
        &["protonmail.ch"],
    ),
    (
        "zoho",
        &["zoho.com", "zohomail.com", "zohomail.eu", "zohomail.in"],
        &["zoho.com", "zoho.eu", "zoho.in", "zohomail.com"],
    ),
    (
        "gmx",
        &[
            "gmx.at", "gmx.ch", "gmx.com", "gmx.de", "gmx.fr", "gmx.net", "mail.com", "web.de",
        ],
        &["gmx.net", "web.de", "mail.com"],
    ),
    (
        "ionos",
        &[],
        &["ionos.com", "ionos.de", "kundenserver.de", "perfora.net"],
    ),
    ("t_online", &["t-online.de"], &["t-online.de"]),
    (
        "mail_ru",
        &["bk.ru", "inbox.ru", "internet.ru", "list.ru", "mail.ru"],
        &["mail.ru"],
    ),
    (
        "yandex",
        &[
            "narod.ru",
            "ya.ru",
            "yandex.by",
            "yandex.com",
            "yandex.kz",
            "yandex.ru",
        ],
        &["yandex.net", "yandex.ru"],
    ),
    ("rambler", &["lenta.ru", "rambler.ru"], &["rambler.ru"]),
    ("qq", &["foxmail.com", "qq.com", "vip.qq.com"], &["qq.com"]),
    (
        "netease",
        &["126.com", "163.com", "vip.163.com", "yeah.net"],
        &["netease.com", "163.com"],
    ),
    ("naver", &["naver.com"], &["naver.com", "worksmobile.com"]),
    (
        "orange",
        &["orange.fr", "wanadoo.fr"],
        &["orange.fr", "wanadoo.fr"],
    ),
    ("free_fr", &["free.fr"], &["free.fr"]),
    ("sfr", &["neuf.fr", "sfr.fr"], &["sfr.fr"]),
    ("laposte", &["laposte.net"], &["laposte.net"]),
    (
        "libero",
        &["iol.it", "libero.it", "virgilio.it"],
        &["libero.it"],
    ),
    (
        "seznam",
        &["email.cz", "post.cz", "seznam.cz"],
        &["seznam.cz"],
    ),
    ("comcast", &["comcast.net", "xfinity.com"], &["comcast.net"]),
    (
        "fastmail",
        &["fastmail.com", "fastmail.fm"],
        &["messagingengine.com"],
    ),
    ("proofpoint", &[], &["ppe-hosted.com", "pphosted.com"]),
    ("mimecast", &[], &["mimecast.co.za", "mimecast.com"]),
    ("barracuda", &[], &["barracudanetworks.com"]),
    ("cisco", &[], &["iphmx.com"]),
    ("rackspace", &[], &["emailsrvr.com"]),
    ("godaddy", &[], &["secureserver.net"]),
    ("ovh", &[], &["ovh.ca", "ovh.net"]),
    ("hostinger", &[], &["hostinger.com"]),
    ("titan", &[], &["titan.email"]),
    ("amazon", &[], &["amazonaws.com", "awsapps.com"]),
    ("cloudflare", &[], &["mx.cloudflare.net"]),
];

/// Entries of [`BUILT_IN`] that do not give mailboxes to everybody.
const NOT_FREE: [&str; 1] = ["locaweb"];

/// Whether anybody can get a mailbox at `domain` (lower-case A-labels), by the built-in table. Mail
/// from there passes no check that its receivers make, unless it leaves by that provider itself.
#[must_use]
pub fn is_free_mail(domain: &str) -> bool {
    let free = BUILT_IN
        .iter()
        .filter(|(name, _, _)| !NOT_FREE.contains(name));
    free.flat_map(|(_, domains, _)| *domains)
        .any(|own| *own == domain)
}

/// The tables in force.
#[derive(Debug)]
pub(crate) struct MailboxTable {
    domains: BTreeMap<String, MailboxProvider>,
    mx: BTreeMap<String, MailboxProvider>,
    pub(crate) mx_lookup: bool,
    pub(crate) dns_server: Option<SocketAddr>,
}

impl MailboxTable {
    /// Lays the operator's tables over the built-in ones.
    pub(crate) fn compile(config: &MailboxProvidersConfig, faults: &mut Vec<ConfigFault>) -> Self {
        let mut domains = built_in(|(name, domains, _)| (name, domains));
        let mut mx = built_in(|(name, _, hosts)| (name, hosts));
        lay_over(&mut domains, &config.domains, "domains", faults);
        lay_over(&mut mx, &config.mx, "mx", faults);
        Self {
            domains,
            mx,
            mx_lookup: config.mx_lookup,
            dns_server: config.dns_server,
        }
    }

    /// Every name that a mailbox provider can have, `other` included.
    pub(crate) fn names(&self) -> Vec<&str> {
        let named = self.domains.values().chain(self.mx.values());
        let mut names: Vec<&str> = named.map(MailboxProvider::as_str).collect();
        names.push("other");
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn knows(&self, domain: &str) -> bool {
        self.domains.contains_key(domain)
    }

    pub(crate) fn provider(&self, domain: &str, mx: Option<&[String]>) -> MailboxProvider {
        let by_mx = || mx?.iter().find_map(|host| self.by_host(host));
        self.domains
            .get(domain)
            .cloned()
            .or_else(by_mx)
            .unwrap_or_else(MailboxProvider::other)
    }

    /// The entry of the host itself, else of the nearest name above it.
    fn by_host(&self, host: &str) -> Option<MailboxProvider> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        std::iter::successors(Some(host.as_str()), |name| Some(name.split_once('.')?.1))
            .find_map(|name| self.mx.get(name).cloned())
    }
}

type Column = (&'static str, &'static [&'static str]);

fn built_in(
    column: impl Fn(
        (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
        ),
    ) -> Column,
) -> BTreeMap<String, MailboxProvider> {
    let mut table = BTreeMap::new();
    for entry in BUILT_IN {
        let (name, keys) = column(*entry);
        let Ok(provider) = MailboxProvider::try_from(name) else {
            debug_assert!(false, "{name} is no name");
            continue;
        };
        for key in keys {
            table.insert((*key).to_owned(), provider.clone());
        }
    }
    table
}

fn lay_over(
    table: &mut BTreeMap<String, MailboxProvider>,
    given: &BTreeMap<String, Vec<String>>,
    column: &str,
    faults: &mut Vec<ConfigFault>,
) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for (name, keys) in given {
        let path = format!("mailbox_providers.{column}.{name}");
        let provider = match MailboxProvider::try_from(name.as_str()) {
            Ok(provider) => provider,
            Err(fault) => {
                faults.push(ConfigFault::error(path, fault.to_string()));
                continue;
            }
        };
        for (index, key) in keys.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Ok(domain) = parse_domain(key.trim_end_matches('.')) else {
                let message = format!("{key:?} is not a domain name");
                faults.push(ConfigFault::error(path, message));
                continue;
            };
            if let Some(other) = taken.insert(domain.clone(), name) {
                let message = format!("{domain} is already listed under {other}");
                faults.push(ConfigFault::error(path, message));
            }
            table.insert(domain, provider.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_mailbox_is_told_from_a_company_s() {
        for (domain, is_free) in [
            ("gmail.com", true),
            ("uol.com.br", true),
            ("hotmail.com.br", true),
            ("locaweb.com.br", false),
            ("shop.example", false),
            ("x.gmail.com", false),
        ] {
            assert_eq!(is_free_mail(domain), is_free, "{domain}");
        }
    }

    fn table(config: &str) -> (MailboxTable, Vec<ConfigFault>) {
        let mut faults = Vec::new();
        let config = toml::from_str(config).unwrap();
        let table = MailboxTable::compile(&config, &mut faults);
        (table, faults)
    }

    #[test]
    fn the_built_in_table_is_well_formed() {
        let mut domains = std::collections::BTreeSet::new();
        for (name, own, hosts) in BUILT_IN {
            assert!(MailboxProvider::try_from(*name).is_ok(), "{name}");
            for domain in own.iter().chain(hosts.iter()) {
                assert_eq!(parse_domain(domain).as_deref(), Ok(*domain));
            }
            for domain in *own {
                assert!(domains.insert(domain), "{domain} is listed twice");
            }
        }
    }

    #[test]
    fn the_table_comes_before_the_mx_and_other_is_what_is_left() {
        let (table, faults) = table("");
        assert_eq!(faults, []);
        for (domain, mx, provider) in [
            ("gmail.com", vec!["mx.elsewhere.example"], "google"),
            ("aol.com", vec![], "yahoo"),
            ("bol.com.br", vec![], "uol"),
            ("firm.example", vec!["aspmx.l.google.com"], "google"),
            ("firm.example", vec!["ASPMX2.GoogleMail.com."], "google"),
            (
                "firm.example",
                vec!["firm-example.mail.protection.outlook.com"],
                "microsoft",
            ),
            ("firm.example", vec!["mx.core.locaweb.com.br"], "locaweb"),
            (
                "firm.example",
                vec!["mx.unknown.example", "mx.zoho.com"],
                "zoho",
            ),
            ("firm.example", vec!["notgoogle.com"], "other"),
            ("firm.example", vec![], "other"),
            ("mail.gmail.com", vec![], "other"),
        ] {
            let mx: Vec<String> = mx.into_iter().map(str::to_owned).collect();
            let found = table.provider(domain, Some(&mx));
            assert_eq!(found.as_str(), provider, "{domain} {mx:?}");
        }
        assert_eq!(table.provider("firm.example", None).as_str(), "other");
    }

    #[test]
    fn the_operators_entries_win_and_the_rest_stays() {
        let (table, faults) = table(
            "domains = { google = ['ours.example'], partner = ['Gmail.com'] }\n\
             mx = { partner = ['mx.partner.example', 'aspmx.l.google.com'] }",
        );
        assert_eq!(faults, []);
        assert_eq!(table.provider("ours.example", None).as_str(), "google");
        assert_eq!(table.provider("gmail.com", None).as_str(), "partner");
        assert_eq!(table.provider("outlook.com", None).as_str(), "microsoft");
        let nearer = ["aspmx.l.google.com".to_owned()];
        let farther = ["alt1.google.com".to_owned()];
        assert_eq!(
            table.provider("x.example", Some(&nearer)).as_str(),
            "partner"
        );
        assert_eq!(
            table.provider("x.example", Some(&farther)).as_str(),
            "google"
        );
    }

    #[test]
    fn what_is_no_domain_or_stands_twice_is_a_fault() {
        let (_, faults) =
            table("domains = { a = ['x.example', 'not a domain'], b = ['x.example'], 'B C' = [] }");
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "mailbox_providers.domains.B C: \"B C\" is not a name: use 1 to 64 of a-z, 0-9, '-' and '_', starting with a letter or digit",
                "mailbox_providers.domains.a[1]: \"not a domain\" is not a domain name",
                "mailbox_providers.domains.b[0]: x.example is already listed under a",
            ]
        );
    }
}
