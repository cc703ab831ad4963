//! What HTTP/2 adds: who speaks it, and whose outcome is known when a stream or a connection ends.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use malote_core::provider::{SendError, Verdict};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::peer::{Act, Peer};
use super::*;
use crate::certificates::{Valid, certified, server_hello_of_tls_1_0};

const BOTH: &[&str] = &["h2", "http/1.1"];
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 11;

fn clients(peer: &Peer, speech: Speech, calls_max: u32) -> HttpClients {
    let builder = || any_version().tls_certs_only([peer.certificate.clone()]);
    HttpClients::with(speech, calls_max, builder).unwrap()
}

async fn send(clients: &HttpClients, peer: &Peer) -> Result<u16, Lost> {
    send_to(clients, &peer.url).await
}

async fn send_to(clients: &HttpClients, url: &str) -> Result<u16, Lost> {
    let call = Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: vec![Bytes::from_static(b"x")],
    };
    let patience = Patience {
        write_max: Duration::from_secs(10),
        reply_max: Duration::from_secs(10),
        ..Patience::SHORT
    };
    let answer = clients.exchange(Class::Transactional, call, patience).await;
    answer.map(|answer| answer.status)
}

async fn send_many(clients: &HttpClients, peer: &Peer, calls: usize) -> Vec<Result<u16, Lost>> {
    join_all((0..calls).map(|_| send(clients, peer))).await
}

/// What comes of a call to a server with this certificate, that believes `trusted`.
async fn told(server: ServerConfig, trusted: &rcgen::Certificate) -> Result<u16, Lost> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = acceptor.accept(tcp).await?;
        tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await
    };
    let trusted = reqwest::Certificate::from_der(trusted.der()).unwrap();
    let builder = || any_version().tls_certs_only([trusted.clone()]);
    let clients = HttpClients::with(Speech::Http1, 1, builder).unwrap();
    let url = format!("https://localhost:{port}/");
    let (answer, _served) = tokio::join!(send_to(&clients, &url), server);
    answer
}

#[tokio::test]
async fn a_certificate_of_another_name_authority_or_time_is_refused() {
    let (mine, server) = certified("localhost", Valid::Today);
    assert_eq!(told(server, &mine).await, Ok(204));
    let (other_name, elsewhere) = certified("other.example", Valid::Today);
    let (expired, late) = certified("localhost", Valid::Once);
    let (_, unknown) = certified("localhost", Valid::Today);
    for (server, trusted) in [(elsewhere, other_name), (late, expired), (unknown, mine)] {
        let lost = told(server, &trusted).await.unwrap_err();
        assert!(matches!(lost, Lost::Untrusted(_)), "{lost:?}");
        assert_eq!(SendError::from(lost).verdict, Verdict::ProviderUnusable);
    }
}

#[tokio::test]
async fn a_server_of_tls_1_0_hears_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        assert!(tcp.read(&mut heard).await.unwrap() > 0);
        tcp.write_all(&server_hello_of_tls_1_0()).await.unwrap();
        let after = tcp.read(&mut heard).await.unwrap();
        heard.truncate(after);
        heard
    };
    let clients = HttpClients::with(Speech::Http1, 1, any_version).unwrap();
    let url = format!("https://localhost:{port}/");
    let (answer, heard) = tokio::join!(send_to(&clients, &url), server);
    assert!(matches!(answer, Err(Lost::NotSent(_))), "{answer:?}");
    // An alert of seven octets (RFC 8446 6), and no record of the request.
    assert_eq!((heard.len(), heard.first()), (7, Some(&21)));
}

#[tokio::test]
async fn http2_is_spoken_only_where_both_sides_want_it() {
    for (offers, speech, spoken) in [
        (BOTH, Speech::Http2, "h2"),
        (BOTH, Speech::Http1, "http/1.1"),
        (&["http/1.1"], Speech::Http2, "http/1.1"),
        (&[], Speech::Http2, "http/1.1"),
    ] {
        let peer = Peer::start(offers, &[Act::Answer]).await;
        let clients = clients(&peer, speech, 32);
        assert_eq!(
            send(&clients, &peer).await,
            Ok(200),
            "{offers:?} {speech:?}"
        );
        assert_eq!(peer.protocols(), [spoken], "{offers:?} {speech:?}");
    }
}

#[tokio::test]
async fn calls_share_a_connection_up_to_a_hundred() {
    for (calls_max, connections) in [(32, 1), (100, 1), (101, 2), (300, 3)] {
        let peer = Peer::start(BOTH, &[Act::Answer]).await;
        let clients = clients(&peer, Speech::Http2, calls_max);
        let answers = send_many(&clients, &peer, 30).await;
        assert_eq!(answers, vec![Ok(200); 30]);
        assert_eq!(peer.connections(), connections, "{calls_max}");
    }
}

#[tokio::test]
async fn what_the_service_has_not_begun_with_is_said_once_more() {
    for (first, connections) in [
        (Act::Reset(REFUSED_STREAM), 1),
        (Act::GoAwayWithout(0), 2),
        (Act::GoAwayWithout(ENHANCE_YOUR_CALM), 2),
    ] {
        let peer = Peer::start(BOTH, &[first, Act::Answer]).await;
        let clients = clients(&peer, Speech::Http2, 32);
        assert_eq!(send(&clients, &peer).await, Ok(200), "{first:?}");
        assert_eq!(peer.protocols().len(), 2, "{first:?}");
        assert_eq!(peer.connections(), connections, "{first:?}");
    }
}

#[tokio::test]
async fn what_is_refused_twice_goes_elsewhere_at_once() {
    for act in [Act::Reset(REFUSED_STREAM), Act::GoAwayWithout(0)] {
        let peer = Peer::start(BOTH, &[act]).await;
        let clients = clients(&peer, Speech::Http2, 32);
        let lost = send(&clients, &peer).await.unwrap_err();
        assert!(matches!(lost, Lost::Refused(_)), "{act:?} {lost:?}");
        assert_eq!(SendError::from(lost).verdict, Verdict::Transient);
        assert_eq!(peer.protocols().len(), 2, "{act:?}");
    }
}

#[tokio::test]
async fn what_the_service_may_have_begun_with_is_unknown_and_not_said_again() {
    for act in [Act::Reset(INTERNAL_ERROR), Act::GoAwayWith, Act::Cut] {
        let peer = Peer::start(BOTH, &[act]).await;
        let clients = clients(&peer, Speech::Http2, 32);
        let lost = send(&clients, &peer).await.unwrap_err();
        assert!(matches!(lost, Lost::Unclear(_)), "{act:?} {lost:?}");
        assert_eq!(SendError::from(lost).verdict, Verdict::Unknown);
        assert_eq!(peer.protocols().len(), 1, "{act:?}");
    }
}

#[tokio::test]
async fn an_answer_behind_a_goaway_counts() {
    let peer = Peer::start(BOTH, &[Act::GoAwayAndAnswer, Act::Answer]).await;
    let clients = clients(&peer, Speech::Http2, 32);
    assert_eq!(send(&clients, &peer).await, Ok(200));
    assert_eq!(send(&clients, &peer).await, Ok(200));
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_broken_connection_leaves_all_its_calls_in_doubt() {
    let mut acts = vec![Act::Wait; 9];
    acts.push(Act::Cut);
    let peer = Peer::start(BOTH, &acts).await;
    let clients = clients(&peer, Speech::Http2, 32);
    let results = send_many(&clients, &peer, 10).await;
    for result in results {
        assert!(matches!(result, Err(Lost::Unclear(_))), "{result:?}");
    }
    assert_eq!(peer.protocols().len(), 10);
}

#[tokio::test]
async fn a_goaway_parts_the_calls_that_were_begun_from_those_that_were_not() {
    let mut acts = vec![Act::Wait; 4];
    acts.extend([Act::GoAwayWithout(0), Act::Answer]);
    let peer = Peer::start(BOTH, &acts).await;
    let clients = clients(&peer, Speech::Http2, 32);
    let results = send_many(&clients, &peer, 5).await;
    let of = |wanted: fn(&Result<u16, Lost>) -> bool| results.iter().filter(|r| wanted(r)).count();
    assert_eq!(of(|r| *r == Ok(200)), 1, "{results:?}");
    assert_eq!(of(|r| matches!(r, Err(Lost::Unclear(_)))), 4, "{results:?}");
}
