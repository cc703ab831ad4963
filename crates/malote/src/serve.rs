//! `malote serve`: opens the store, starts the engine and the doors, and ends them in order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use malote_core::clock::{Clock, SystemClock};
use malote_core::credential::{CredentialsInForce, OperatorInForce};
use malote_delivery::{Engine, Metrics, MxCache, Parts};
use malote_ingress::ReloadingCertificate;
use malote_ingress::http::{self, HttpConfig, HttpMetrics, HttpPorts, HttpState, WebhookParsers};
use malote_ingress::smtp::{self, ReturnPorts, SmtpConfig, SmtpMetrics, SmtpService};
use malote_providers::MailReader;
use prometheus::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState};
use crate::config::{self, Admin, Config, Fingerprint};
use crate::listeners::Handed;
use crate::logging::Logging;
use crate::nodes::{DigestInForce, Membership, NodeMetrics};
use crate::place::{SharedPlace, StorePlace, open_shared};
use crate::reload::{Asked, ReloadMetrics, Reloading, parsers_in_force};
use crate::wiring::{Adapters, in_force};

/// Exit code of a configuration that cannot be used.
const EXIT_BAD_CONFIG: u8 = 2;
/// How long doors may take to close, besides what each allows its own peers.
const CLOSE_MAX: Duration = Duration::from_secs(60);

/// The parts of a running gateway that its doors share.
struct Gateway {
    engine: Arc<Engine>,
    store: StorePlace,
    shared: SharedPlace,
    registry: Registry,
    credentials: CredentialsInForce,
    operator: OperatorInForce,
    parsers: WebhookParsers,
    clock: Arc<dyn Clock>,
    digest: DigestInForce,
    certificates: Vec<Arc<ReloadingCertificate>>,
}

/// Runs the gateway until SIGTERM or SIGINT. A second signal ends it at once; nothing accepted is
/// lost either way.
///
/// # Errors
/// If the store, a door or the log cannot be opened. A configuration that cannot be used is
/// reported on standard error and ends with exit code 2.
pub async fn run(files: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let outcome = config::read(&files, std::env::vars_os(), &clock);
    if !outcome.report.faults.is_empty() {
        eprintln!("{}", outcome.report);
    }
    let Some(config) = outcome.config else {
        return Ok(ExitCode::from(EXIT_BAD_CONFIG));
    };
    let logging = Logging::start(&config.log)?;
    let registry = Registry::new();
    logging.register(&registry)?;
    let result = serve(config, files, clock, registry).await;
    if let Err(error) = &result {
        tracing::error!(error = format!("{error:#}"), "could not serve");
    }
    logging.finish();
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    config: Config,
    files: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
    registry: Registry,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    register_process(&registry)?;
    let (http, smtp) = (config.http.clone(), config.smtp.clone());
    let Admin { listen, token } = config.admin.clone();
    let mut sockets = Handed::take().context("sockets handed over by the service manager")?;
    let store = StorePlace::open(&config, &clock, &registry).await?;
    let shared = open_shared(&config, &store, &clock, &registry).await?;
    let node = config.node_name();
    let digest = Arc::new(ArcSwap::from_pointee(config.digests.of_nodes.clone()));
    let at_start = config.digests.at_start.clone();
    let in_force = in_force(config, &Adapters::new());
    let parsers = parsers_in_force(&in_force);
    let credentials: CredentialsInForce = Arc::new(ArcSwap::new(Arc::clone(&in_force.credentials)));
    let engine = Engine::open(Parts {
        spool: store.spool(),
        shared: shared.as_port(&store),
        clock: Arc::clone(&clock),
        metrics: Metrics::new(&registry)?,
        mx: MxCache::new(),
        policy: in_force.policy,
    })
    .await
    .context("engine")?;
    let mut gateway = Gateway {
        engine,
        store,
        shared,
        registry,
        credentials,
        operator: Arc::new(ArcSwapOption::new(token.map(Arc::new))),
        parsers,
        clock,
        digest,
        certificates: Vec::new(),
    };
    let (doors_close, engine_stops) = (CancellationToken::new(), CancellationToken::new());
    let mut doors = JoinSet::new();
    // Before anybody can see that it is up.
    let asked = Asked::by(&files)?;
    if let Some(http) = http {
        gateway.open_http(http, &mut sockets, &mut doors, &doors_close)?;
    }
    gateway.open_smtp(&smtp, &mut sockets, &mut doors, &doors_close)?;
    let admin = (listen, node.clone());
    gateway.open_admin(&admin, &mut sockets, &mut doors, &engine_stops)?;
    for address in sockets.left() {
        tracing::warn!(%address, "a socket was handed over that the configuration does not name");
    }
    let membership = gateway.membership(node)?.keep(engine_stops.clone());
    let mut engine_tasks = gateway.start_engine(&engine_stops);
    engine_tasks.spawn(membership);
    let reloading = gateway.reloading(files, listen, (in_force.adapters, at_start))?;
    doors.spawn(reloading.run(asked, doors_close.clone()));
    tell_service_manager(&[sd_notify::NotifyState::Ready]);
    tracing::info!("serving");

    let ended_early = signals.wait_or(&mut doors, &mut engine_tasks).await;
    tell_service_manager(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping: doors close, then calls under way end");
    gateway.engine.drain();
    doors_close.cancel();
    let running = Running {
        gateway,
        doors,
        engine_tasks,
        engine_stops,
    };
    running.stop(&mut signals).await;
    ended_early
}

/// A gateway that is being stopped.
struct Running {
    gateway: Gateway,
    doors: JoinSet<anyhow::Result<()>>,
    engine_tasks: JoinSet<()>,
    engine_stops: CancellationToken,
}

impl Running {
    /// Waits for the doors, then for the engine, then closes the store; or less, if told so again.
    async fn stop(mut self, signals: &mut Signals) {
        let most = CLOSE_MAX + self.gateway.engine.policy().bounds.drain_max;
        let ordered = async {
            // The admin door stays open until the engine has stopped, so that one can watch it.
            while self.doors.len() > 1 && self.doors.join_next().await.is_some() {}
            self.engine_stops.cancel();
            while self.engine_tasks.join_next().await.is_some() {}
            while self.doors.join_next().await.is_some() {}
            self.gateway.engine.close().await;
            self.gateway.shared.close();
            self.gateway.store.close().await;
        };
        tokio::select! {
            () = ordered => tracing::info!("stopped"),
            () = signals.again() => tracing::warn!("stopped at once by a second signal"),
            () = tokio::time::sleep(most) => tracing::warn!("stopped without waiting any longer"),
        }
    }
}

impl Gateway {
    fn open_http(
        &mut self,
        config: HttpConfig,
        sockets: &mut Handed,
        doors: &mut JoinSet<anyhow::Result<()>>,
        close: &CancellationToken,
    ) -> anyhow::Result<()> {
        let listener = sockets.listen(config.listen).context("[http] listen")?;
        let tls = match &config.tls {
            Some(files) => Some(self.certificate(files)?),
            None => None,
        };
        let ports = HttpPorts {
            intake: self.engine.clone(),
            openness: self.engine.openness(),
            ledger: self.engine.clone(),
            suppressions: self.engine.clone(),
            sink: self.engine.clone(),
            subscriptions: self.engine.clone(),
            parsers: Arc::clone(&self.parsers),
            credentials: Arc::clone(&self.credentials),
            operator: Arc::clone(&self.operator),
            clock: Arc::clone(&self.clock),
        };
        let metrics = HttpMetrics::new(&self.registry)?;
        let state = Arc::new(HttpState::new(ports, config, metrics));
        let close = close.clone();
        doors.spawn(async move { Ok(http::serve(listener, tls, state, close).await?) });
        Ok(())
    }

    fn open_smtp(
        &mut self,
        config: &SmtpConfig,
        sockets: &mut Handed,
        doors: &mut JoinSet<anyhow::Result<()>>,
        close: &CancellationToken,
    ) -> anyhow::Result<()> {
        if config.listeners.is_empty() {
            return Ok(());
        }
        let service = SmtpService::new(
            config.settings(),
            self.engine.clone(),
            Arc::clone(&self.credentials),
            Arc::clone(&self.clock),
            SmtpMetrics::new(&self.registry)?,
        );
        let service = service.with_openness(self.engine.openness());
        let service = Arc::new(service.with_returns(ReturnPorts {
            returns: self.engine.clone(),
            reader: Arc::new(MailReader),
        }));
        for listener in &config.listeners {
            let at = || format!("[[smtp.listeners]] {}", listener.listen);
            let listener = listener.open().with_context(at)?;
            self.certificates.extend(listener.certificate().cloned());
            let socket = sockets.listen(listener.address()).with_context(at)?;
            let (service, close) = (Arc::clone(&service), close.clone());
            doors.spawn(async move {
                smtp::serve(socket, listener, service, close).await;
                Ok(())
            });
        }
        Ok(())
    }

    fn open_admin(
        &self,
        (listen, node): &(SocketAddr, String),
        sockets: &mut Handed,
        doors: &mut JoinSet<anyhow::Result<()>>,
        close: &CancellationToken,
    ) -> anyhow::Result<()> {
        let listener = sockets.listen(*listen).context("[admin] listen")?;
        let state = AdminState {
            engine: Arc::clone(&self.engine),
            store: self.store.clone(),
            node: node.clone(),
            registry: self.registry.clone(),
            token: Arc::clone(&self.operator),
            clock: Arc::clone(&self.clock),
        };
        doors.spawn(admin::serve(listener, state, close.clone()));
        Ok(())
    }

    fn certificate(&mut self, files: &http::TlsFiles) -> anyhow::Result<Arc<ReloadingCertificate>> {
        let certificate =
            ReloadingCertificate::load(&files.cert_file, &files.key_file, &[b"h2", b"http/1.1"])
                .context("[http.tls]")?;
        let certificate = Arc::new(certificate);
        self.certificates.push(Arc::clone(&certificate));
        Ok(certificate)
    }

    fn start_engine(&self, stops: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self.engine).dispatch(stops.clone()));
        tasks.spawn(Arc::clone(&self.engine).keep_house(stops.clone()));
        tasks.spawn(Arc::clone(&self.engine).tell_outlets(stops.clone()));
        tasks
    }

    fn membership(&self, name: String) -> anyhow::Result<Membership> {
        Ok(Membership {
            engine: Arc::clone(&self.engine),
            name,
            digest: Arc::clone(&self.digest),
            metrics: NodeMetrics::new(&self.registry)?,
        })
    }

    fn reloading(
        &self,
        files: Vec<PathBuf>,
        admin: SocketAddr,
        (adapters, at_start): (Adapters, BTreeMap<String, Fingerprint>),
    ) -> anyhow::Result<Reloading> {
        Ok(Reloading {
            files,
            clock: Arc::clone(&self.clock),
            engine: Arc::clone(&self.engine),
            credentials: Arc::clone(&self.credentials),
            operator: Arc::clone(&self.operator),
            admin,
            adapters,
            parsers: Arc::clone(&self.parsers),
            certificates: self.certificates.clone(),
            digest: Arc::clone(&self.digest),
            at_start,
            metrics: ReloadMetrics::new(&self.registry)?,
        })
    }
}

/// Memory, descriptors and CPU of the process, as Prometheus names them.
fn register_process(registry: &Registry) -> anyhow::Result<()> {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    Ok(registry.register(Box::new(process))?)
}

/// Says how the service does, if a service manager listens.
fn tell_service_manager(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "no service manager was told");
    }
}

/// The signals that end the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal, or for a door or a part of the engine that ended by itself, which none
    /// should: a service manager's restart is better than a gateway that takes mail and sends none.
    async fn wait_or(
        &mut self,
        doors: &mut JoinSet<anyhow::Result<()>>,
        engine_tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = self.again() => Ok(()),
            Some(_) = engine_tasks.join_next() => anyhow::bail!("the engine ended by itself"),
            Some(ended) = doors.join_next() => match ended {
                Ok(Ok(())) => anyhow::bail!("a door closed by itself"),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(error.into()),
            },
        }
    }
}
