//! A name server on loopback that serves a zone of lines and misbehaves as they say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// Octets of an answer by UDP (RFC 1035 4.2.1); longer ones are cut, whatever the client could take.
const UDP_BYTES_MAX: usize = 512;
/// Octets of a message's header (RFC 1035 4.1.1).
const HEADER_BYTES: usize = 12;
/// Aliases followed.
const ALIASES_MAX: usize = 8;
const TTL_S: u32 = 60;

/// Types of records (RFC 1035 3.2.2, RFC 3596 2.1).
const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Response codes (RFC 1035 4.1.1).
const NO_ERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// What is kept of one name.
#[derive(Default)]
struct Node {
    records: Vec<Record>,
    /// What is answered in place of records.
    fault: Option<Misbehaviour>,
}

struct Record {
    kind: u16,
    data: Vec<u8>,
    /// Where a CNAME leads.
    target: Option<String>,
}

#[derive(Clone, Copy)]
enum Misbehaviour {
    Servfail,
    Silence,
}

type Zone = BTreeMap<String, Node>;

/// A running name server; it ends when dropped.
pub struct Dns {
    /// Where it listens, by UDP and by TCP.
    pub address: SocketAddr,
    over_tcp: Arc<AtomicUsize>,
    served: Vec<JoinHandle<()>>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        for task in &self.served {
            task.abort();
        }
    }
}

impl Dns {
    /// Starts one. Lines are `TYPE NAME VALUE`, as in `MX x.test 10 m.test` or `TXT x.test a text`;
    /// `SERVFAIL NAME` and `SILENT NAME` are for every type. Empty lines are left out.
    ///
    /// # Errors
    /// When a line cannot be read or no port can be bound.
    pub async fn start(zone: &str) -> Result<Self> {
        let mut nodes = Zone::new();
        for line in zone.lines().map(str::trim).filter(|line| !line.is_empty()) {
            read(&mut nodes, line).with_context(|| line.to_owned())?;
        }
        let (tcp, udp) = bind().await?;
        let address = tcp.local_addr()?;
        let nodes = Arc::new(nodes);
        let over_tcp = Arc::new(AtomicUsize::new(0));
        let (own, count) = (Arc::clone(&nodes), Arc::clone(&over_tcp));
        let served = vec![
            tokio::spawn(async move { serve_udp(&udp, &own).await }),
            tokio::spawn(async move {
                while let Ok((stream, _)) = tcp.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let nodes = Arc::clone(&nodes);
                    tokio::spawn(async move { serve_tcp(stream, &nodes).await });
                }
            }),
        ];
        Ok(Self {
            address,
            over_tcp,
            served,
        })
    }

    /// How many connections came.
    #[must_use]
    pub fn over_tcp(&self) -> usize {
        self.over_tcp.load(Ordering::Relaxed)
    }
}

/// The same port for both.
async fn bind() -> Result<(TcpListener, UdpSocket)> {
    for _ in 0..20 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?).await {
            return Ok((tcp, udp));
        }
    }
    bail!("no port is free for both UDP and TCP")
}

fn read(nodes: &mut Zone, line: &str) -> Result<()> {
    let mut words = line.splitn(3, ' ');
    let kind = words.next().unwrap_or_default();
    let name = words.next().context("has no name")?.to_ascii_lowercase();
    let value = words.next().unwrap_or_default();
    let mut target = None;
    let (kind, data) = match kind {
        "TXT" => (TXT, strings(value)),
        "MX" => {
            let (preference, host) = value.split_once(' ').context("has no preference")?;
            let preference: u16 = preference.parse()?;
            let mut data = preference.to_be_bytes().to_vec();
            data.extend(labels(host));
            (MX, data)
        }
        "A" => (A, value.parse::<Ipv4Addr>()?.octets().to_vec()),
        "AAAA" => (AAAA, value.parse::<Ipv6Addr>()?.octets().to_vec()),
        "PTR" => (PTR, labels(value)),
        "CNAME" => {
            target = Some(value.to_ascii_lowercase());
            (CNAME, labels(value))
        }
        "SERVFAIL" => {
            nodes.entry(name).or_default().fault = Some(Misbehaviour::Servfail);
            return Ok(());
        }
        "SILENT" => {
            nodes.entry(name).or_default().fault = Some(Misbehaviour::Silence);
            return Ok(());
        }
        other => bail!("{other} is no type"),
    };
    let records = &mut nodes.entry(name).or_default().records;
    records.push(Record { kind, data, target });
    Ok(())
}

/// A text in strings of at most 255 octets.
fn strings(text: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for part in text.as_bytes().chunks(255) {
        data.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        data.extend(part);
    }
    data
}

/// A name as labels, without pointers.
fn labels(name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        data.push(u8::try_from(label.len()).unwrap_or(63));
        data.extend(label.as_bytes());
    }
    data.push(0);
    data
}

async fn serve_udp(socket: &UdpSocket, nodes: &Zone) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(query) = Query::read(&buffer[..length]) else {
            continue;
        };
        let Some(found) = look_up(&query, nodes) else {
            continue;
        };
        let mut octets = query.answer(&found, false);
        if octets.len() > UDP_BYTES_MAX {
            octets = query.answer(&Found::default(), true);
        }
        if socket.send_to(&octets, from).await.is_err() {
            return;
        }
    }
}

async fn serve_tcp(mut stream: TcpStream, nodes: &Zone) {
    while let Ok(length) = stream.read_u16().await {
        let mut octets = vec![0; length.into()];
        if stream.read_exact(&mut octets).await.is_err() {
            return;
        }
        let Some(query) = Query::read(&octets) else {
            return;
        };
        let Some(found) = look_up(&query, nodes) else {
            // Silent, not gone.
            return std::future::pending().await;
        };
        let answer = query.answer(&found, false);
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        let sent = stream.write_u16(length).await;
        if sent.is_err() || stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The first question of a message.
struct Query {
    id: [u8; 2],
    /// Whether the client asks for recursion.
    flags: u8,
    /// As it stands in the message: clients compare the case of letters.
    question: Vec<u8>,
    name: String,
    kind: u16,
}

/// What is answered.
#[derive(Default)]
struct Found {
    code: u8,
    count: u16,
    records: Vec<u8>,
}

impl Query {
    fn read(octets: &[u8]) -> Option<Self> {
        let mut at = HEADER_BYTES;
        let mut name = Vec::new();
        loop {
            let length = usize::from(*octets.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            let label = octets.get(at..at + length)?;
            name.push(String::from_utf8_lossy(label).to_ascii_lowercase());
            at += length;
        }
        let kind = u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?);
        Some(Self {
            id: octets.get(..2)?.try_into().ok()?,
            flags: *octets.get(2)? & 1,
            question: octets.get(HEADER_BYTES..at + 4)?.to_vec(),
            name: name.join("."),
            kind,
        })
    }

    /// The whole answer: authoritative, with recursion on offer.
    fn answer(&self, found: &Found, is_truncated: bool) -> Vec<u8> {
        let truncation = if is_truncated { 0b10 } else { 0 };
        let mut octets = self.id.to_vec();
        octets.push(0b1000_0100 | truncation | self.flags);
        octets.push(0b1000_0000 | found.code);
        for count in [1, found.count, 0, 0] {
            octets.extend(u16::to_be_bytes(count));
        }
        octets.extend(&self.question);
        octets.extend(&found.records);
        octets
    }
}

impl Found {
    fn add(&mut self, name: &str, record: &Record) {
        self.count += 1;
        self.records.extend(labels(name));
        self.records.extend(record.kind.to_be_bytes());
        self.records.extend(1_u16.to_be_bytes());
        self.records.extend(TTL_S.to_be_bytes());
        let length = u16::try_from(record.data.len()).unwrap_or(u16::MAX);
        self.records.extend(length.to_be_bytes());
        self.records.extend(&record.data);
    }
}

/// What the zone has; `None` is silence.
fn look_up(query: &Query, nodes: &Zone) -> Option<Found> {
    let mut found = Found::default();
    let mut name = query.name.clone();
    for _ in 0..ALIASES_MAX {
        let Some(node) = nodes.get(&name) else {
            found.code = NXDOMAIN;
            return Some(found);
        };
        match node.fault {
            Some(Misbehaviour::Silence) => return None,
            Some(Misbehaviour::Servfail) => {
                found.code = SERVFAIL;
                return Some(found);
            }
            None => found.code = NO_ERROR,
        }
        let own = node.records.iter().filter(|r| r.kind == query.kind);
        own.for_each(|record| found.add(&name, record));
        let alias = node.records.iter().find(|record| record.target.is_some());
        let Some(alias) = alias.filter(|_| query.kind != CNAME) else {
            return Some(found);
        };
        found.add(&name, alias);
        name = alias.target.clone().unwrap_or_default();
    }
    Some(found)
}
