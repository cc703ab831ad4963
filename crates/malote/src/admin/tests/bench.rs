//! A gateway without its other doors.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, SystemClock};
use malote_core::id::MessageId;
use malote_core::intake::Intake;
use malote_core::message::{Channel, DsnParameters, Recipient, Submission};
use malote_core::secret::Secret;
use malote_delivery::{Engine, Metrics, MxCache, Parts};
use malote_store::SqliteStore;
use prometheus::Registry;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminState, serve};
use crate::config::{self, Config};
use crate::place::StorePlace;
use crate::wiring::{Adapters, in_force};

/// How long anything may take here.
const WAIT_MAX: Duration = Duration::from_secs(20);

const CONFIG: &str = "
[admin]
listen = '127.0.0.1:18081'
[http]
listen = '127.0.0.1:18080'
[store.sqlite]
path = '{dir}/malote.db'
[credentials.shop]
api_key = 'mk_test_shop'
streams = ['transactional', 'news']
default_stream = 'transactional'
[streams.transactional]
class = 'transactional'
route = 'transactional'
[streams.news]
class = 'campaign'
route = 'news'
[routes.transactional]
strategy = 'failover'
targets = [{ provider = 'dev' }]
[routes.news]
strategy = 'failover'
targets = [{ provider = 'dev', pool = 'news' }]
[providers.dev.capture]
[providers.dev.pools.news]
[mailbox_providers]
mx_lookup = false
";

/// A gateway that listens for operators only.
pub(super) struct Bench {
    pub(super) dir: TempDir,
    pub(super) engine: Arc<Engine>,
    pub(super) store: SqliteStore,
    address: SocketAddr,
    token: Option<&'static str>,
    http: reqwest::Client,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Bench {
    /// Starts one; with a token if one is given.
    pub(super) async fn start(token: Option<&'static str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let config = configured(dir.path(), CONFIG, &clock);
        let registry = Registry::new();
        let store = config.store.sqlite().unwrap().clone();
        let store = SqliteStore::open(store, Arc::clone(&clock), &registry).unwrap();
        let engine = Engine::open(Parts {
            spool: Arc::new(store.clone()),
            shared: Arc::new(store.clone()),
            clock: Arc::clone(&clock),
            metrics: Metrics::new(&registry).unwrap(),
            mx: MxCache::new(),
            policy: in_force(config, &Adapters::new()).policy,
        })
        .await
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let state = AdminState {
            engine: Arc::clone(&engine),
            store: StorePlace::Sqlite(store.clone()),
            node: "bench".to_owned(),
            registry,
            token: Arc::new(ArcSwapOption::new(
                token.map(|token| Arc::new(Secret::new(token))),
            )),
            clock,
        };
        let mut tasks = JoinSet::new();
        let door = serve(listener, state, shutdown.clone());
        tasks.spawn(async move { door.await.unwrap() });
        Self {
            dir,
            engine,
            store,
            address,
            token,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(WAIT_MAX)
                .build()
                .unwrap(),
            shutdown,
            tasks,
        }
    }

    /// Takes the stream `news` and its route out of the configuration.
    pub(super) fn remove_news(&self) {
        let (stream, route) = (
            "[streams.news]\nclass = 'campaign'\nroute = 'news'\n",
            "[routes.news]\nstrategy = 'failover'\n\
             targets = [{ provider = 'dev', pool = 'news' }]\n",
        );
        let text = CONFIG.replace(stream, "").replace(route, "");
        let text = text.replace("['transactional', 'news']", "['transactional']");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let config = configured(self.dir.path(), &text, &clock);
        self.engine
            .reload(in_force(config, &Adapters::new()).policy);
    }

    /// Lets mail leave.
    pub(super) fn dispatch(&mut self) {
        let dispatching = Arc::clone(&self.engine).dispatch(self.shutdown.clone());
        self.tasks.spawn(dispatching);
    }

    /// Takes a message in.
    pub(super) async fn accept(&self, to: &[&str], stream: &str, subject: &str) -> MessageId {
        let credential = self
            .engine
            .policy()
            .credentials
            .get(&"shop".try_into().unwrap())
            .cloned();
        let address = |text: &&str| EmailAddress::parse(text).unwrap();
        let body = format!(
            "From: shop@shop.example\r\nTo: undisclosed:;\r\nSubject: {subject}\r\n\r\n\
             <script>alert(1)</script>\r\n"
        );
        let submission = Submission {
            credential: credential.unwrap(),
            channel: Channel::Http(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            mail_from: Some(address(&"shop@shop.example")),
            recipients: to.iter().map(address).map(Recipient::new).collect(),
            impossible: Vec::new(),
            body: body.into(),
            stream: Some(stream.try_into().unwrap()),
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            send_at: None,
            idempotency: None,
            tracking: malote_core::tracking::Tracking::default(),
            dsn: DsnParameters::default(),
        };
        self.engine.accept(submission).await.unwrap().id
    }

    /// A request with the token, if there is one.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.bare(method, path);
        match self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request without token.
    pub(super) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.address))
    }

    /// The JSON that a path of the operators answers.
    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        json(self.request(Method::GET, &format!("/admin/v1/{path}"))).await
    }

    /// The JSON that a path of the operators answers to this body.
    pub(super) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        json(
            self.request(Method::POST, &format!("/admin/v1/{path}"))
                .json(&body),
        )
        .await
    }

    /// The text at a path.
    pub(super) async fn text(&self, path: &str) -> (StatusCode, String) {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// Waits until every delivery of the message is in this state.
    pub(super) async fn until(&self, id: MessageId, state: &str) -> Value {
        let waiting = async {
            loop {
                let (_, view) = self.get(&format!("messages/{id}")).await;
                let deliveries = view["deliveries"].as_array().unwrap();
                if deliveries.iter().all(|delivery| delivery["state"] == state) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, waiting).await.unwrap()
    }

    /// Stops it.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.store.close().await;
    }
}

fn configured(dir: &Path, text: &str, clock: &Arc<dyn Clock>) -> Config {
    let file = dir.join("malote.toml");
    std::fs::write(&file, text.replace("{dir}", dir.to_str().unwrap())).unwrap();
    let outcome = config::read(&[file], [], clock);
    let report = outcome.report;
    outcome.config.unwrap_or_else(|| panic!("{report}"))
}

async fn json(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}
