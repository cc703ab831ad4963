//! From raw tables to a configuration that can be put in force, or every reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::credential::{Credential, Credentials};
use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, ProviderName, StreamName};
use malote_core::provider::{Capabilities, RecipientSource};
use malote_core::stream::{Class, Stream};
use malote_providers::ProviderConfig;
use malote_router::{Router, RouterConfig, RouterCredential, RouterProvider, RouterStream};

use super::de::nearest;
use super::doors::Admin;
use super::raw::{RawConfig, StreamConfig};
use super::{Config, ConfiguredPool, ConfiguredProvider, credentials, doors, settings, streams};

/// The tables, each checked by itself.
pub(super) struct Tables {
    raw: RawConfig,
    admin: Admin,
    credentials: Vec<Credential>,
    streams: BTreeMap<StreamName, Arc<Stream>>,
    /// `None` for one that could not be built, so that what names it is not blamed.
    providers: BTreeMap<ProviderName, Option<ConfiguredProvider>>,
}

impl Tables {
    /// Builds and checks each table by itself.
    pub(super) fn build(
        raw: RawConfig,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        settings::check(&raw, faults);
        check_doors(&raw, faults);
        if let Some(sqlite) = &raw.store.sqlite {
            faults.extend(sqlite.check());
        }
        let anonymous = anonymous_credentials(&raw);
        let stream = |(name, table): (&StreamName, &StreamConfig)| {
            (name.clone(), Arc::new(streams::build(name, table, faults)))
        };
        Self {
            streams: raw.streams.iter().map(stream).collect(),
            credentials: credentials::build_all(&raw.credentials, &anonymous, faults),
            admin: doors::admin(&raw.admin, faults),
            providers: build_providers(&raw.providers, clock, faults),
            raw,
        }
    }

    /// Checks what the tables say of each other. `None` if something that is needed is not there;
    /// whether the result may be used is for the faults to say.
    pub(super) fn join(self, faults: &mut Vec<ConfigFault>) -> Option<Config> {
        let Self { raw, .. } = &self;
        check_presence(raw, faults);
        check_anonymous(raw, faults);
        check_sender_domains(&self.credentials, &self.streams, faults);
        let router_config = router_config(&self);
        let (router, router_faults) = Router::compile(&router_config);
        faults.extend(router_faults);
        check_use(&router_config, faults);
        let providers = self.providers.into_iter();
        let providers: Option<_> = providers.map(|(name, p)| Some((name, p?))).collect();
        let raw = self.raw;
        Some(Config {
            http: raw.http,
            smtp: raw.smtp,
            admin: self.admin,
            store: raw.store.sqlite?,
            credentials: Credentials::new(self.credentials),
            streams: self.streams,
            router: router?,
            router_config,
            providers: providers?,
            delivery: raw.delivery,
            retention: raw.retention,
            log: raw.log,
        })
    }
}

fn anonymous_credentials(raw: &RawConfig) -> BTreeSet<String> {
    let lent = raw.smtp.listeners.iter();
    lent.filter_map(|listener| listener.anonymous.as_ref())
        .map(|anonymous| anonymous.credential.to_string())
        .collect()
}

fn check_doors(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let mut addresses: Vec<(String, SocketAddr)> = Vec::new();
    if let Some(http) = &raw.http {
        faults.extend(http.check("http"));
        if let Some(tls) = &http.tls {
            let fault = doors::check_certificate("http.tls", &tls.cert_file, &tls.key_file);
            faults.extend(fault);
        }
        addresses.push(("http.listen".to_owned(), http.listen));
    }
    addresses.push(("admin.listen".to_owned(), raw.admin.listen));
    faults.extend(raw.smtp.check("smtp"));
    for (index, listener) in raw.smtp.listeners.iter().enumerate() {
        let at = format!("smtp.listeners[{index}]");
        addresses.push((format!("{at}.listen"), listener.listen));
    }
    doors::check_addresses(&addresses, faults);
}

fn check_presence(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    for (table, is_missing, example) in [
        ("store", raw.store.sqlite.is_none(), "[store.sqlite]"),
        ("streams", raw.streams.is_empty(), "[streams.transactional]"),
        ("providers", raw.providers.is_empty(), "[providers.ses.ses]"),
        (
            "credentials",
            raw.credentials.is_empty(),
            "[credentials.shop]",
        ),
    ] {
        if is_missing {
            let message = format!("there is none: give at least one, as in {example}");
            faults.push(ConfigFault::error(table, message));
        }
    }
}

/// A listener lends a credential that exists.
fn check_anonymous(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    for (index, listener) in raw.smtp.listeners.iter().enumerate() {
        let Some(anonymous) = &listener.anonymous else {
            continue;
        };
        let wanted = anonymous.credential.as_str();
        let known: Vec<&str> = raw.credentials.keys().map(CredentialName::as_str).collect();
        if !known.contains(&wanted) {
            let hint = nearest(wanted, &known)
                .map(|near| format!("; did you mean \"{near}\"?"))
                .unwrap_or_default();
            faults.push(ConfigFault::error(
                format!("smtp.listeners[{index}].anonymous.credential"),
                format!("there is no credential \"{wanted}\"{hint}"),
            ));
        }
    }
}

/// Two classes under one sender domain share its reputation: a bad campaign stains the password
/// resets.
fn check_sender_domains(
    credentials: &[Credential],
    streams: &BTreeMap<StreamName, Arc<Stream>>,
    faults: &mut Vec<ConfigFault>,
) {
    let mut classes: BTreeMap<&str, BTreeSet<Class>> = BTreeMap::new();
    for credential in credentials {
        let own = credential.streams.iter().filter_map(|s| streams.get(s));
        let own: BTreeSet<Class> = own.map(|stream| stream.class).collect();
        for (index, domain) in credential.from_domains.iter().enumerate() {
            let seen = classes.entry(domain).or_default();
            let was_shared = seen.len() > 1;
            seen.extend(&own);
            if seen.len() > 1 && !was_shared {
                let path = format!("credentials.{}.from_domains[{index}]", credential.name);
                let message = format!(
                    "transactional and campaign mail share the sender domain {domain} and its \
                     reputation; better a subdomain for campaigns, as in news.{domain}"
                );
                faults.push(ConfigFault::warning(path, message));
            }
        }
    }
}

/// Every provider by name.
fn build_providers(
    tables: &BTreeMap<ProviderName, ProviderConfig>,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<ProviderName, Option<ConfiguredProvider>> {
    let build = |(name, table): (&ProviderName, &ProviderConfig)| {
        let adapter = malote_providers::build(name, table, clock, faults);
        let pools = table.pools.iter().map(|(pool, config)| {
            let limits = config.limits.clone();
            let warmup = config.warmup;
            (pool.clone(), ConfiguredPool { limits, warmup })
        });
        let provider = adapter.map(|adapter| ConfiguredProvider {
            adapter,
            limits: table.limits.clone(),
            pools: pools.collect(),
            cost_per_thousand: table.cost_per_thousand,
        });
        (name.clone(), provider)
    };
    tables.iter().map(build).collect()
}

/// Capabilities that exclude nothing, for a provider whose own fault is reported already.
const UNKNOWN_CAPABILITIES: Capabilities = Capabilities {
    message_bytes_max: u64::MAX,
    recipients_max: u16::MAX,
    recipients: RecipientSource::Envelope,
    envelope_sender: true,
    smtputf8: true,
    eight_bit: true,
};

fn router_config(tables: &Tables) -> RouterConfig {
    let raw = &tables.raw;
    let router_stream = |stream: &Stream| RouterStream {
        class: stream.class,
        route: stream.route.clone(),
    };
    let router_credential = |credential: &Credential| RouterCredential {
        streams: credential.streams.clone(),
        default_stream: credential.default_stream.clone(),
    };
    let router_provider = |name: &ProviderName, table: &ProviderConfig| {
        let built = tables.providers.get(name).and_then(Option::as_ref);
        RouterProvider {
            pools: table.pools.keys().cloned().collect(),
            capabilities: built.map_or(UNKNOWN_CAPABILITIES, |provider| {
                provider.adapter.provider.capabilities().clone()
            }),
            cost_per_thousand: table.cost_per_thousand,
        }
    };
    RouterConfig {
        rules: raw.rules.clone(),
        routes: raw.routes.clone(),
        streams: tables
            .streams
            .iter()
            .map(|(name, stream)| (name.clone(), router_stream(stream)))
            .collect(),
        credentials: tables
            .credentials
            .iter()
            .map(|credential| (credential.name.clone(), router_credential(credential)))
            .collect(),
        providers: raw
            .providers
            .iter()
            .map(|(name, table)| (name.clone(), router_provider(name, table)))
            .collect(),
        mailbox_providers: raw.mailbox_providers.clone(),
        campaign_burst: raw.delivery.campaign_burst,
    }
}

/// Providers and streams that nothing leads to: usually a name left behind.
fn check_use(config: &RouterConfig, faults: &mut Vec<ConfigFault>) {
    let targets = config.routes.values().flat_map(|route| &route.targets);
    let used: BTreeSet<&str> = targets.map(|target| target.provider.as_str()).collect();
    for name in config.providers.keys() {
        if !used.contains(name.as_str()) {
            let message = "no route has it as a target";
            faults.push(ConfigFault::warning(format!("providers.{name}"), message));
        }
    }
    let lists = config.credentials.iter();
    let allowed: BTreeSet<(&StreamName, &CredentialName)> = lists
        .flat_map(|(credential, own)| own.streams.iter().map(move |s| (s, credential)))
        .collect();
    for name in config.streams.keys() {
        if !allowed.iter().any(|(stream, _)| *stream == name) {
            let message = "no credential may use it";
            faults.push(ConfigFault::warning(format!("streams.{name}"), message));
        }
    }
}
