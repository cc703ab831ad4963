//! Configuration: files and environment in, typed and checked values out, every fault at once.
//!
//! `malote check`, start and reload all call [`read`], so that what one accepts the others do too.

mod broken;
mod check;
mod credentials;
mod de;
mod digest;
mod doctor;
mod doors;
mod guard;
mod outlets;
mod part;
mod raw;
mod read;
mod repair;
mod report;
mod secrets;
mod settings;
mod source;
mod store;
mod streams;
mod tree;
mod unsubscribe;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::address::parse_domain;
use malote_core::clock::Clock;
use malote_core::credential::Credentials;
use malote_core::limits::{Limits, Warmup};
use malote_core::name::{PoolName, ProviderName, StreamName};
use malote_core::outlet::Outlet;
use malote_core::returned::ReturnPath;
use malote_core::stream::Stream;
use malote_delivery::{Bounds, ProviderEntry, UnsubscribeLinks};
use malote_ingress::http::HttpConfig;
use malote_ingress::smtp::SmtpConfig;
use malote_providers::{Adapter, DkimKeys, Origin};
use malote_router::{Router, RouterConfig};
use malote_store::PostgresSettings;

pub use digest::{Digests, Fingerprint};
pub use doctor::DoctorConfig;
pub(crate) use doctor::is_internal;
pub use doors::Admin;
pub(crate) use doors::is_loopback;
pub use part::{AdminPart, StorePart, read_admin, read_store};
pub use raw::{DeliveryConfig, LogConfig, LogFormat, RetentionConfig};
pub use report::{Excerpt, Fault, Location, Report};
pub use store::StoreSettings;

/// A configuration that can be put in force: everything in it is checked.
pub struct Config {
    /// `[http]`; `None` if there is no HTTP door.
    pub http: Option<HttpConfig>,
    /// `[smtp]` with its listeners.
    pub smtp: SmtpConfig,
    /// `[admin]`.
    pub admin: Admin,
    /// `[store.sqlite]` or `[store.postgres]`.
    pub store: StoreSettings,
    /// `[shared.postgres]`, secrets fetched; `None` if what nodes share is kept in the store.
    pub shared: Option<PostgresSettings>,
    /// `[credentials.NAME]`, secrets fetched.
    pub credentials: Arc<Credentials>,
    /// `[streams.NAME]`, the defaults of the class filled in.
    pub streams: BTreeMap<StreamName, Stream>,
    /// The sender's part of `Feedback-ID`, by stream.
    pub feedback_ids: BTreeMap<StreamName, String>,
    /// Rules, routes and mailbox providers, compiled.
    pub router: Router,
    /// The keys that sign what leaves by mail servers of one's own.
    pub dkim: Arc<DkimKeys>,
    /// What `router` was compiled from, for `explain` and comparisons.
    pub router_config: RouterConfig,
    /// `[providers.NAME]`, ready for use. Nothing has been connected to.
    pub providers: BTreeMap<ProviderName, ConfiguredProvider>,
    /// Who is told of events: the outlets of every credential.
    pub outlets: Vec<Arc<dyn Outlet>>,
    /// The providers that carry outlets' reports, whether or not a route leads to them.
    pub report_carriers: BTreeSet<ProviderName>,
    /// Where mail comes back to, by the listeners that take it.
    pub return_path: Option<ReturnPath>,
    /// `[unsubscribe]`.
    pub unsubscribe: Option<UnsubscribeLinks>,
    /// `[delivery]`.
    pub delivery: DeliveryConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[doctor]`.
    pub doctor: DoctorConfig,
    /// What it is known by.
    pub digests: Digests,
}

/// A provider with what the engine keeps to.
pub struct ConfiguredProvider {
    /// Sends, and reads webhooks.
    pub adapter: Adapter,
    /// Limits of the whole account.
    pub limits: Limits,
    /// Its pools that have a table of their own.
    pub pools: BTreeMap<PoolName, (Limits, Option<Warmup>)>,
    /// What a thousand recipients cost, in the operator's currency.
    pub cost_per_thousand: Option<f64>,
    /// What is known of where its mail comes from.
    pub origin: Origin,
    /// Whether what leaves by it is signed by `[dkim]`.
    pub is_signed_here: bool,
}

impl Config {
    /// The bounds that the engine keeps to.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            hostname: self.hostname(),
            queue_bytes_max: self.delivery.queue_bytes_max.0,
            workers: self.delivery.workers,
            transactional_reserve: self.delivery.transactional_reserve,
            drain_max: self.delivery.drain.0,
            drain_notice: self.delivery.drain_notice.0,
            keep_bodies: self.retention.bodies.0,
            keep_messages: self.retention.messages.0,
            crashes_max: self.delivery.crashes_max,
            soft_bounces_max: self.delivery.soft_bounces_max,
            soft_bounce_window: self.delivery.soft_bounce_window.0,
            soft_bounce_suppression: self.delivery.soft_bounce_suppression.0,
            dsn_per_minute: self.delivery.dsn_per_minute,
        }
    }

    /// The database that several nodes use, for their queue or for what they share; `None` if
    /// there is none.
    #[must_use]
    pub const fn database(&self) -> Option<&PostgresSettings> {
        match &self.store {
            StoreSettings::Postgres(settings) => Some(settings),
            StoreSettings::Sqlite(_) => self.shared.as_ref(),
        }
    }

    /// What this node is called among those that work together: the database table's `node`, else
    /// what the kernel calls this machine, else `localhost`.
    #[must_use]
    pub fn node_name(&self) -> String {
        let given = self.database().and_then(PostgresSettings::node);
        let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        given
            .map(str::to_owned)
            .or_else(|| machine().map(|name| name.trim().to_owned()))
            .unwrap_or_else(|| "localhost".to_owned())
    }

    /// `smtp.hostname`, else what the kernel calls this machine, else `localhost`.
    #[must_use]
    pub fn hostname(&self) -> String {
        let parse = |name: &str| parse_domain(name.trim()).ok();
        let given = self.smtp.hostname.as_deref().and_then(parse);
        let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        given
            .or_else(|| machine().as_deref().and_then(parse))
            .unwrap_or_else(|| "localhost".to_owned())
    }
}

impl ConfiguredProvider {
    /// The provider as the engine uses it.
    #[must_use]
    pub fn entry(&self) -> ProviderEntry {
        ProviderEntry {
            provider: Arc::clone(&self.adapter.provider),
            limits: self.limits.clone(),
            pools: self.pools.clone(),
            tells_events: self.adapter.webhook.is_some(),
        }
    }
}

/// What reading a configuration gave.
pub struct Outcome {
    /// The configuration; `None` if the report holds an error.
    pub config: Option<Config>,
    /// Everything that is wrong or doubtful with it.
    pub report: Report,
}

/// Reads `files` in order and then the variables of `environment` named `MALOTE_TABLE__KEY`, later
/// ones laid over earlier ones (tables key by key, anything else as a whole), and checks the
/// result. Relative paths in it are relative to the working directory.
///
/// Fetches secrets, reads certificates and builds the providers' adapters; connects to nothing and
/// changes nothing.
pub fn read(
    files: &[PathBuf],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    clock: &Arc<dyn Clock>,
) -> Outcome {
    let mut reading = read::Reading::new(files, environment);
    let mut config = None;
    if let Some(raw) = reading.extract::<raw::RawConfig>() {
        let mut faults = Vec::new();
        secrets::check(reading.tree(), &mut faults);
        let has_class = |name: &&StreamName| !reading.is_broken(&format!("streams.{name}.class"));
        let classed = raw.streams.keys().filter(has_class).cloned().collect();
        // Before the adapters are built: a secret that changes in between makes the next reload
        // build another one.
        let digests = Digests::of(reading.tree());
        let tables = check::Tables::build(raw, classed, clock, &mut faults);
        // What names something in a file that could not be read would be blamed for naming nothing.
        if !reading.is_partial() {
            config = tables.join(digests, &mut faults);
        }
        reading.add_faults(faults);
    }
    // With an error elsewhere, what looks unused may only be named wrongly.
    if let Some(config) = config.as_ref().filter(|_| !reading.has_errors()) {
        reading.add_faults(check::unused(config));
    }
    let report = reading.report();
    let config = config.filter(|_| report.is_good());
    Outcome { config, report }
}
