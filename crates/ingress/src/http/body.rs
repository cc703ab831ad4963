//! Reading a request's body: bounded in octets, in time and in what all requests hold together.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem_rfc9457::{Problem, ProblemKind};
use super::state::{BUDGET_UNIT_BYTES, HttpState};

/// Longest time for a stranger's body, however long submissions may take.
const STRANGER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Who sends a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Who has shown a key.
    Known,
    /// Anybody: what proves a webhook's origin is in its body.
    Stranger,
}

/// A body that has been read, with its share of the budget.
#[derive(Debug)]
pub(crate) struct Received {
    /// The octets, decompressed.
    pub(crate) bytes: Bytes,
    /// Given back when the request is answered.
    pub(crate) share: Share,
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyRules {
    /// Most octets, after decompression.
    pub(crate) bytes_max: u64,
    /// The one media type; `None` takes any and leaves content codings alone.
    pub(crate) media_type: Option<&'static str>,
    /// Whose budget and time it takes.
    pub(crate) sender: Sender,
}

/// Reads the body by the rules.
///
/// # Errors
/// 413 by the announced or the real size, 415, 408 when it takes too long, 503 when all bodies
/// of such senders together are too large, 400 when it cannot be read.
pub(crate) async fn read(
    state: &HttpState,
    headers: &HeaderMap,
    body: Body,
    rules: BodyRules,
) -> Result<Received, Problem> {
    let is_gzip = match rules.media_type {
        Some(media_type) => {
            check_media_type(headers, media_type)?;
            is_gzip(headers)?
        }
        None => false,
    };
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > rules.bytes_max) {
        return Err(too_large(rules.bytes_max));
    }
    let sink = BodySink {
        kept: BytesMut::new(),
        bytes_max: rules.bytes_max,
        share: Share::new(state.budget_for(rules.sender)),
        fault: None,
    };
    let reading = collect(body, sink, is_gzip);
    let wait_max = match rules.sender {
        Sender::Known => state.config.body_timeout.0,
        Sender::Stranger => state.config.body_timeout.0.min(STRANGER_WAIT_MAX),
    };
    match tokio::time::timeout(wait_max, reading).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            ProblemKind::BodyTimeout,
            format!("the body was not complete after {} s", wait_max.as_secs()),
        )),
    }
}

async fn collect(mut body: Body, sink: BodySink, is_gzip: bool) -> Result<Received, Problem> {
    let bytes_max = sink.bytes_max;
    let mut writer = BodyWriter::new(sink, is_gzip);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| Problem::new(ProblemKind::MalformedBody, "the body cannot be read"))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        writer
            .write(data)
            .map_err(|fault| fault.problem(bytes_max))?;
    }
    let sink = writer.finish().map_err(|fault| fault.problem(bytes_max))?;
    Ok(Received {
        bytes: sink.kept.freeze(),
        share: sink.share,
    })
}

fn too_large(bytes_max: u64) -> Problem {
    let text = format!("the body is larger than {bytes_max} octets");
    Problem::new(ProblemKind::BodyTooLarge, text)
}

fn check_media_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let essence = value.and_then(|text| text.split(';').next()).map(str::trim);
    let is_right = essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted));
    if is_right && values.next().is_none() {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::UnsupportedMediaType,
        format!("send the body as {wanted}"),
    ))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(first) = values.next() else {
        return Ok(false);
    };
    let word = first.to_str().unwrap_or_default().trim();
    let is_gzip = word.eq_ignore_ascii_case("gzip");
    if (is_gzip || word.eq_ignore_ascii_case("identity")) && values.next().is_none() {
        return Ok(is_gzip);
    }
    Err(Problem::new(
        ProblemKind::UnsupportedEncoding,
        "send the body as it is, or with one `Content-Encoding: gzip`",
    ))
}

/// Why octets were not kept.
#[derive(Debug, Clone, Copy)]
enum BodyFault {
    TooLarge,
    Busy,
    NotGzip,
}

impl BodyFault {
    fn problem(self, bytes_max: u64) -> Problem {
        match self {
            Self::TooLarge => too_large(bytes_max),
            Self::Busy => Problem::new(ProblemKind::Busy, "too many large bodies at once"),
            Self::NotGzip => Problem::new(ProblemKind::MalformedBody, "the body is not gzip"),
        }
    }
}

/// Keeps octets up to the bound, taking budget as it grows.
#[derive(Debug)]
struct BodySink {
    kept: BytesMut,
    bytes_max: u64,
    share: Share,
    /// Why the last write failed; [`Write`] itself can only say that it did.
    fault: Option<BodyFault>,
}

impl BodySink {
    fn keep(&mut self, data: &[u8]) -> Result<(), BodyFault> {
        let length = (self.kept.len() + data.len()) as u64;
        if length > self.bytes_max {
            return Err(BodyFault::TooLarge);
        }
        if !self.share.grow_to(length) {
            return Err(BodyFault::Busy);
        }
        self.kept.extend_from_slice(data);
        Ok(())
    }
}

impl Write for BodySink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.keep(data).map_err(|fault| {
            self.fault = Some(fault);
            io::Error::from(io::ErrorKind::OutOfMemory)
        })?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum BodyWriter {
    Plain(BodySink),
    Gzip(Box<MultiGzDecoder<BodySink>>),
}

impl BodyWriter {
    fn new(sink: BodySink, is_gzip: bool) -> Self {
        if is_gzip {
            Self::Gzip(Box::new(MultiGzDecoder::new(sink)))
        } else {
            Self::Plain(sink)
        }
    }

    fn write(&mut self, data: &[u8]) -> Result<(), BodyFault> {
        match self {
            Self::Plain(sink) => sink.keep(data),
            Self::Gzip(decoder) => decoder
                .write_all(data)
                .map_err(|_| decoder.get_ref().fault.unwrap_or(BodyFault::NotGzip)),
        }
    }

    fn finish(self) -> Result<BodySink, BodyFault> {
        match self {
            Self::Plain(sink) => Ok(sink),
            Self::Gzip(mut decoder) => {
                let ended = decoder.try_finish();
                let fault = decoder.get_ref().fault.unwrap_or(BodyFault::NotGzip);
                ended.map_err(|_| fault)?;
                decoder.finish().map_err(|_| fault)
            }
        }
    }
}

/// A request's share of the octets that may be in memory at once.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    units: u64,
}

impl Share {
    const fn new(budget: Arc<Semaphore>) -> Self {
        Self {
            budget,
            held: None,
            units: 0,
        }
    }

    /// Grows the share; `false` if the budget is spent. Requests never wait for each other's
    /// memory: each holds some, and they could wait for ever.
    fn grow_to(&mut self, bytes: u64) -> bool {
        let units = bytes.div_ceil(BUDGET_UNIT_BYTES);
        let Ok(missing) = u32::try_from(units.saturating_sub(self.units)) else {
            return false;
        };
        if missing == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.budget).try_acquire_many_owned(missing) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        self.units = units;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(bytes_max: u64, budget_units: usize) -> BodySink {
        BodySink {
            kept: BytesMut::new(),
            bytes_max,
            share: Share::new(Arc::new(Semaphore::new(budget_units))),
            fault: None,
        }
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_stopped_by_the_decompressed_count() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        let mut writer = BodyWriter::new(sink(1 << 20, 1 << 20), true);
        let result = bomb.chunks(4096).try_for_each(|chunk| writer.write(chunk));
        assert!(matches!(result, Err(BodyFault::TooLarge)));
        let BodyWriter::Gzip(decoder) = writer else {
            panic!("not gzip")
        };
        assert!(decoder.get_ref().kept.len() <= 1 << 20);
    }

    #[test]
    fn gzip_is_read_whole_and_what_is_not_gzip_or_cut_short_is_refused() {
        let packed = gzip(b"hello");
        let mut writer = BodyWriter::new(sink(1024, 1), true);
        packed
            .chunks(3)
            .for_each(|chunk| writer.write(chunk).unwrap());
        assert_eq!(&writer.finish().unwrap().kept[..], b"hello");

        let mut cut = BodyWriter::new(sink(1024, 1), true);
        cut.write(&packed[..packed.len() - 4]).unwrap();
        assert!(matches!(cut.finish(), Err(BodyFault::NotGzip)));
        let mut garbage = BodyWriter::new(sink(1024, 1), true);
        let written = garbage.write(b"this is no gzip stream at all");
        assert!(written.is_err() || garbage.finish().is_err());
    }

    #[test]
    fn the_budget_is_taken_as_bodies_grow_and_given_back() {
        let mut first = sink(1 << 20, 4);
        first.keep(&[0; 3000]).unwrap();
        let budget = Arc::clone(&first.share.budget);
        assert_eq!(budget.available_permits(), 1);
        assert!(matches!(first.keep(&[0; 3000]), Err(BodyFault::Busy)));
        drop(first);
        assert_eq!(budget.available_permits(), 4);
    }

    #[test]
    fn other_media_types_and_codings_are_refused() {
        let headers = |name: header::HeaderName, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&name, value.parse().unwrap());
            }
            headers
        };
        let json = "application/json";
        for good in [json, "Application/JSON; charset=utf-8"] {
            assert!(check_media_type(&headers(header::CONTENT_TYPE, &[good]), json).is_ok());
        }
        for bad in [
            &[][..],
            &["text/plain"],
            &["application/jsonx"],
            &[json, json],
        ] {
            assert!(check_media_type(&headers(header::CONTENT_TYPE, bad), json).is_err());
        }
        let coding = |values: &[&str]| is_gzip(&headers(header::CONTENT_ENCODING, values));
        assert_eq!(coding(&[]), Ok(false));
        assert_eq!(coding(&["identity"]), Ok(false));
        assert_eq!(coding(&["GZIP"]), Ok(true));
        for bad in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &[""]] {
            assert!(coding(bad).is_err(), "{bad:?}");
        }
    }
}
