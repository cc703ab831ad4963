//! That lines stay lines, that strangers stay silent, and that nobody waits for a reader.

use std::sync::{Arc, Condvar, Mutex};

use super::*;

/// Keeps what is written, and can be made to block.
#[derive(Clone, Default)]
struct Paper(Arc<(Mutex<Sheet>, Condvar)>);

/// What is written, and whether the next writer waits.
type Sheet = (Vec<u8>, bool);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().0.clone()).unwrap()
    }

    fn block(&self, is_blocked: bool) {
        self.0.0.lock().unwrap().1 = is_blocked;
        self.0.1.notify_all();
    }
}

impl Write for Paper {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let guard = self.0.0.lock().unwrap();
        let mut guard = self.0.1.wait_while(guard, |state| state.1).unwrap();
        guard.0.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped() -> IntCounter {
    IntCounter::new("dropped", "lines").unwrap()
}

fn written(format: LogFormat, level: &str, log: impl FnOnce()) -> String {
    let paper = Paper::default();
    let writer = LineWriter::start(Box::new(paper.clone()), dropped()).unwrap();
    let subscriber = subscriber(format, level, false, writer.sender()).unwrap();
    tracing::subscriber::with_default(subscriber, log);
    writer.finish(Duration::from_secs(5));
    paper.text()
}

#[test]
fn a_value_with_line_ends_and_escapes_stays_one_line() {
    let hostile = "x\n{\"level\":\"ERROR\"}\r\x1b[31m\u{202e}\u{2028}";
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = written(format, "info", || {
            tracing::info!(helo = hostile, reply = %hostile, n = 3, "greeted {hostile}");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let body = text.trim_end_matches('\n');
        assert!(!body.contains(['\r', '\x1b']), "{text}");
    }
    let text = written(LogFormat::Text, "info", || {
        tracing::info!(helo = hostile, n = 3, "greeted");
    });
    assert!(!text.contains(['\u{202e}', '\u{2028}']));
    assert!(
        text.contains("malote::logging::tests: greeted helo=\"x\\u{a}{"),
        "{text}"
    );
    assert!(text.contains(" n=3\n"), "{text}");
}

#[test]
fn json_lines_are_json() {
    let text = written(LogFormat::Json, "debug", || {
        tracing::debug!(provider = "ses", "opened breaker");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["message"], "opened breaker");
    assert_eq!(line["provider"], "ses");
}

#[test]
fn other_crates_are_heard_from_warn_up_at_any_level() {
    let text = written(LogFormat::Text, "trace", || {
        tracing::debug!(target: "h2::codec", "authorization: Bearer x");
        tracing::info!(target: "rustls", "x");
        tracing::warn!(target: "rustls", "heard");
        tracing::trace!("ours");
    });
    assert!(!text.contains("Bearer") && text.contains("heard") && text.contains("ours"));
}

#[test]
fn a_blocked_reader_costs_lines_and_nothing_else() {
    let paper = Paper::default();
    paper.block(true);
    let dropped = dropped();
    let writer = LineWriter::start(Box::new(paper.clone()), dropped.clone()).unwrap();
    let mut sender = writer.sender();
    for _ in 0..5_000 {
        sender.write_all(b"line\n").unwrap();
    }
    assert!(dropped.get() >= 5_000 - 2_048 - 1, "{}", dropped.get());
    paper.block(false);
    // A full channel refuses the farewell too; make room first.
    while paper.text().is_empty() {
        std::thread::yield_now();
    }
    drop(sender);
    writer.finish(Duration::from_secs(5));
}

#[test]
fn a_line_too_long_is_cut_and_still_a_line() {
    let text = written(LogFormat::Text, "info", || {
        tracing::info!(value = "x".repeat(100_000), "long");
    });
    assert!(text.len() <= 8_192 && text.ends_with('\n'));
}

#[test]
fn only_levels_are_levels() {
    for good in ["info", "warn", "info,malote_delivery=debug", "off"] {
        assert!(parse_level(good).is_some(), "{good}");
    }
    for bad in ["chatty", "info,x=loud", "malote[[=", "", "=info"] {
        assert!(parse_level(bad).is_none(), "{bad}");
    }
}
