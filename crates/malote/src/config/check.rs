//! From raw tables to a configuration that can be put in force, or every reason why not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::credential::{Credential, Credentials};
use malote_core::fault::ConfigFault;
use malote_core::name::{CredentialName, ProviderName, StreamName};
use malote_core::outlet::Outlet;
use malote_core::provider::Capabilities;
use malote_core::returned::ReturnPath;
use malote_core::stream::{Class, Stream};
use malote_core::tracking::TrackingSwitches;
use malote_delivery::UnsubscribeLinks;
use malote_ingress::smtp::{Role, SmtpConfig};
use malote_providers::{DkimKeys, ProviderConfig};
use malote_router::{Router, RouterConfig, RouterCredential, RouterProvider, RouterStream};
use malote_store::PostgresSettings;

use super::de::nearest;
use super::doors::Admin;
use super::raw::{RawConfig, StreamConfig};
use super::{
    Config, ConfiguredProvider, Digests, StoreSettings, credentials, doctor, doors, outlets,
    settings, store, streams, unsubscribe,
};

/// The tables, each checked by itself.
pub(super) struct Tables {
    raw: RawConfig,
    admin: Admin,
    credentials: Arc<Credentials>,
    outlets: Vec<Arc<dyn Outlet>>,
    return_path: Option<ReturnPath>,
    unsubscribe: Option<UnsubscribeLinks>,
    /// Listeners that lend a credential which is not there.
    dangling: Vec<ConfigFault>,
    streams: BTreeMap<StreamName, Stream>,
    feedback_ids: BTreeMap<StreamName, String>,
    /// The streams whose class is known; of the others it is wrong.
    classed: BTreeSet<StreamName>,
    /// `None` for one that could not be built, so that what names it is not blamed.
    providers: BTreeMap<ProviderName, Option<ConfiguredProvider>>,
    /// `None` if there is none, or it cannot be used.
    store: Option<StoreSettings>,
    /// As `store`.
    shared: Option<PostgresSettings>,
    dkim: Arc<DkimKeys>,
}

impl Tables {
    /// Builds and checks each table by itself. The class of streams that are not in `classed`
    /// means nothing.
    pub(super) fn build(
        raw: RawConfig,
        classed: BTreeSet<StreamName>,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        settings::check(&raw, faults);
        doctor::check(&raw, faults);
        check_doors(&raw, faults);
        let (store, shared) = store::build(&raw.store, &raw.shared, faults);
        let lent = lent_credentials(&raw.smtp);
        let credentials = credentials::build_all(&raw.credentials, &lent, faults);
        let credentials = Arc::new(Credentials::new(credentials));
        let mut dangling = Vec::new();
        raw.smtp.check("smtp", &credentials, &mut dangling);
        propose_credentials(&raw, &mut dangling);
        let names_another = |fault: &ConfigFault| fault.path.ends_with(".anonymous.credential");
        faults.extend(dangling.extract_if(.., |fault| !names_another(fault)));
        let stream = |(name, table): (&StreamName, &StreamConfig)| {
            let build = if classed.contains(name) {
                streams::build
            } else {
                streams::build_of_any_class
            };
            (name.clone(), build(name, table, faults))
        };
        let streams = raw.streams.iter().map(stream).collect();
        let dkim = Arc::new(DkimKeys::build(&raw.dkim, faults));
        let feedback_id = |(name, table): (&StreamName, &StreamConfig)| {
            Some((name.clone(), streams::feedback_id(name, table, faults)?))
        };
        let feedback_ids = raw.streams.iter().filter_map(feedback_id).collect();
        Self {
            streams,
            feedback_ids,
            classed,
            credentials,
            dangling,
            admin: doors::admin(&raw.admin, faults),
            providers: build_providers(&raw.providers, &dkim, clock, faults),
            dkim,
            outlets: outlets::build_all(&raw.credentials, clock, faults),
            store,
            shared,
            return_path: raw.smtp.return_path("smtp", faults),
            unsubscribe: unsubscribe::build(&raw, faults),
            raw,
        }
    }

    /// Checks what the tables say of each other. `None` if something that is needed is not there;
    /// whether the result may be used is for the faults to say.
    pub(super) fn join(
        mut self,
        digests: Digests,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Config> {
        check_presence(&self.raw, faults);
        faults.append(&mut self.dangling);
        let classed = |(name, _): &(&StreamName, &Stream)| self.classed.contains(*name);
        let classed = self.streams.iter().filter(classed);
        check_sender_domains(&self.credentials, &classed.collect(), faults);
        self.check_tracking(faults);
        let has_signer = self
            .raw
            .providers
            .values()
            .any(|table| signs(table, &self.dkim));
        if has_signer {
            check_signed_senders(&self.credentials, &self.dkim, faults);
        }
        outlets::check_providers(&self.raw, faults);
        let router_config = router_config(&self);
        let (router, router_faults) = compile(&router_config, &self.classed);
        faults.extend(router_faults);
        let providers = self.providers.into_iter();
        let providers: Option<_> = providers.map(|(name, p)| Some((name, p?))).collect();
        let raw = self.raw;
        let report_carriers = outlets::report_carriers(&raw);
        Some(Config {
            http: raw.http,
            smtp: raw.smtp,
            admin: self.admin,
            store: self.store?,
            shared: self.shared,
            credentials: self.credentials,
            outlets: self.outlets,
            report_carriers,
            streams: self.streams,
            feedback_ids: self.feedback_ids,
            router: router?,
            dkim: self.dkim,
            router_config,
            providers: providers?,
            return_path: self.return_path,
            unsubscribe: self.unsubscribe,
            delivery: raw.delivery,
            retention: raw.retention,
            log: raw.log,
            doctor: raw.doctor,
            digests,
        })
    }
}

impl Tables {
    /// By the streams' own routes; where a rule leads, only the timeline tells.
    fn check_tracking(&self, faults: &mut Vec<ConfigFault>) {
        for stream in self.streams.values() {
            let route = self.raw.routes.get(&stream.route);
            let targets = route.into_iter().flat_map(|route| &route.targets);
            let named: BTreeSet<&str> = targets.map(|t| t.provider.as_str()).collect();
            let built = self.providers.iter().filter_map(|(name, provider)| {
                let provider = provider
                    .as_ref()
                    .filter(|_| named.contains(name.as_str()))?;
                Some((name, provider.adapter.provider.capabilities().tracking))
            });
            streams::check_tracking(stream, built, faults);
        }
    }
}

/// Compiles the router. Of streams without a known class only that is said which is true of both.
fn compile(
    config: &RouterConfig,
    classed: &BTreeSet<StreamName>,
) -> (Option<Router>, Vec<ConfigFault>) {
    let (router, mut faults) = Router::compile(config);
    let mut others = config.clone();
    let mut is_same = true;
    for (name, stream) in &mut others.streams {
        if !classed.contains(name) {
            stream.class = streams::other(stream.class);
            is_same = false;
        }
    }
    if is_same {
        return (router, faults);
    }
    let (_, other_faults) = Router::compile(&others);
    faults.retain(|fault| other_faults.iter().any(|other| other.path == fault.path));
    (router, faults)
}

/// The credentials that a listener lends to clients without login.
fn lent_credentials(smtp: &SmtpConfig) -> BTreeSet<String> {
    let anonymous = smtp.listeners.iter().filter_map(|l| l.anonymous.as_ref());
    anonymous.map(|lent| lent.credential.to_string()).collect()
}

/// Adds to what is said of a lent credential that is not there the nearest that is.
fn propose_credentials(raw: &RawConfig, faults: &mut [ConfigFault]) {
    let known: Vec<&str> = raw.credentials.keys().map(CredentialName::as_str).collect();
    for (index, listener) in raw.smtp.listeners.iter().enumerate() {
        let path = format!("smtp.listeners[{index}].anonymous.credential");
        let lent = listener.anonymous.as_ref();
        let near = lent.and_then(|lent| nearest(lent.credential.as_str(), &known));
        if let (Some(near), Some(fault)) = (near, faults.iter_mut().find(|f| f.path == path)) {
            fault.message = format!("{}; did you mean {near:?}?", fault.message);
        }
    }
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
    for (index, listener) in raw.smtp.listeners.iter().enumerate() {
        let at = format!("smtp.listeners[{index}]");
        addresses.push((format!("{at}.listen"), listener.listen));
    }
    doors::check_addresses(&addresses, faults);
}

fn check_presence(raw: &RawConfig, faults: &mut Vec<ConfigFault>) {
    let listeners = &raw.smtp.listeners;
    let takes_none = listeners
        .iter()
        .all(|listener| listener.role == Role::Bounce);
    if raw.http.is_none() && takes_none {
        let message = "nothing listens for mail: give [http] or [[smtp.listeners]]";
        faults.push(ConfigFault::error("smtp.listeners", message));
    }
    if raw.store.is_empty() {
        faults.push(store::none());
    }
    for (table, is_missing, example) in [
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

/// Two classes under one sender domain share its reputation: a bad campaign stains the password
/// resets.
fn check_sender_domains(
    credentials: &Credentials,
    streams: &BTreeMap<&StreamName, &Stream>,
    faults: &mut Vec<ConfigFault>,
) {
    let mut classes: BTreeMap<&str, BTreeSet<Class>> = BTreeMap::new();
    for credential in credentials.iter() {
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

/// Sender domains that no key signs, though some domain is signed here: they were forgotten.
fn check_signed_senders(credentials: &Credentials, dkim: &DkimKeys, faults: &mut Vec<ConfigFault>) {
    for credential in credentials.iter() {
        for (index, domain) in credential.from_domains.iter().enumerate() {
            if !dkim.covers(domain) {
                let path = format!("credentials.{}.from_domains[{index}]", credential.name);
                let message = format!(
                    "no key signs mail from {domain} that leaves by an SMTP server of one's own: \
                     give [dkim.\"{domain}\"]"
                );
                faults.push(ConfigFault::warning(path, message));
            }
        }
    }
}

/// Every provider by name.
fn build_providers(
    tables: &BTreeMap<ProviderName, ProviderConfig>,
    dkim: &Arc<DkimKeys>,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<ProviderName, Option<ConfiguredProvider>> {
    let build = |(name, table): (&ProviderName, &ProviderConfig)| {
        let mut adapter = malote_providers::build(name, table, clock, faults);
        if let Some(adapter) = adapter.as_mut().filter(|_| signs(table, dkim)) {
            let provider = Arc::clone(&adapter.provider);
            adapter.provider =
                malote_providers::signing(provider, Arc::clone(dkim), Arc::clone(clock));
        }
        let pools = table.pools.iter().map(|(pool, config)| {
            let limits = config.limits.clone();
            let warmup = config.warmup;
            (pool.clone(), (limits, warmup))
        });
        let provider = adapter.map(|adapter| ConfiguredProvider {
            adapter,
            limits: table.limits.clone(),
            pools: pools.collect(),
            cost_per_thousand: table.cost_per_thousand,
            origin: table.origin(),
            is_signed_here: signs(table, dkim),
        });
        (name.clone(), provider)
    };
    tables.iter().map(build).collect()
}

/// Whether what leaves by a provider is signed here.
fn signs(table: &ProviderConfig, dkim: &DkimKeys) -> bool {
    !dkim.is_empty() && table.is_signed_here()
}

/// Capabilities that exclude nothing, for a provider whose own fault is reported already.
const UNKNOWN_CAPABILITIES: Capabilities = Capabilities {
    message_bytes_max: u64::MAX,
    recipients_max: u16::MAX,
    envelope_sender: true,
    smtputf8: true,
    eight_bit: true,
    tracking: TrackingSwitches::BOTH,
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

/// Providers, streams and credentials that nothing leads to: usually a name left behind.
pub(super) fn unused(config: &Config) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    let routes = config.router_config.routes.values();
    let targets = routes.flat_map(|route| &route.targets);
    let mut used: BTreeSet<&str> = targets.map(|target| target.provider.as_str()).collect();
    used.extend(config.report_carriers.iter().map(ProviderName::as_str));
    for name in config.providers.keys() {
        if !used.contains(name.as_str()) {
            let message = "no route has it as a target";
            faults.push(ConfigFault::warning(format!("providers.{name}"), message));
        }
    }
    for name in config.streams.keys() {
        if !config.credentials.iter().any(|own| own.may_use(name)) {
            let message = "no credential may use it";
            faults.push(ConfigFault::warning(format!("streams.{name}"), message));
        }
    }
    let lent = lent_credentials(&config.smtp);
    for credential in config.credentials.iter() {
        let has_key = credential.api_key.is_some() || credential.smtp_login.is_some();
        if !has_key && !lent.contains(credential.name.as_str()) {
            let message = "nobody can use it: give api_key or smtp_user, or name it in a \
                           listener's `anonymous`";
            let path = format!("credentials.{}", credential.name);
            faults.push(ConfigFault::warning(path, message));
        }
    }
    faults
}
