//! An engine on a store in a temporary directory, with two streams and scripted providers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::clock::{Clock, SystemClock};
use malote_core::credential::{
    BadRecipients, Credential, Credentials, OnFinalFailure, OnForeignFrom, ReceivedDetail,
};
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::intake::{Accepted, Intake};
use malote_core::ledger::{DeliveryView, Ledger, MessageView};
use malote_core::limits::Limits;
use malote_core::message::{Channel, DsnParameters, Recipient, Submission};
use malote_core::name::TargetName;
use malote_core::outlet::Outlet;
use malote_core::provider::Provider;
use malote_core::stream::{
    Class, FailoverPolicy, OnThrottle, OnUnknown, RetryPolicy, Stream, WritePace,
};
use malote_delivery::{Bounds, Engine, Metrics, MxCache, Parts, Policy, ProviderEntry};
use malote_router::{
    CAMPAIGN_BURST_DEFAULT, MailboxProvidersConfig, RouteConfig, Router, RouterConfig,
    RouterCredential, RouterProvider, RouterStream, Strategy, TargetConfig,
};
use malote_store::{Shared, SqliteConfig, SqliteStore};
use prometheus::{Registry, TextEncoder};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::listener::Listener;
use crate::script::Scripted;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// What an engine is configured with: stream `tx` (transactional, prefers no loss) goes to `tx`'s
/// providers in order, stream `news` (campaign, prefers no duplicate) to `news`'s.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) tx: Vec<Arc<Scripted>>,
    pub(crate) news: Vec<Arc<Scripted>>,
    pub(crate) limits: Limits,
    pub(crate) retry_first: Duration,
    pub(crate) on_throttle: OnThrottle,
    pub(crate) bounds: Bounds,
    pub(crate) outlets: Vec<Arc<dyn Outlet>>,
    pub(crate) on_final_failure: OnFinalFailure,
}

impl Setup {
    pub(crate) fn new(tx: &[&Arc<Scripted>], news: &[&Arc<Scripted>]) -> Self {
        let own = |all: &[&Arc<Scripted>], unused| match all {
            [] => vec![Scripted::new(unused)],
            all => all.iter().map(|p| Arc::clone(p)).collect(),
        };
        Self {
            tx: own(tx, "unused-tx"),
            news: own(news, "unused-news"),
            limits: Limits::default(),
            retry_first: Duration::from_millis(100),
            on_throttle: OnThrottle::Next,
            bounds: Bounds::default(),
            outlets: Vec::new(),
            on_final_failure: OnFinalFailure::Event,
        }
    }

    pub(crate) fn outlets(mut self, listeners: &[&Arc<Listener>]) -> Self {
        let outlet = |listener: &&Arc<Listener>| -> Arc<dyn Outlet> { Arc::clone(listener) as _ };
        self.outlets = listeners.iter().map(outlet).collect();
        self
    }

    pub(crate) fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn policy(&self) -> Policy {
        let streams = [
            ("tx", Class::Transactional, OnUnknown::PreferNoLoss),
            ("news", Class::Campaign, OnUnknown::PreferNoDuplicate),
        ]
        .map(|(name, class, on_unknown)| self.stream(name, class, on_unknown));
        let all: BTreeMap<_, _> = self
            .tx
            .iter()
            .chain(&self.news)
            .map(|p| (p.name().parse().unwrap(), Arc::clone(p)))
            .collect();
        let config = RouterConfig {
            rules: Vec::new(),
            routes: [("tx", &self.tx), ("news", &self.news)]
                .into_iter()
                .map(|(name, providers)| (name.parse().unwrap(), route(providers)))
                .collect(),
            streams: streams
                .iter()
                .map(|s| {
                    let (class, route) = (s.class, s.route.clone());
                    (s.name.clone(), RouterStream { class, route })
                })
                .collect(),
            credentials: [("app".parse().unwrap(), router_credential())].into(),
            providers: all
                .iter()
                .map(|(name, p)| {
                    (
                        malote_core::name::ProviderName::clone(name),
                        router_provider(p),
                    )
                })
                .collect(),
            mailbox_providers: MailboxProvidersConfig::default(),
            campaign_burst: CAMPAIGN_BURST_DEFAULT,
        };
        let (router, faults) = Router::compile(&config);
        Policy {
            router: router.unwrap_or_else(|| panic!("{faults:?}")),
            streams: streams.into_iter().map(|s| (s.name.clone(), s)).collect(),
            feedback_ids: BTreeMap::new(),
            providers: all
                .into_iter()
                .map(|(name, p)| (name, self.entry(p)))
                .collect(),
            credentials: Arc::new(Credentials::new([Credential {
                on_final_failure: self.on_final_failure,
                ..credential()
            }])),
            outlets: self.outlets.clone(),
            return_path: None,
            unsubscribe: None,
            bounds: self.bounds.clone(),
        }
    }

    fn stream(&self, name: &str, class: Class, on_unknown: OnUnknown) -> Stream {
        Stream {
            name: name.parse().unwrap(),
            class,
            route: name.parse().unwrap(),
            retry: RetryPolicy {
                first: self.retry_first,
                factor: 2.0,
                max: Duration::from_secs(2),
                give_up_after: Duration::from_secs(3600),
            },
            on_unknown,
            failover: FailoverPolicy {
                transient_after: Duration::ZERO,
                on_throttle: self.on_throttle,
            },
            write_pace: WritePace::default(),
            reply_wait_max: Duration::from_secs(60),
            tracking: malote_core::tracking::Tracking::default(),
            guard: None,
        }
    }

    fn entry(&self, provider: Arc<dyn Provider>) -> ProviderEntry {
        ProviderEntry {
            provider,
            limits: self.limits.clone(),
            pools: BTreeMap::new(),
            tells_events: true,
        }
    }
}

fn route(providers: &[Arc<Scripted>]) -> RouteConfig {
    let target = |provider: &Arc<Scripted>| TargetConfig {
        provider: provider.name().to_owned(),
        pool: None,
        weight: None,
    };
    RouteConfig {
        strategy: Strategy::Failover,
        by: None,
        targets: providers.iter().map(target).collect(),
        fallback: None,
    }
}

fn router_provider(provider: &Arc<Scripted>) -> RouterProvider {
    RouterProvider {
        pools: BTreeSet::from([TargetName::default_pool()]),
        capabilities: provider.capabilities().clone(),
        cost_per_thousand: None,
    }
}

fn router_credential() -> RouterCredential {
    RouterCredential {
        streams: ["tx", "news"].map(|s| s.parse().unwrap()).into(),
        default_stream: None,
    }
}

pub(crate) fn credential() -> Credential {
    Credential {
        name: "app".parse().unwrap(),
        api_key: None,
        smtp_login: None,
        streams: ["tx", "news"].map(|s| s.parse().unwrap()).into(),
        default_stream: None,
        from_domains: Vec::new(),
        on_foreign_from: OnForeignFrom::Reject,
        bad_recipients: BadRecipients::Refuse,
        on_final_failure: OnFinalFailure::Event,
        provider_headers: false,
        received: ReceivedDetail::Brief,
        lenient_headers: false,
    }
}

/// A submission to `stream`.
pub(crate) fn mail(stream: &str, recipients: &[&str]) -> Submission {
    let recipient = |text: &&str| Recipient::new(text.parse().unwrap());
    Submission {
        credential: Arc::new(credential()),
        channel: Channel::Http([127, 0, 0, 1].into()),
        mail_from: Some("bounces@shop.example".parse().unwrap()),
        recipients: recipients.iter().map(recipient).collect(),
        impossible: Vec::new(),
        body: Bytes::from_static(b"From: shop@shop.example\r\nSubject: x\r\n\r\nhi\r\n"),
        stream: Some(stream.parse().unwrap()),
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        send_at: None,
        idempotency: None,
        tracking: malote_core::tracking::Tracking::default(),
        dsn: DsnParameters::default(),
    }
}

/// The machine's clock, and how far a test has moved it on.
pub(crate) struct TestClock {
    machine: SystemClock,
    ahead: Mutex<Duration>,
}

impl TestClock {
    fn start() -> Self {
        Self {
            machine: SystemClock::start(),
            ahead: Mutex::default(),
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = *self.ahead.lock().unwrap();
        self.machine.now().checked_add(ahead).unwrap()
    }
}

/// A running engine.
pub(crate) struct Rig {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: SqliteStore,
    pub(crate) clock: Arc<TestClock>,
    registry: Registry,
    dir: Arc<TempDir>,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Rig {
    pub(crate) async fn start(setup: &Setup) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(dir, Arc::new(TestClock::start()), setup).await
    }

    async fn start_in(dir: Arc<TempDir>, clock: Arc<TestClock>, setup: &Setup) -> Self {
        let registry = Registry::new();
        let config = SqliteConfig::at(dir.path().join("malote.db"));
        let store = SqliteStore::open(config, clock.clone(), &registry).unwrap();
        let engine = Engine::open(Parts {
            spool: Arc::new(store.clone()),
            shared: Arc::new(store.clone()),
            clock: clock.clone(),
            metrics: Metrics::new(&registry).unwrap(),
            mx: MxCache::new(),
            policy: setup.policy(),
        });
        let engine = engine.await.unwrap();
        let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(Arc::clone(&engine).dispatch(shutdown.clone()));
        tasks.spawn(Arc::clone(&engine).tell_outlets(shutdown.clone()));
        Self {
            engine,
            store,
            clock,
            registry,
            dir,
            tasks,
            shutdown,
        }
    }

    /// Does in the background what is done from time to time: counts, checks, expiry.
    pub(crate) fn keep_house(&mut self) {
        let engine = Arc::clone(&self.engine);
        self.tasks.spawn(engine.keep_house(self.shutdown.clone()));
    }

    /// Ends in order, and starts again on the same store.
    pub(crate) async fn restart(mut self, setup: &Setup) -> Self {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.engine.close().await;
        self.store.close().await;
        Self::start_in(self.dir, self.clock, setup).await
    }

    /// Ends as a killed process does: nothing under way is settled. Starts again.
    pub(crate) async fn crash(mut self, setup: &Setup) -> Self {
        self.tasks.shutdown().await;
        self.store.close().await;
        Self::start_in(self.dir, self.clock, setup).await
    }

    /// What Prometheus would read.
    pub(crate) fn metrics(&self) -> String {
        let text = TextEncoder::new();
        text.encode_to_string(&self.registry.gather()).unwrap()
    }

    /// How many alerts of this kind there were.
    pub(crate) fn alerts(&self, kind: &str) -> u64 {
        let text = self.metrics();
        let label = format!("kind=\"{kind}\"");
        let own = text
            .lines()
            .filter(|line| line.starts_with("malote_alerts_total") && line.contains(&label));
        let counts = own.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        counts.sum()
    }

    pub(crate) async fn submit(&self, submission: Submission) -> Accepted {
        self.engine.accept(submission).await.unwrap()
    }

    /// Submits to one recipient each.
    pub(crate) async fn submit_many(&self, stream: &str, count: usize) -> Vec<MessageId> {
        let mut ids = Vec::with_capacity(count);
        for n in 0..count {
            let recipient = format!("r{n}@x.example");
            ids.push(self.submit(mail(stream, &[&recipient])).await.id);
        }
        ids
    }

    pub(crate) async fn view(&self, id: MessageId) -> MessageView {
        self.engine.message(id, None).await.unwrap().unwrap()
    }

    /// Waits until every delivery of a message is in this state.
    pub(crate) async fn wait_for(&self, id: MessageId, state: State) -> MessageView {
        let is_there = |view: &MessageView| view.deliveries.iter().all(|d| d.state == state);
        let started = Instant::now();
        loop {
            let view = self.view(id).await;
            if is_there(&view) {
                return view;
            }
            assert!(started.elapsed() < DEADLINE, "not {state:?}: {view:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn wait_for_all(&self, ids: &[MessageId], state: State) {
        for id in ids {
            self.wait_for(*id, state).await;
        }
    }

    /// How many of these messages are in this state.
    pub(crate) async fn count(&self, ids: &[MessageId], state: State) -> usize {
        let mut count = 0;
        for id in ids {
            let view = self.view(*id).await;
            count += view.deliveries.iter().filter(|d| d.state == state).count();
        }
        count
    }

    /// Whether the target of this provider is up, and its breaker's word.
    pub(crate) fn target(&self, provider: &Scripted) -> (bool, &'static str) {
        let name = format!("{}/default", provider.name());
        let all = self.engine.targets();
        let target = all.iter().find(|t| t.target == name).unwrap();
        (target.is_up, target.breaker)
    }

    /// What counters or gauges of this name, or observations of a histogram, add up to where a label
    /// has this value.
    pub(crate) fn counted(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let is_meant = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|own| own.value() == label)
        };
        let count = |metric: &prometheus::proto::Metric| {
            let observed = u32::try_from(metric.get_histogram().get_sample_count());
            f64::from(observed.unwrap())
                + metric.get_counter().get_value()
                + metric.get_gauge().get_value()
        };
        metrics.iter().filter(is_meant).map(count).sum()
    }

    pub(crate) async fn is_suppressed(&self, address: &str, stream: &str, class: Class) -> bool {
        let policy = self.engine.policy();
        let scopes = policy.scopes_of(&stream.parse().unwrap(), class);
        let now = malote_core::clock::Clock::now(&SystemClock::start());
        let addresses = [address.parse().unwrap()];
        let found = self.store.suppressed(&addresses, &scopes, now);
        found.await.unwrap()[0].is_some()
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "never so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The outcomes of a delivery's attempts, as `provider: outcome`.
pub(crate) fn outcomes(delivery: &DeliveryView) -> Vec<String> {
    let attempts = delivery.attempts.iter();
    let outcome =
        attempts.map(|a| format!("{}: {}", a.provider, a.outcome.clone().unwrap_or_default()));
    outcome.collect()
}

/// The words of a delivery's events.
pub(crate) fn events(delivery: &DeliveryView) -> Vec<&str> {
    delivery
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect()
}
