//! Fetching over real TLS from hosts that misbehave, and how long what was fetched is kept.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use malote_core::clock::Clock;
use malote_core::secret::Secret;
use malote_core::webhook::{WebhookParser, WebhookRequest};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::ses::tests::webhooks::{SIGNED_V2, TOPIC, request};
use crate::ses::webhook::SnsWebhook;

const HOST: &str = "sns.us-east-1.amazonaws.com";
const FILE: &str = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
const PEM: &[u8] = include_bytes!("../../../testdata/sns_certificate_2026.pem");

/// What the host does once it has read a request.
#[derive(Clone, Copy)]
enum Act {
    /// Answers with the certificate.
    Serve,
    /// Says nothing.
    Hang,
    /// An octet now and then, without end.
    Drip,
    /// Sends us to the ear.
    Redirect,
    /// Announces 1 GiB and sends as much of it as is taken.
    Gibibyte,
    /// The same without a length.
    Endless,
}

/// The host, and an ear that nobody must be sent to.
struct Host {
    web: PublicWeb,
    address: SocketAddr,
    /// Requests read.
    asked: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
    _served: JoinSet<()>,
}

impl Host {
    async fn start(act: Act) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ear = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, elsewhere) = (listener.local_addr().unwrap(), ear.local_addr().unwrap());
        let (asked, heard) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut served = JoinSet::new();
        let play = Play {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            act,
            elsewhere,
            asked: Arc::clone(&asked),
        };
        served.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play.clone().run(stream));
            }
        });
        let visit = Arc::clone(&heard);
        served.spawn(async move {
            while ear.accept().await.is_ok() {
                visit.fetch_add(1, Ordering::SeqCst);
            }
        });
        let authority = reqwest::Certificate::from_der(cert.der()).unwrap();
        Self {
            web: PublicWeb {
                client: client_of(authority, address),
            },
            address,
            asked,
            heard,
            _served: served,
        }
    }

    async fn get(&self) -> Result<Bytes, FetchFault> {
        let url = format!("https://{HOST}/{FILE}");
        let get = self.web.get(&url, CERTIFICATE_BYTES_MAX);
        let ended = tokio::time::timeout(4 * FETCH_WAIT_MAX, get).await;
        ended.expect("a fetch ends by itself")
    }
}

/// A client that believes this authority and is led to this address.
fn client_of(authority: reqwest::Certificate, address: SocketAddr) -> Client {
    client_builder()
        .https_only(true)
        .tls_certs_only([authority])
        .resolve(HOST, address)
        .build()
        .unwrap()
}

/// One connection's part.
#[derive(Clone)]
struct Play {
    acceptor: TlsAcceptor,
    act: Act,
    elsewhere: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Play {
    async fn run(self, stream: TcpStream) -> Option<()> {
        let mut stream = self.acceptor.accept(stream).await.ok()?;
        if stream.read(&mut [0; 4096]).await.ok()? == 0 {
            return None;
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let ear = self.elsewhere;
        let ok = "HTTP/1.1 200 OK\r\n";
        match self.act {
            Act::Serve => {
                let header = format!("{ok}Content-Length: {}\r\n\r\n", PEM.len());
                stream.write_all(header.as_bytes()).await.ok()?;
                stream.write_all(PEM).await.ok()?;
            }
            Act::Hang => {}
            Act::Drip => {
                let header = format!("{ok}Content-Length: 1000\r\n\r\n");
                stream.write_all(header.as_bytes()).await.ok()?;
                loop {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    stream.write_all(b"-").await.ok()?;
                    stream.flush().await.ok()?;
                }
            }
            Act::Redirect => {
                let header = format!(
                    "HTTP/1.1 302 Found\r\nLocation: https://{ear}/{FILE}\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(header.as_bytes()).await.ok()?;
            }
            Act::Gibibyte => {
                let header = format!("{ok}Content-Length: {}\r\n\r\n", 1_u64 << 30);
                stream.write_all(header.as_bytes()).await.ok()?;
                pour(&mut stream).await?;
            }
            Act::Endless => {
                let header = format!("{ok}Connection: close\r\n\r\n");
                stream.write_all(header.as_bytes()).await.ok()?;
                pour(&mut stream).await?;
            }
        }
        stream.flush().await.ok()?;
        std::future::pending().await
    }
}

async fn pour(stream: &mut TlsStream<TcpStream>) -> Option<()> {
    let chunk = vec![b'-'; 64 << 10];
    for _ in 0..(1_u64 << 30) / (64 << 10) {
        stream.write_all(&chunk).await.ok()?;
    }
    Some(())
}

#[tokio::test]
async fn a_certificate_comes_whole_over_tls() {
    let host = Host::start(Act::Serve).await;
    assert_eq!(host.get().await, Ok(Bytes::from_static(PEM)));
}

#[tokio::test]
async fn a_gibibyte_is_not_read_and_a_redirect_is_not_followed() {
    for (act, fault) in [
        (Act::Gibibyte, FetchFault::NotWhole),
        (Act::Endless, FetchFault::NotWhole),
        (Act::Redirect, FetchFault::Status(302)),
    ] {
        let host = Host::start(act).await;
        assert_eq!(host.get().await, Err(fault));
        assert_eq!(host.asked.load(Ordering::SeqCst), 1);
        assert_eq!(
            host.heard.load(Ordering::SeqCst),
            0,
            "nobody else is called"
        );
    }
}

#[tokio::test]
async fn a_host_that_hangs_or_drips_is_given_up() {
    let (hangs, drips) = (Host::start(Act::Hang).await, Host::start(Act::Drip).await);
    let started = Instant::now();
    let (one, two) = tokio::join!(hangs.get(), drips.get());
    let timed_out = Err(FetchFault::Unreachable("timed out".to_owned()));
    assert_eq!((&one, &two), (&timed_out, &timed_out));
    assert!(started.elapsed() >= FETCH_WAIT_MAX);
}

/// The webhook of this provider, which fetches over the host's own sockets.
fn webhook(
    host: Host,
) -> (
    SnsWebhook,
    Arc<SteppedClock>,
    [Arc<AtomicUsize>; 2],
    JoinSet<()>,
) {
    let Host {
        web,
        asked,
        heard,
        _served,
        ..
    } = host;
    let web: Arc<dyn Web> = Arc::new(web);
    let clock = Arc::new(SteppedClock(Mutex::new(
        "2026-12-01T00:00:00Z".parse().unwrap(),
    )));
    let webhook = SnsWebhook {
        name: "ses".parse().unwrap(),
        topics: vec![Topic::parse(TOPIC).unwrap()],
        allow_sha1: true,
        certificates: Certificates::new(None, Arc::clone(&web)),
        web,
        clock: Arc::clone(&clock) as _,
        has_warned_of_sha1: AtomicBool::new(false),
        secret: None,
    };
    (webhook, clock, [asked, heard], _served)
}

/// A clock that goes when it is told to.
struct SteppedClock(Mutex<Timestamp>);

impl SteppedClock {
    fn step(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(by).unwrap();
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[tokio::test]
async fn posts_wait_for_one_fetch_and_one_that_failed_is_not_made_again_at_once() {
    let acts = [Act::Redirect, Act::Gibibyte, Act::Hang];
    let each = acts.map(|act| async move {
        let (webhook, clock, [asked, heard], _served) = webhook(Host::start(act).await);
        let post = request(SIGNED_V2, &[]);
        let posts = async || {
            let answers = join_all((0..50).map(|_| webhook.parse(&post))).await;
            for answer in answers {
                let is_for_later = matches!(answer, Err(WebhookRefusal::Unavailable(_)));
                assert!(is_for_later, "nothing is believed, and it may come again");
            }
        };
        let started = Instant::now();
        posts().await;
        assert!(
            started.elapsed() < 3 * FETCH_WAIT_MAX,
            "the others do not wait"
        );
        clock.step(FAILED_KEPT - SignedDuration::from_secs(1));
        posts().await;
        assert_eq!(asked.load(Ordering::SeqCst), 1, "one fetch, remembered");
        clock.step(SignedDuration::from_secs(1));
        posts().await;
        assert_eq!(asked.load(Ordering::SeqCst), 2, "and not for ever");
        assert_eq!(heard.load(Ordering::SeqCst), 0, "nobody else is called");
    });
    join_all(each).await;
}

/// A place that nobody has a certificate at.
fn made_up(number: u32) -> String {
    format!("https://{HOST}/SimpleNotificationService-{number:032x}.pem")
}

#[tokio::test]
async fn made_up_places_cost_a_call_a_minute_and_no_known_one_its_renewal() {
    let web = Arc::new(Picky::default());
    let certificates = Certificates::new(None, Arc::clone(&web) as _);
    let topic = Topic::parse(TOPIC).unwrap();
    let good = format!("https://{HOST}/{FILE}");
    let from: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let calls = || web.0.load(Ordering::SeqCst);
    assert!(certificates.of(&good, &topic, from).await.is_ok());
    let later = from.checked_add(KEPT_MAX).unwrap();
    for number in 0..1_000 {
        let refused = certificates.of(&made_up(number), &topic, later).await;
        assert!(matches!(refused, Err(WebhookRefusal::Unavailable(_))));
    }
    assert_eq!(calls(), 1 + 1);
    assert!(certificates.of(&good, &topic, later).await.is_ok());
    assert_eq!(calls(), 2 + 1);
    // The rests: 10, 20, 40 and from then on 60 seconds.
    for second in 1..3_600_u32 {
        let now = later.checked_add(SignedDuration::from_secs(second.into()));
        let refused = certificates
            .of(&made_up(second), &topic, now.unwrap())
            .await;
        assert!(refused.is_err());
    }
    assert_eq!(calls(), 3 + 3 + (3_600 - 70) / 60);
}

#[tokio::test]
async fn a_new_certificate_is_asked_for_within_a_minute_of_made_up_places() {
    let web = Arc::new(Picky::default());
    let certificates = Certificates::new(None, Arc::clone(&web) as _);
    let topic = Topic::parse(TOPIC).unwrap();
    let good = format!("https://{HOST}/{FILE}");
    let mut now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    for number in 0..100 {
        let refused = certificates.of(&made_up(number), &topic, now).await;
        assert!(refused.is_err());
        now = now.checked_add(STRANGERS_REST_MAX).unwrap();
    }
    let refused = certificates.of(&made_up(100), &topic, now).await;
    assert!(refused.is_err());
    assert!(certificates.of(&good, &topic, now).await.is_err());
    now = now.checked_add(STRANGERS_REST_MAX).unwrap();
    assert!(certificates.of(&good, &topic, now).await.is_ok());
    assert_eq!(web.0.load(Ordering::SeqCst), 102);
    // It showed that new ones come: the next stranger is asked at once.
    let refused = certificates.of(&made_up(101), &topic, now).await;
    assert!(refused.is_err());
    assert_eq!(web.0.load(Ordering::SeqCst), 103);
}

/// Has one certificate, and counts its calls.
#[derive(Default)]
struct Picky(AtomicUsize);

#[async_trait]
impl Web for Picky {
    async fn get(&self, url: &str, _bytes_max: usize) -> Result<Bytes, FetchFault> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match url.ends_with(FILE) {
            true => Ok(Bytes::from_static(PEM)),
            false => Err(FetchFault::Status(403)),
        }
    }
}

#[tokio::test]
async fn a_host_that_no_authority_vouches_for_is_not_asked() {
    let host = Host::start(Act::Serve).await;
    let CertifiedKey { cert, .. } = generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let other = reqwest::Certificate::from_der(cert.der()).unwrap();
    let host = Host {
        web: PublicWeb {
            client: client_of(other, host.address),
        },
        ..host
    };
    assert!(matches!(host.get().await, Err(FetchFault::Unreachable(_))));
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
}

/// Counts its calls; each takes a turn of the other tasks.
#[derive(Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl Web for Counted {
    async fn get(&self, _url: &str, _bytes_max: usize) -> Result<Bytes, FetchFault> {
        self.0.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(Bytes::from_static(PEM))
    }
}

#[tokio::test]
async fn a_certificate_is_fetched_once_by_many_and_again_after_a_day() {
    let web = Arc::new(Counted::default());
    let certificates = Certificates::new(None, Arc::clone(&web) as _);
    let topic = Topic::parse("arn:aws:sns:us-east-1:123456789012:malote").unwrap();
    let url = format!("https://{HOST}/{FILE}");
    let from: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    let calls_at = async |hours: i64, seconds: i64| {
        let wait = SignedDuration::from_hours(hours) + SignedDuration::from_secs(seconds);
        let now = from.checked_add(wait).unwrap();
        let many = join_all((0..50).map(|_| certificates.of(&url, &topic, now))).await;
        assert!(many.iter().all(Result::is_ok));
        web.0.load(Ordering::SeqCst)
    };
    assert_eq!(calls_at(0, 0).await, 1);
    assert_eq!(calls_at(24, -1).await, 1);
    assert_eq!(calls_at(24, 0).await, 2);
    assert_eq!(calls_at(48, -1).await, 2);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let web = PublicWeb::new().unwrap();
    for url in ["https://localhost/x.pem", "http://localhost/x.pem"] {
        let fault = web.get(url, 10).await.unwrap_err();
        assert!(matches!(fault, FetchFault::Unreachable(_)), "{url}");
    }
}

#[tokio::test]
async fn a_post_that_lacks_the_secret_costs_no_call() {
    const SECRET: &str = "0123456789abcdef";
    let web = Arc::new(Counted::default());
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let webhook = SnsWebhook {
        name: "ses".parse().unwrap(),
        topics: vec![Topic::parse(TOPIC).unwrap()],
        allow_sha1: true,
        certificates: Certificates::new(None, Arc::clone(&web) as _),
        web: Arc::clone(&web) as _,
        clock: Arc::new(SteppedClock(Mutex::new(now))),
        has_warned_of_sha1: AtomicBool::new(false),
        secret: Some(Secret::new(SECRET)),
    };
    for (path, calls) in [(None, 0), (Some("0123456789abcdee"), 0), (Some(SECRET), 1)] {
        let post = WebhookRequest {
            path_secret: path.map(Secret::new),
            ..request(SIGNED_V2, &[])
        };
        let found = webhook.parse(&post).await;
        assert_eq!(found.is_ok(), path == Some(SECRET), "{found:?}");
        assert_eq!(web.0.load(Ordering::SeqCst), calls);
    }
}
