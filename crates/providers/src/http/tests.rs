//! What a misbehaving peer leaves behind: an answer, "cannot have arrived", or "nobody knows".

use super::responder::{Act, Responder, answer};
use super::*;

fn call_to(url: &str, body: Vec<u8>) -> Call {
    Call {
        method: Method::POST,
        url: url.parse().unwrap(),
        headers: HeaderMap::new(),
        body: vec![
            Bytes::from_static(b"<"),
            body.into(),
            Bytes::from_static(b">"),
        ],
    }
}

const IMPATIENT: Patience = Patience {
    write_max: Duration::from_millis(1500),
    reply_max: Duration::from_millis(300),
    body_max: Duration::from_millis(500),
    answer_bytes_max: ANSWER_BYTES_MAX,
};

async fn exchange_with(act: Act, body_bytes: usize) -> (Result<Answer, Lost>, Responder) {
    let peer = Responder::start(vec![act]).await;
    let client = client_builder().build().unwrap();
    let call = call_to(&peer.url(), vec![b'x'; body_bytes]);
    (exchange(&client, call, IMPATIENT).await, peer)
}

#[tokio::test]
async fn a_plain_answer_is_read_and_the_request_has_its_length() {
    let (result, peer) = exchange_with(answer("200 OK", "X-A: b\r\n", "{\"id\":1}"), 200_000).await;
    let answer = result.unwrap();
    assert_eq!((answer.status, answer.is_whole), (200, true));
    assert_eq!(&answer.body[..], b"{\"id\":1}");
    assert_eq!(answer.header("x-a"), Some("b"));
    let request = peer.texts().remove(0);
    assert!(request.to_lowercase().contains("content-length: 200002"));
    assert!(request.ends_with("x>"));
}

#[tokio::test]
async fn nobody_listening_means_not_sent() {
    let peer = Responder::start(vec![Act::Close]).await;
    let url = peer.url();
    drop(peer);
    tokio::task::yield_now().await;
    let client = client_builder().build().unwrap();
    let lost = exchange(&client, call_to(&url, vec![b'x'; 9]), IMPATIENT).await;
    assert!(matches!(lost, Err(Lost::NotSent(_))), "{lost:?}");
}

#[tokio::test]
async fn a_hang_or_a_cut_after_the_last_octet_is_unclear() {
    for act in [Act::Hang, Act::Close, Act::Write(b"HTTP/1.1 2".to_vec())] {
        let (result, _peer) = exchange_with(act.clone(), 100).await;
        assert!(
            matches!(result, Err(Lost::Unclear(_))),
            "{act:?} {result:?}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_stops_reading_in_the_middle_cannot_have_it() {
    let (result, _peer) = exchange_with(Act::StopReading(1000), 30_000_000).await;
    assert!(matches!(result, Err(Lost::NotSent(_))), "{result:?}");
}

#[tokio::test]
async fn what_was_given_up_as_not_sent_never_gets_its_last_octet() {
    let handed_over = Arc::new(HandedOver::default());
    let body = |rest: &[&'static [u8]]| SegmentedBody {
        rest: rest.iter().map(|part| Bytes::from_static(part)).collect(),
        remaining: rest.iter().map(|part| part.len() as u64).sum(),
        handed_over: Arc::clone(&handed_over),
    };
    let next = async |body: &mut SegmentedBody| {
        std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context))
            .await
    };
    let mut late = body(&[b"<", b">"]);
    assert!(matches!(next(&mut late).await, Some(Ok(_))));
    let lost = handed_over.lost("too slow".to_owned());
    assert!(matches!(lost, Lost::NotSent(_)), "{lost:?}");
    assert!(matches!(next(&mut late).await, Some(Err(GivenUp))));
}

#[tokio::test]
async fn a_cut_or_endless_body_is_not_whole() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\"".to_vec();
    let (result, _peer) = exchange_with(Act::Write(cut), 10).await;
    let answer = result.unwrap();
    assert_eq!((answer.status, answer.is_whole), (200, false));
    assert_eq!(answer.json::<serde_json::Value>(), None);

    let mut flood = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    flood.resize(flood.len() + ANSWER_BYTES_MAX + 70_000, b' ');
    let (result, _peer) = exchange_with(Act::WriteAndHang(flood), 10).await;
    let answer = result.unwrap();
    assert_eq!(
        (answer.body.len(), answer.is_whole),
        (ANSWER_BYTES_MAX, false)
    );
}

#[tokio::test]
async fn an_answer_that_trickles_has_one_deadline_for_all_of_it() {
    let trickle = async |octets: &[u8]| {
        let exchange = exchange_with(Act::Trickle(octets.to_vec()), 10);
        let ended = timeout(Duration::from_secs(5), exchange).await;
        ended.expect("an exchange ends").0
    };
    let answer = trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        .await
        .unwrap();
    assert!(!answer.is_whole && answer.body.len() > 2, "{answer:?}");
    let head = trickle(b"HTTP/1.1 200 ").await;
    assert!(matches!(head, Err(Lost::Unclear(_))), "{head:?}");
    for patience in [Patience::SHORT, Patience::PAGE] {
        assert_eq!(patience.body_max, Duration::from_secs(30));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = Responder::start(vec![Act::Close]).await;
    let location = format!("Location: {}/stolen\r\n", elsewhere.url());
    let (result, _peer) = exchange_with(answer("307 Temporary", &location, ""), 10).await;
    assert_eq!(result.unwrap().status, 307);
    assert!(elsewhere.texts().is_empty());
}

#[tokio::test]
async fn compressed_answers_stay_compressed() {
    let act = answer("200 OK", "Content-Encoding: gzip\r\n", "\u{1f}not json");
    let (result, peer) = exchange_with(act, 10).await;
    assert_eq!(result.unwrap().json::<serde_json::Value>(), None);
    assert!(!peer.texts()[0].to_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn extra_octets_behind_an_answer_end_the_connection() {
    let two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n".to_vec();
    let next = answer("429 Slow", "", "");
    let peer = Responder::start(vec![Act::WriteAndHang(two), next]).await;
    let client = client_builder().build().unwrap();
    let first = exchange(&client, call_to(&peer.url(), vec![b'x']), IMPATIENT).await;
    assert_eq!(first.unwrap().status, 200);
    let second = exchange(&client, call_to(&peer.url(), vec![b'x']), IMPATIENT).await;
    assert_eq!(second.unwrap().status, 429);
}

#[tokio::test]
async fn fetching_is_bounded_and_follows_nothing() {
    let client = client_builder().build().unwrap();
    let get = |peer: &Responder| reqwest::Request::new(Method::GET, peer.url().parse().unwrap());
    let wait = Duration::from_millis(300);
    let rows = [
        (answer("200 OK", "", "abc"), Ok(Bytes::from_static(b"abc"))),
        (
            answer("200 OK", "", "abcdefghijk"),
            Err(FetchFault::NotWhole),
        ),
        (
            answer("302 Found", "Location: http://127.0.0.1:1/\r\n", ""),
            Err(FetchFault::Status(302)),
        ),
        (
            Act::Hang,
            Err(FetchFault::Unreachable("timed out".to_owned())),
        ),
    ];
    for (act, expected) in rows {
        let peer = Responder::start(vec![act]).await;
        assert_eq!(fetch(&client, get(&peer), 10, wait).await, expected);
    }
}

#[test]
fn a_bare_status_means_what_the_verdict_table_says() {
    let slow = Some(Duration::from_secs(3));
    for (status, is_own_shape, verdict) in [
        (200, false, Verdict::Unknown),
        (202, true, Verdict::Unknown),
        (307, false, Verdict::Transient),
        (400, true, Verdict::Rejected(Fault::Message)),
        (400, false, Verdict::Transient),
        (401, false, Verdict::ProviderUnusable),
        (408, false, Verdict::Transient),
        (413, false, Verdict::Rejected(Fault::MessageHere)),
        (429, false, Verdict::Throttled { after: slow }),
        (500, true, Verdict::Transient),
        (500, false, Verdict::Unknown),
        (502, true, Verdict::Unknown),
        (503, false, Verdict::Transient),
        (504, true, Verdict::Unknown),
        (999, true, Verdict::Unknown),
    ] {
        assert_eq!(
            verdict_of_status(status, is_own_shape, slow),
            verdict,
            "{status}"
        );
    }
}
