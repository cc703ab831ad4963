//! Names in trouble: no answer, a bad one, one that leads inside, one that leads nowhere.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use malote_core::provider::SendError;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::server::{ALL, Server, hello, message, script, taken};
use super::*;
use crate::smtp::connect::Lookup;

/// What a name server does with the only question it is asked.
#[derive(Debug, Clone)]
enum NameServer {
    Answers(Vec<SocketAddr>),
    Fails(&'static str),
    IsSilent,
}

#[async_trait]
impl Lookup for NameServer {
    async fn addresses(&self, host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!(host, "mx.test");
        match self {
            Self::Answers(addresses) => Ok(addresses.clone()),
            Self::Fails(what) => Err(io::Error::other(*what)),
            Self::IsSilent => std::future::pending().await,
        }
    }
}

/// A provider at `mx.test` with these keys besides.
fn provider_at(names: NameServer, keys: &str) -> SmtpProvider {
    let mut provider = provider_of(&format!("host = 'mx.test'\n{keys}"), &[]);
    let pool = Arc::get_mut(&mut provider.pool).expect("nobody uses it yet");
    pool.endpoint_mut().lookup = Arc::new(names);
    provider
}

async fn failure(provider: &SmtpProvider) -> SendError {
    let mut report = send(provider, &outgoing(&["x@x.test"])).await;
    report.remove(0).expect_err("nothing can have been sent")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A server that takes one message as `Q`.
async fn server() -> Server {
    let message = script([hello(&ALL), message(), vec![taken("Q")]]);
    Server::start(vec![message]).await
}

/// An address that does not answer: its queue of connections is full, so that the kernel drops
/// what else comes.
struct Hole {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Hole {
    /// By IPv6, where this machine has it.
    async fn open() -> Self {
        let v6 = TcpSocket::new_v6().unwrap();
        let socket = match v6.bind("[::1]:0".parse().unwrap()) {
            Ok(()) => v6,
            Err(_) => {
                let v4 = TcpSocket::new_v4().unwrap();
                v4.bind("127.0.0.9:0".parse().unwrap()).unwrap();
                v4
            }
        };
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let (mut waiting, mut in_vain) = (Vec::new(), 0);
        // Twice in a row: once may be a busy machine.
        while in_vain < 2 {
            let connect = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), connect).await {
                Ok(stream) => {
                    waiting.push(stream.unwrap());
                    in_vain = 0;
                }
                Err(_) => in_vain += 1,
            }
            assert!(waiting.len() < 64, "the hole takes everybody");
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

#[tokio::test]
async fn a_name_without_an_answer_is_tried_again_later() {
    for (names, text) in [
        (NameServer::Fails("NXDOMAIN"), "NXDOMAIN"),
        (NameServer::Fails("SERVFAIL"), "SERVFAIL"),
        (NameServer::Answers(Vec::new()), "no address"),
        (NameServer::IsSilent, "took too long"),
    ] {
        for keys in ["tls = 'none'", "tls = 'implicit'"] {
            let error = failure(&provider_at(names.clone(), keys)).await;
            assert_eq!(error.verdict, Verdict::Transient, "{names:?}");
            assert!(error.reply.text().contains(text), "{:?}", error.reply);
        }
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed_unless_it_is_meant_to() {
    let server = server().await;
    let inside = [
        loopback(server.port),
        "[::1]:25".parse().unwrap(),
        "[::ffff:127.0.0.1]:25".parse().unwrap(),
        "10.0.0.1:25".parse().unwrap(),
        "169.254.169.254:25".parse().unwrap(),
        "0.0.0.0:25".parse().unwrap(),
        "100.64.0.1:25".parse().unwrap(),
    ];
    for keys in [
        "tls = 'starttls'",
        "tls = 'implicit'",
        "private_addresses = false",
    ] {
        for address in inside {
            let names = NameServer::Answers(vec![address]);
            let error = failure(&provider_at(names, keys)).await;
            assert_eq!(error.verdict, Verdict::ProviderUnusable, "{address}");
            let text = error.reply.text();
            assert!(text.contains("private_addresses = true"), "{text}");
        }
        let names = NameServer::Answers(inside.to_vec());
        let error = failure(&provider_at(names, keys)).await;
        assert_eq!(error.verdict, Verdict::ProviderUnusable);
    }
    assert_eq!(server.heard().len(), 0, "nobody is called");

    // Meant to: the greeting of a server without TLS is all that can go wrong now.
    let names = NameServer::Answers(vec![loopback(server.port)]);
    let meant = "tls = 'starttls'\nprivate_addresses = true";
    failure(&provider_at(names, meant)).await;
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_server_without_tls_must_be_near() {
    let server = server().await;
    let near = NameServer::Answers(vec![loopback(server.port)]);
    let report = send(&provider_at(near, "tls = 'none'"), &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    let mixed = vec![loopback(server.port), "203.0.113.1:25".parse().unwrap()];
    let error = failure(&provider_at(NameServer::Answers(mixed), "tls = 'none'")).await;
    assert_eq!(error.verdict, Verdict::ProviderUnusable);
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
    let (hole, server) = (Hole::open().await, server().await);
    // The live one last, whatever order the answer has.
    let names = NameServer::Answers(vec![hole.address, loopback(server.port)]);
    let started = Instant::now();
    let report = send(
        &provider_at(names, "tls = 'none'"),
        &outgoing(&["x@x.test"]),
    )
    .await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    // It was tried first and alone; had it been waited for, nothing would have been sent.
    assert!(started.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn a_name_whose_only_address_does_not_answer_is_tried_again_later() {
    let hole = Hole::open().await;
    let names = NameServer::Answers(vec![hole.address]);
    let error = failure(&provider_at(names, "tls = 'none'")).await;
    assert_eq!(error.verdict, Verdict::Transient);
    assert!(
        error.reply.text().contains("took too long"),
        "{:?}",
        error.reply
    );
}
