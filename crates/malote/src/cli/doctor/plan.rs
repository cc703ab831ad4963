//! What to look at: sender domains with who may send for them, and one's own addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use malote_core::address::parse_domain;
use malote_core::credential::{Credential, OnForeignFrom};
use malote_core::name::{ProviderName, StreamName};
use malote_core::provider::{SenderRecord, SenderRecordKind, SenderRecordPurpose};
use malote_core::stream::Class;
use malote_providers::DkimRecord;

use crate::config::{Config, ConfiguredProvider, is_internal};

/// Keeps mail and sends none.
const CAPTURE: &str = "capture";

/// A provider that may send for a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) provider: ProviderName,
    /// Its service, by the name of a row of `services.toml`.
    pub(super) service: &'static str,
    /// The domain that it sends and signs for, whatever From says.
    pub(super) account_domain: Option<String>,
    /// The addresses that it sends from, as far as they are one's own.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The DKIM selectors that the operator told.
    pub(super) selectors: Vec<String>,
    /// The records of the keys with which the gateway itself signs what leaves by it.
    pub(super) keys: Vec<SenderRecord>,
    /// The domain that the gateway puts into MAIL FROM of what leaves by it.
    pub(super) return_path: Option<String>,
    /// What it sends for the domain.
    pub(super) classes: BTreeSet<Class>,
}

/// A domain in From.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DomainPlan {
    pub(super) name: String,
    /// Who may write it.
    pub(super) credentials: BTreeSet<String>,
    pub(super) senders: Vec<Sender>,
}

/// All that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) domains: Vec<DomainPlan>,
    /// One's own addresses, with where each is configured.
    pub(super) addresses: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Credentials that may write any domain, so that theirs are not known; none if the operator
    /// named domains.
    pub(super) unbounded: Vec<String>,
    /// The domain that mail comes back to, with who sends in its name.
    pub(super) return_path: Option<DomainPlan>,
    /// The name by which the gateway greets others.
    pub(super) hostname: String,
    /// What links of List-Unsubscribe begin with.
    pub(super) unsubscribe: Option<String>,
}

/// What the operator wants looked at; nothing means everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) domains: Vec<String>,
    pub(super) providers: Vec<ProviderName>,
}

impl Wish {
    /// Whether nothing is left out.
    pub(super) fn is_everything(&self) -> bool {
        self.domains.is_empty() && self.providers.is_empty()
    }

    /// Whether this provider is meant.
    pub(super) fn wants(&self, provider: &ProviderName) -> bool {
        self.providers.is_empty() || self.providers.contains(provider)
    }
}

/// Makes the plan.
pub(super) fn plan(config: &Config, wish: &Wish) -> Plan {
    let is_unbounded = |credential: &&Arc<Credential>| {
        credential.from_domains.is_empty() && wish.domains.is_empty()
    };
    let unbounded = config.credentials.iter().filter(is_unbounded);
    let names = match wish.domains.is_empty() {
        true => known_domains(config),
        false => wish.domains.iter().cloned().collect(),
    };
    Plan {
        domains: names
            .into_iter()
            .map(|name| domain_plan(config, wish, name))
            .collect(),
        addresses: addresses(config, wish),
        unbounded: unbounded.map(|c| c.name.to_string()).collect(),
        return_path: return_path(config, wish),
        hostname: config.hostname(),
        unsubscribe: config
            .unsubscribe
            .as_ref()
            .filter(|_| wish.is_everything())
            .map(|links| links.base_url.clone()),
    }
}

/// The domain of return addresses, sent for by whoever reports by mail.
fn return_path(config: &Config, wish: &Wish) -> Option<DomainPlan> {
    let path = config.return_path.as_ref()?;
    if !wish.domains.is_empty() {
        return None;
    }
    let everybody = config.streams.keys().cloned().collect();
    let senders = senders(config, wish, (&path.domain, &everybody));
    Some(DomainPlan {
        name: path.domain.clone(),
        credentials: BTreeSet::new(),
        senders: senders
            .into_iter()
            .filter(|sender| sender.return_path.is_some())
            .collect(),
    })
}

fn known_domains(config: &Config) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for credential in config.credentials.iter() {
        names.extend(credential.from_domains.iter().cloned());
        if let OnForeignFrom::Rewrite(address) = &credential.on_foreign_from {
            names.insert(address.domain().to_ascii_lowercase());
        }
    }
    // The configuration was checked: each of them is a domain.
    let more = config.doctor.domains.iter();
    names.extend(more.filter_map(|name| parse_domain(name).ok()));
    names
}

/// Whether a credential may write this domain.
fn may_write(credential: &Credential, domain: &str) -> bool {
    credential.from_domains.iter().any(|own| {
        let below = domain.strip_suffix(own.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn domain_plan(config: &Config, wish: &Wish, name: String) -> DomainPlan {
    let all: Vec<&Credential> = config.credentials.iter().map(AsRef::as_ref).collect();
    let of = |keep: &dyn Fn(&Credential) -> bool| {
        let kept = all.iter().copied().filter(|credential| keep(credential));
        kept.collect::<Vec<_>>()
    };
    let mut writers = of(&|credential| may_write(credential, &name));
    if writers.is_empty() {
        writers = of(&|credential| credential.from_domains.is_empty());
    }
    let streams = |credential: &&Credential| credential.streams.clone();
    // A domain that nobody may write yet is looked at as if everybody might.
    let may_send: BTreeSet<_> = match writers.is_empty() {
        true => config.streams.keys().cloned().collect(),
        false => writers.iter().flat_map(streams).collect(),
    };
    DomainPlan {
        senders: senders(config, wish, (&name, &may_send)),
        credentials: writers.iter().map(|c| c.name.to_string()).collect(),
        name,
    }
}

/// Who may send for a domain that these streams' mail may be from.
fn senders(
    config: &Config,
    wish: &Wish,
    (domain, may_send): (&str, &BTreeSet<StreamName>),
) -> Vec<Sender> {
    let sender = |(provider, configured): (&ProviderName, &ConfiguredProvider)| {
        let reaching = may_send
            .iter()
            .filter(|stream| config.router.reaches(stream, provider));
        let classes = reaching.filter_map(|stream| Some(config.streams.get(stream)?.class));
        let classes: BTreeSet<Class> = classes.collect();
        let is_meant = wish.wants(provider) && configured.origin.service != CAPTURE;
        (is_meant && !classes.is_empty()).then(|| Sender {
            provider: provider.clone(),
            service: configured.origin.service,
            account_domain: configured.origin.domain.clone(),
            addresses: sending_addresses(config, configured),
            selectors: config
                .doctor
                .dkim_selectors
                .get(provider)
                .cloned()
                .unwrap_or_default(),
            keys: own_keys(config, configured, domain),
            return_path: config
                .return_path
                .as_ref()
                .filter(|_| configured.adapter.provider.reports_by_mail())
                .map(|path| path.domain.clone()),
            classes,
        })
    };
    config.providers.iter().filter_map(sender).collect()
}

/// What is to be published of the keys with which mail from a domain is signed here.
fn own_keys(config: &Config, provider: &ConfiguredProvider, domain: &str) -> Vec<SenderRecord> {
    let signer = config
        .dkim
        .signer(domain)
        .filter(|_| provider.is_signed_here);
    let records = signer.map(|signer| config.dkim.records(signer));
    let record = |record: DkimRecord| SenderRecord {
        sender: domain.to_owned(),
        name: record.name,
        kind: SenderRecordKind::Txt,
        value: record.value,
        purpose: SenderRecordPurpose::Dkim,
    };
    records.into_iter().flatten().map(record).collect()
}

/// Servers of one's own send from the addresses that their pools or `[doctor]` name.
fn sending_addresses(config: &Config, provider: &ConfiguredProvider) -> BTreeSet<IpAddr> {
    if !is_own_server(provider.origin.service) {
        return BTreeSet::new();
    }
    let own = provider.origin.source_addresses.iter();
    let all = own.chain(&config.doctor.own_ips).copied();
    all.filter(|ip| !is_internal(*ip)).collect()
}

/// Whether the service is a server that one runs oneself.
pub(super) fn is_own_server(service: &str) -> bool {
    matches!(service, "smtp" | "postfix" | "exim" | "mailcow" | "postal")
}

fn addresses(config: &Config, wish: &Wish) -> BTreeMap<IpAddr, BTreeSet<String>> {
    let mut addresses: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    for (name, provider) in &config.providers {
        let own = provider.origin.source_addresses.iter();
        for ip in own.filter(|ip| wish.wants(name) && !is_internal(**ip)) {
            let by = format!("source address of {name}");
            addresses.entry(*ip).or_default().insert(by);
        }
    }
    for ip in &config.doctor.own_ips {
        let by = "in [doctor] own_ips".to_owned();
        addresses.entry(*ip).or_default().insert(by);
    }
    addresses
}
