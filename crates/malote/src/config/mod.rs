//! Configuration: files and environment in, typed and checked values out, every fault at once.
//!
//! `malote check`, start and reload all call [`read`], so that what one accepts the others do too.

mod check;
mod credentials;
mod de;
mod doors;
mod raw;
mod read;
mod report;
mod secrets;
mod settings;
mod source;
mod streams;
mod tree;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::credential::Credentials;
use malote_core::limits::{Limits, Warmup};
use malote_core::name::{PoolName, ProviderName, StreamName};
use malote_core::stream::Stream;
use malote_ingress::http::HttpConfig;
use malote_ingress::smtp::SmtpConfig;
use malote_providers::Adapter;
use malote_router::{Router, RouterConfig};
use malote_store::SqliteConfig;

pub use doors::Admin;
pub use raw::{DeliveryConfig, LogConfig, LogFormat, Pii, RetentionConfig};
pub use report::{Excerpt, Fault, Location, Report};

/// A configuration that can be put in force: everything in it is checked.
pub struct Config {
    /// `[http]`; `None` if there is no HTTP door.
    pub http: Option<HttpConfig>,
    /// `[smtp]` with its listeners.
    pub smtp: SmtpConfig,
    /// `[admin]`.
    pub admin: Admin,
    /// `[store.sqlite]`.
    pub store: SqliteConfig,
    /// `[credentials.NAME]`, secrets fetched.
    pub credentials: Credentials,
    /// `[streams.NAME]`, the defaults of the class filled in.
    pub streams: BTreeMap<StreamName, Arc<Stream>>,
    /// Rules, routes and mailbox providers, compiled.
    pub router: Router,
    /// What `router` was compiled from, for `explain` and comparisons.
    pub router_config: RouterConfig,
    /// `[providers.NAME]`, ready for use. Nothing has been connected to.
    pub providers: BTreeMap<ProviderName, ConfiguredProvider>,
    /// `[delivery]`.
    pub delivery: DeliveryConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[log]`.
    pub log: LogConfig,
}

/// A provider with what the engine keeps to.
pub struct ConfiguredProvider {
    /// Sends, and reads webhooks.
    pub adapter: Adapter,
    /// Limits of the whole account.
    pub limits: Limits,
    /// Its pools that have a table of their own.
    pub pools: BTreeMap<PoolName, ConfiguredPool>,
    /// What a thousand recipients cost, in the operator's currency.
    pub cost_per_thousand: Option<f64>,
}

/// What the engine keeps to for one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfiguredPool {
    /// Limits of this pool, besides the account's.
    pub limits: Limits,
    /// Warm-up of its IPs.
    pub warmup: Option<Warmup>,
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
        let tables = check::Tables::build(raw, clock, &mut faults);
        // What names a table that had to be left out would be blamed for naming nothing.
        if !reading.is_partial() {
            config = tables.join(&mut faults);
        }
        reading.add_faults(faults);
    }
    let report = reading.report();
    let config = config.filter(|_| report.is_good());
    Outcome { config, report }
}
