//! Another configuration while running: by SIGHUP or when a file changes, wholly or not at all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use malote_core::clock::Clock;
use malote_core::credential::{CredentialsInForce, OperatorInForce};
use malote_core::fault::Severity;
use malote_delivery::Engine;
use malote_ingress::ReloadingCertificate;
use malote_ingress::http::WebhookParsers;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Admin, Fingerprint, Report};
use crate::nodes::DigestInForce;
use crate::watch::Watch;
use crate::wiring::{Adapters, InForce, in_force};

/// Quiet time after a change before the files are read: editors write in several steps, and a
/// flood of signals is one reload.
const SETTLE: Duration = Duration::from_millis(300);

/// Everything that a reload replaces.
pub(crate) struct Reloading {
    /// The files, in their order.
    pub(crate) files: Vec<PathBuf>,
    /// For adapters.
    pub(crate) clock: Arc<dyn Clock>,
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    /// Who may submit.
    pub(crate) credentials: CredentialsInForce,
    /// What operators must present.
    pub(crate) operator: OperatorInForce,
    /// Where they do: the door stays there.
    pub(crate) admin: SocketAddr,
    /// The adapters in force.
    pub(crate) adapters: Adapters,
    /// Webhook parsers.
    pub(crate) parsers: WebhookParsers,
    /// Certificates, read again with every reload.
    pub(crate) certificates: Vec<Arc<ReloadingCertificate>>,
    /// What nodes compare.
    pub(crate) digest: DigestInForce,
    /// What only a start puts in force, as it was then.
    pub(crate) at_start: BTreeMap<String, Fingerprint>,
    /// What is counted.
    pub(crate) metrics: ReloadMetrics,
}

/// What reloads count.
#[derive(Clone)]
pub(crate) struct ReloadMetrics {
    reloads: IntCounterVec,
    failed: IntGauge,
}

impl ReloadMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "malote_config_reloads_total",
            "Reloads of the configuration",
        );
        let reloads = IntCounterVec::new(opts, &["result"])?;
        let failed = IntGauge::new(
            "malote_config_reload_failed",
            "1 while the files on disk cannot be put in force",
        )?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(failed.clone()))?;
        Ok(Self { reloads, failed })
    }
}

/// What asks for a reload. It listens from its making on: a SIGHUP that comes before would end the
/// process.
pub(crate) struct Asked {
    hangups: Signal,
    changes: mpsc::Receiver<()>,
    watch: Watch,
}

impl Asked {
    /// Listens to SIGHUP and to changes of these files.
    pub(crate) fn by(files: &[PathBuf]) -> std::io::Result<Self> {
        let (changed, changes) = mpsc::channel(1);
        Ok(Self {
            hangups: signal(SignalKind::hangup())?,
            changes,
            watch: Watch::over(files, changed),
        })
    }
}

impl Reloading {
    /// Reloads whenever asked to, until `shutdown`.
    pub(crate) async fn run(
        mut self,
        mut asked: Asked,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                Some(()) = asked.hangups.recv() => {}
                Some(()) = asked.changes.recv() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            tokio::time::sleep(SETTLE).await;
            // Before the files are read: what changes from here on asks for another reload.
            asked.watch.renew();
            while asked.changes.try_recv().is_ok() {}
            self.reload();
        }
    }

    fn reload(&mut self) {
        let outcome = config::read(&self.files, std::env::vars_os(), &self.clock);
        let Some(config) = outcome.config else {
            self.say_refused(&outcome.report);
            self.metrics.reloads.with_label_values(&["refused"]).inc();
            self.metrics.failed.set(1);
            return;
        };
        self.digest.store(Arc::new(config.digests.of_nodes.clone()));
        self.say_left(&config.digests.at_start);
        self.put_operator(&config.admin);
        let InForce {
            policy,
            credentials,
            parsers,
            adapters,
        } = in_force(config, &self.adapters);
        self.adapters = adapters;
        self.credentials.store(credentials);
        self.parsers.store(Arc::new(parsers));
        self.engine.reload(policy);
        for certificate in &self.certificates {
            if let Err(error) = certificate.reload() {
                tracing::error!(%error, "kept a certificate: the files on disk are not good");
            }
        }
        self.metrics.reloads.with_label_values(&["done"]).inc();
        self.metrics.failed.set(0);
        tracing::info!("put the configuration on disk in force");
    }

    /// One event for each error; the warnings of the whole file would hide them.
    fn say_refused(&self, report: &Report) {
        let faults = report.faults.iter();
        for fault in faults.filter(|fault| fault.severity == Severity::Error) {
            let place = fault.location.as_ref().map(ToString::to_string);
            tracing::error!(
                place,
                key = fault.key,
                error = fault.message,
                "refused a configuration"
            );
        }
        tracing::error!(
            "kept the configuration in force: `malote check` shows what is wrong with the files on disk"
        );
    }

    /// Warns of what this reload could not put in force.
    fn say_left(&self, at_start: &BTreeMap<String, Fingerprint>) {
        for (name, _) in at_start
            .iter()
            .filter(|(name, now)| self.at_start.get(*name) != Some(*now))
        {
            tracing::warn!("{name} differs from what is in force: a restart puts it in force");
        }
    }

    /// A file without a token is good for a door on loopback. The door that is open may be elsewhere.
    fn put_operator(&self, admin: &Admin) {
        if admin.token.is_none() && !config::is_loopback(self.admin) {
            tracing::error!(
                listen = %self.admin,
                "kept the admin token: without one this door may only be on loopback; restart"
            );
            return;
        }
        self.operator.store(admin.token.clone().map(Arc::new));
    }
}

/// The parsers of a configuration, ready to be replaced.
pub(crate) fn parsers_in_force(in_force: &InForce) -> WebhookParsers {
    Arc::new(ArcSwap::from_pointee(in_force.parsers.clone()))
}
