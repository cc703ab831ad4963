//! Look-ups against a name server on loopback that answers, refuses or says nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use malote_router::{MailboxProvidersConfig, RouterConfig};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::*;

/// What the test's name server does with every question.
#[derive(Clone, Copy)]
enum Server {
    /// Answers with these hosts, in this order, with preferences 20, 10, ...
    Mx(&'static [&'static str]),
    NxDomain,
    Silent,
}

/// A name server on loopback for as long as the set lives, and the count of its questions.
async fn serve(server: Server) -> (SocketAddr, Arc<AtomicU32>, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut question = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut question).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            if let Some(answer) = answer(server, &question[..length]) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    (address, asked, tasks)
}

/// RFC 1035 4.1: header, the question copied, MX records whose names are written in full.
fn answer(server: Server, question: &[u8]) -> Option<Vec<u8>> {
    let (hosts, code) = match server {
        Server::Mx(hosts) => (hosts, 0),
        Server::NxDomain => (&[][..], 3),
        Server::Silent => return None,
    };
    let name_end = 12 + question[12..].iter().position(|b| *b == 0).unwrap();
    let mut answer = question[..2].to_vec();
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(hosts.len()).unwrap(),
    ]);
    answer.extend([0, 0, 0, 0]);
    answer.extend(&question[12..name_end + 5]);
    for (index, host) in hosts.iter().enumerate() {
        let mut data = vec![0, 20 - 10 * u8::try_from(index).unwrap()];
        for label in host.split('.') {
            data.push(u8::try_from(label.len()).unwrap());
            data.extend(label.bytes());
        }
        data.push(0);
        // A pointer to the question's name, MX, IN, a TTL of 60 s.
        answer.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn router(server: Option<SocketAddr>) -> Router {
    let (router, faults) = Router::compile(&RouterConfig {
        rules: Vec::new(),
        routes: BTreeMap::new(),
        streams: BTreeMap::new(),
        credentials: BTreeMap::new(),
        providers: BTreeMap::new(),
        mailbox_providers: MailboxProvidersConfig {
            mx_lookup: server.is_some(),
            dns_server: server,
            ..MailboxProvidersConfig::default()
        },
        campaign_burst: 50,
    });
    router.unwrap_or_else(|| panic!("{faults:?}"))
}

#[tokio::test]
async fn a_domain_is_told_by_its_preferred_mx_and_asked_once() {
    let mx = &["mx.unknown.example", "aspmx.l.google.com"];
    let (address, asked, _server) = serve(Server::Mx(mx)).await;
    let (router, cache) = (router(Some(address)), MxCache::new());
    let ask = || cache.mailbox_provider(&router, "firm.example");
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert_eq!(
        [a, b, c].each_ref().map(MailboxProvider::as_str),
        ["google"; 3]
    );
    assert_eq!(ask().await.as_str(), "google");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_table_comes_first_and_nobody_is_asked_unless_wanted() {
    let (address, asked, _server) = serve(Server::NxDomain).await;
    let cache = MxCache::new();
    let wanted = router(Some(address));
    assert_eq!(
        cache.mailbox_provider(&wanted, "gmail.com").await.as_str(),
        "google"
    );
    let unwanted = router(None);
    assert_eq!(
        cache
            .mailbox_provider(&unwanted, "firm.example")
            .await
            .as_str(),
        "other"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_domain_without_mx_is_other_and_that_is_kept() {
    let (address, asked, _server) = serve(Server::NxDomain).await;
    let (router, cache) = (router(Some(address)), MxCache::new());
    for _ in 0..3 {
        let found = cache.mailbox_provider(&router, "firm.example").await;
        assert_eq!(found, MailboxProvider::other());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_silent_server_costs_one_wait_and_is_then_left_alone() {
    let (address, asked, _server) = serve(Server::Silent).await;
    let (router, cache) = (router(Some(address)), MxCache::new());
    let began = Instant::now();
    let ask = |domain| cache.mailbox_provider(&router, domain);
    let (a, b, c) = tokio::join!(ask("a.example"), ask("b.example"), ask("c.example"));
    assert_eq!(
        [a, b, c].each_ref().map(MailboxProvider::as_str),
        ["other"; 3]
    );
    assert!(
        began.elapsed() < LOOKUP_WAIT_MAX * 2,
        "{:?}",
        began.elapsed()
    );
    let before = asked.load(Ordering::SeqCst);
    let rest = Instant::now();
    for number in 0..1_000 {
        let domain = format!("d{number}.example");
        cache.mailbox_provider(&router, &domain).await;
    }
    assert!(rest.elapsed() < LOOKUP_WAIT_MAX, "{:?}", rest.elapsed());
    assert_eq!(asked.load(Ordering::SeqCst), before);
}

#[test]
fn what_is_kept_is_bounded() {
    let now = Instant::now();
    let entry = |until| {
        let answer = OnceCell::new_with(Some(Answer {
            hosts: Box::default(),
            until,
        }));
        Arc::new(Entry { answer })
    };
    let mut domains: HashMap<String, Arc<Entry>> = (0..DOMAINS_MAX)
        .map(|n| (format!("d{n}.example"), entry(now + KEEP_MIN)))
        .collect();
    make_room(&mut domains, now);
    assert_eq!(domains.len(), DOMAINS_MAX - DOMAINS_MAX / 10);
    make_room(&mut domains, now + KEEP_MIN);
    assert_eq!(domains.len(), 0);
}
