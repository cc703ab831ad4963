//! Requests that no client library would write, octet by octet.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use malote_tests::{SHOP_KEY, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{order, send_order};

/// How long an answer may take; a header section has 10 s, a body 5 s here.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Clients that never finish their header section.
const SLOW_CLIENTS: usize = 200;
/// A good request beside them, long before they are closed on.
const GOOD_WITHIN: Duration = Duration::from_secs(8);
/// Decompressed, six times the bound of a body.
const BOMB_BYTES: usize = 64 << 20;
const RESETS: usize = 10_000;
/// RFC 9113 7: ENHANCE_YOUR_CALM.
const CALM: u8 = 0x0b;
/// RFC 9113 6.8.
const GOAWAY: u8 = 0x07;

/// One request and the start of its answer.
struct Case {
    sentence: &'static str,
    octets: Vec<u8>,
    status: u16,
    /// A part of the answer, in lower case.
    holds: &'static str,
    is_closed: bool,
}

fn case(sentence: &'static str, octets: impl Into<Vec<u8>>, status: u16) -> Case {
    Case {
        sentence,
        octets: octets.into(),
        status,
        holds: "application/problem+json",
        is_closed: false,
    }
}

impl Case {
    fn with(mut self, holds: &'static str) -> Self {
        self.holds = holds;
        self
    }

    fn closed(mut self) -> Self {
        self.is_closed = true;
        self
    }
}

/// A POST of a message with these header fields beside the usual ones.
fn post(fields: &str, body: &[u8]) -> Vec<u8> {
    let mut octets = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP_KEY}\r\n{fields}\r\n"
    )
    .into_bytes();
    octets.extend(body);
    octets
}

/// A POST of JSON with its length.
fn json_post(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    post(
        &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        body,
    )
}

fn bomb() -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"{\"subject\":\"")?;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..BOMB_BYTES >> 20 {
        encoder.write_all(&piece)?;
    }
    Ok(encoder.finish()?)
}

fn gzip_post(coding: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let fields = format!(
        "Content-Type: application/json\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n"
    );
    post(&fields, body)
}

fn keys() -> Vec<Case> {
    let unread = "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                  Content-Length: 1000\r\n";
    let in_query = format!("GET /v1/messages?api_key={SHOP_KEY} HTTP/1.1\r\nHost: x\r\n\r\n");
    vec![
        case(
            "no key: answered before the body is there",
            format!("{unread}\r\n"),
            401,
        )
        .with("www-authenticate: bearer"),
        case(
            "a wrong key: answered before the body is there",
            format!("{unread}Authorization: Bearer mk_test_canary-key\r\n\r\n"),
            401,
        )
        .with("www-authenticate: bearer"),
        case("a key in the query", in_query, 401),
        case(
            "a key by another scheme",
            format!(
                "GET /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {SHOP_KEY}\r\n\r\n"
            ),
            401,
        ),
    ]
}

fn bodies() -> Result<Vec<Case>> {
    let deep = vec![b'['; 1 << 20];
    let good = order("wire@case.example").to_string();
    let chunked = format!(
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n",
        good.len()
    );
    let plain = format!(
        "Content-Type: text/plain\r\nContent-Length: {}\r\n",
        good.len()
    );
    let many = format!(
        "Content-Type: application/json\r\n{}",
        "X-N: 1\r\n".repeat(200)
    );
    let long = format!(
        "Content-Type: application/json\r\nX-Long: {}\r\n",
        "x".repeat(100_000)
    );
    let endless = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let announced = "Content-Type: application/json\r\nContent-Length: 11000000\r\n";
    let mut twice = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    twice.extend(post(&chunked, b"0\r\n\r\n"));
    Ok(vec![
        case("JSON that ends early", json_post(b"{"), 400).with("malformed_json"),
        case("JSON a million deep", json_post(&deep), 400).with("malformed_json"),
        case("a member given twice", json_post(br#"{"to":"a@x.example","to":"b@x.example"}"#), 400)
            .with("duplicate_field"),
        case("half a surrogate pair", json_post(br#"{"subject":"\ud800"}"#), 400)
            .with("malformed_json"),
        case("a body that is announced too large", post(announced, b""), 413)
            .with("body_too_large"),
        case("a body that does not end", post(endless, b"5\r\n{\"to\"\r\n"), 408)
            .with("body_timeout"),
        case("a small body that becomes a large one", gzip_post("gzip", &bomb()?), 413)
            .with("body_too_large"),
        case("a body packed twice", gzip_post("gzip, gzip", &bomb()?), 415)
            .with("unsupported_encoding"),
        case("a body packed another way", gzip_post("br", b"x"), 415).with("unsupported_encoding"),
        case("a body that claims to be packed", gzip_post("gzip", good.as_bytes()), 400)
            .with("malformed_body"),
        case("two framings", post(&chunked, b"0\r\n\r\n"), 400).closed(),
        case("two framings in a later request", twice, 200).with("http/1.1 400").closed(),
        case("a form's type", post(&plain, good.as_bytes()), 415).with("unsupported_media_type"),
        case("a header section of 100 kB", post(&long, b""), 431).with("http/1.1 431"),
        case("two hundred fields", post(&many, b""), 431).with("http/1.1 431"),
        case(
            "an idempotency key with a control character",
            post("Idempotency-Key: a\x01b\r\nContent-Type: application/json\r\nContent-Length: 2\r\n", b"{}"),
            400,
        )
        .with("http/1.1 400"),
    ])
}

fn raw_messages() -> Vec<Case> {
    let raw = |fields: &str, body: &str| {
        format!(
            "POST /v1/messages/raw HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP_KEY}\r\n\
             Content-Type: message/rfc822\r\nX-Malote-Mail-From: b@shop.example\r\n{fields}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let rcpt = "X-Malote-Rcpt: wire@case.example\r\n";
    let head = "From: orders@shop.example\r\nSubject: s\r\n";
    vec![
        case(
            "a raw message with a false end",
            raw(rcpt, &format!("{head}\r\nx\n.\nMAIL\r\n")),
            422,
        )
        .with("bare_line_end"),
        case(
            "a raw message with a bare CR",
            raw(rcpt, &format!("{head}\r\nx\ry\r\n")),
            422,
        )
        .with("bare_line_end"),
        case(
            "a raw message with a NUL",
            raw(rcpt, &format!("{head}\r\nx\0y\r\n")),
            422,
        ),
        case(
            "a raw message to nobody",
            raw("", &format!("{head}\r\nx\r\n")),
            422,
        ),
        case(
            "a raw message without From",
            raw(rcpt, "Subject: s\r\n\r\nx\r\n"),
            422,
        ),
        case(
            "a raw message to a list in one field",
            raw(
                "X-Malote-Rcpt: wire@case.example, b@x.example\r\n",
                &format!("{head}\r\nx\r\n"),
            ),
            422,
        ),
    ]
}

/// Plays all; answers the deviations.
pub(super) async fn play_all(world: &World) -> Vec<String> {
    let mut faults = Vec::new();
    let cases = match bodies() {
        Ok(bodies) => [keys(), bodies, raw_messages()].into_iter().flatten(),
        Err(error) => return vec![format!("{error:#}")],
    };
    let address = world.gateway.doors().http;
    for case in cases {
        if let Err(error) = play(address, &case).await {
            faults.push(format!("{}: {error:#}", case.sentence));
        }
    }
    for (sentence, result) in [
        ("nothing of it is stored", none_stored(world).await),
        ("slow header sections", slow_headers(world).await),
        ("streams begun and reset", rapid_reset(address).await),
        (
            "header blocks without an end",
            endless_headers(address).await,
        ),
        ("a header block that unpacks", header_bomb(address).await),
        (
            "the next good request",
            send_order(world, "good@case.example").await.map(drop),
        ),
    ] {
        if let Err(error) = result {
            faults.push(format!("{sentence}: {error:#}"));
        }
    }
    faults
}

async fn play(address: SocketAddr, case: &Case) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    // Whoever answers early may stop reading.
    stream.write_all(&case.octets).await.ok();
    let mut answer = Vec::new();
    let mut piece = [0; 16_384];
    let is_done = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
        text.contains("\r\n\r\n") && text.contains(case.holds) && !case.is_closed
    };
    while !is_done(&answer) {
        let read = timeout(ANSWER_MAX, stream.read(&mut piece)).await;
        match read.context("nothing is said")? {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let start = format!("http/1.1 {}", case.status);
    let shown: String = text.chars().take(600).collect();
    ensure!(
        text.starts_with(&start) && text.contains(case.holds),
        "{shown}"
    );
    Ok(())
}

async fn none_stored(world: &World) -> Result<()> {
    let found = world.gateway.find("wire@case.example", SHOP_KEY).await?;
    ensure!(found.is_none(), "{found:?}");
    Ok(())
}

/// Who never ends its header section is closed on, and keeps nobody else out.
async fn slow_headers(world: &World) -> Result<()> {
    let address = world.gateway.doors().http;
    let mut slow = Vec::new();
    for _ in 0..SLOW_CLIENTS {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n")
            .await?;
        slow.push(stream);
    }
    let began = Instant::now();
    world.gateway.submit(&order("beside@case.example")).await?;
    ensure!(began.elapsed() < GOOD_WITHIN, "{:?}", began.elapsed());
    for mut stream in slow {
        let mut rest = Vec::new();
        timeout(ANSWER_MAX, stream.read_to_end(&mut rest))
            .await
            .context("it is kept")?
            .ok();
    }
    Ok(())
}

/// Posts, and goes away without the answer.
pub(super) async fn post_and_leave(world: &World, key: &str, message: &Value) -> Result<()> {
    let body = message.to_string();
    let fields = format!(
        "Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(world.gateway.doors().http).await?;
    stream.write_all(&post(&fields, body.as_bytes())).await?;
    Ok(stream.set_zero_linger()?)
}

/// A frame (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut octets = vec![length[1], length[2], length[3], kind, flags];
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// GET / by indices of the static table (RFC 7541 A), and an authority.
const REQUEST: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

async fn begin_h2(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await?;
    stream.write_all(&frame(4, 0, 0, &[])).await?;
    Ok(stream)
}

/// Reads to the end; answers the error code of GOAWAY, if one came.
async fn goaway(stream: &mut TcpStream) -> Result<Option<u8>> {
    let mut octets = Vec::new();
    let reading = stream.read_to_end(&mut octets);
    timeout(ANSWER_MAX, reading)
        .await
        .context("the connection is kept")?
        .ok();
    let mut rest = octets.as_slice();
    while let [a, b, c, kind, _, _, _, _, _, payload @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == GOAWAY && payload.get(7) != Some(&0) {
            return Ok(payload.get(7).copied());
        }
        rest = payload.get(length..).unwrap_or_default();
    }
    Ok(None)
}

async fn rapid_reset(address: SocketAddr) -> Result<()> {
    let mut stream = begin_h2(address).await?;
    for number in 0..RESETS {
        let id = u32::try_from(number)? * 2 + 1;
        let mut pair = frame(1, 5, id, &REQUEST);
        pair.extend(frame(3, 0, id, &[0, 0, 0, 8]));
        if stream.write_all(&pair).await.is_err() {
            break;
        }
    }
    match goaway(&mut stream).await? {
        Some(CALM) | None => Ok(()),
        Some(code) => bail!("GOAWAY with {code}"),
    }
}

async fn endless_headers(address: SocketAddr) -> Result<()> {
    let mut stream = begin_h2(address).await?;
    stream.write_all(&frame(1, 1, 1, &REQUEST)).await?;
    // A literal field without indexing, 16 kB in each frame, and never the last one.
    let mut field = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x7c];
    field.resize(16_000, b'y');
    for _ in 0..RESETS {
        if stream.write_all(&frame(9, 0, 1, &field)).await.is_err() {
            break;
        }
    }
    goaway(&mut stream).await.map(drop)
}

/// A field of 4 kB put in the table once and named ten thousand times.
async fn header_bomb(address: SocketAddr) -> Result<()> {
    let mut stream = begin_h2(address).await?;
    let mut block = REQUEST.to_vec();
    block.extend([0x40, 0x01, b'x', 0x7f, 0x81, 0x1e]);
    block.extend(vec![b'y'; 4_000]);
    block.extend(vec![0xbe; 10_000]);
    stream.write_all(&frame(1, 5, 1, &block)).await?;
    let mut octets = vec![0; 65_536];
    let began = Instant::now();
    while began.elapsed() < ANSWER_MAX {
        let read = timeout(ANSWER_MAX, stream.read(&mut octets)).await;
        let count = read.context("nothing is said")?.unwrap_or(0);
        // Closed, or stream 1 is answered (431) or reset.
        let is_answered = octets[..count]
            .windows(9)
            .any(|head| head[5..] == [0, 0, 0, 1]);
        if count == 0 || is_answered {
            return Ok(());
        }
    }
    bail!(
        "the request is neither answered nor cut: {}",
        json!(block.len())
    )
}
