//! The service: takes whatever is posted, waits, and answers as each of the measured services does.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;

use crate::Fault;
use crate::given::Given;

/// Connections that may wait to be accepted: all clients begin at once.
const BACKLOG: u32 = 4096;
/// Streams on one HTTP/2 connection: what the clients need, and what most services allow.
const STREAMS_MAX: u32 = 128;

/// The service's clock and count.
struct Service {
    delay: Duration,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// Serves until standard input ends.
pub(crate) async fn serve(given: &Given) -> Result<(), Fault> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(given.text("certificate")?, cert.pem())?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let service = Arc::new(Service {
        delay: Duration::from_millis(given.number("delay-ms")?),
        under_way: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let (open, closed) = (listener()?, listener()?);
    let ports = (open.local_addr()?.port(), closed.local_addr()?.port());
    tokio::spawn(accept(open, None, Arc::clone(&service)));
    tokio::spawn(accept(closed, Some(Arc::new(tls).into()), service));
    println!("{} {}", ports.0, ports.1);
    let until_its_end = || std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    tokio::task::spawn_blocking(until_its_end).await??;
    Ok(())
}

fn listener() -> Result<TcpListener, Fault> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    Ok(socket.listen(BACKLOG)?)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: Arc<Service>) {
    while let Ok((stream, _)) = listener.accept().await {
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (tls, service) = (tls.clone(), Arc::clone(&service));
        tokio::spawn(async move {
            match tls {
                None => speak(stream, service).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        speak(stream, service).await;
                    }
                }
            }
        });
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<Service>,
) {
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS_MAX);
    // A connection that breaks is its client's to report.
    builder
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .ok();
}

impl Service {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        if path == "/most" {
            let most = self.most.swap(0, Ordering::Relaxed);
            return Ok(Response::new(most.to_string().into()));
        }
        let is_whole = request.into_body().collect().await.is_ok();
        let now = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(self.delay).await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut response = Response::new(Full::default());
        if !is_whole {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        } else if path == "/v3/mail/send" {
            *response.status_mut() = StatusCode::ACCEPTED;
            let id = http::HeaderValue::from_static("kq3PbTMTQuGhLcmTsrmqvQ");
            response.headers_mut().insert("x-message-id", id);
        } else if path == "/v2/email/outbound-emails" {
            let id =
                r#"{"MessageId":"0100018f3a5b6c7d-1b2c3d4e-0000-0000-0000-000000000000-000000"}"#;
            *response.body_mut() = id.into();
        } else {
            let id = r#"{"id":"<20261122000000.42@shop.example>","message":"Queued. Thank you."}"#;
            *response.body_mut() = id.into();
        }
        Ok(response)
    }
}
