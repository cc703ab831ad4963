//! How far long work has come, on standard error: a bar on a terminal, a line every few seconds
//! elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::{Clock, SystemClock};

use super::out;

/// How often the bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written where nobody watches.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Cells of a bar.
const CELLS: u64 = 30;

/// Long work under way. Work that is over at once shows nothing.
pub(super) struct Progress {
    clock: SystemClock,
    verb: &'static str,
    /// Of what; empty if that goes without saying.
    of: &'static str,
    total: Option<u64>,
    is_bar: bool,
    shown_at: Timestamp,
    is_shown: bool,
}

impl Progress {
    /// Begins; `total` is what there is to do, in the unit of [`Progress::at`], if known.
    pub(super) fn start(verb: &'static str, total: Option<u64>) -> Self {
        let clock = SystemClock::start();
        let is_bar =
            io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        Self {
            shown_at: clock.now(),
            clock,
            verb,
            of: "",
            total,
            is_bar,
            is_shown: false,
        }
    }

    /// Begins with one of several things, of which it is not known how much there is.
    pub(super) fn of(verb: &'static str, of: &'static str) -> Self {
        Self {
            of,
            ..Self::start(verb, None)
        }
    }

    /// So much of the total is done, and so many entries. What cannot be shown is not.
    pub(super) fn at(&mut self, done: u64, entries: u64) {
        let now = self.clock.now();
        let every = if self.is_bar { BAR_EVERY } else { LINE_EVERY };
        if now.duration_since(self.shown_at).unsigned_abs() < every {
            return;
        }
        (self.shown_at, self.is_shown) = (now, true);
        let total = self.total.filter(|total| *total > 0);
        let mut err = io::stderr().lock();
        let written = match (self.is_bar, total) {
            (true, Some(total)) => {
                let text = bar(done, total);
                let bar = if out::is_error_coloured() {
                    format!("\x1b[32m{text}\x1b[0m")
                } else {
                    text
                };
                write!(
                    err,
                    "\r{bar} {}% {entries} {}",
                    percent(done, total),
                    self.verb
                )
            }
            (true, None) => write!(err, "\r{}{entries} {}", self.head(), self.verb),
            (false, Some(total)) => {
                writeln!(err, "{entries} {}, {}%", self.verb, percent(done, total))
            }
            (false, None) => writeln!(err, "{}{entries} {}", self.head(), self.verb),
        };
        // Progress is worth no failure.
        drop(written.and_then(|()| err.flush()));
    }

    fn head(&self) -> String {
        match self.of {
            "" => String::new(),
            of => format!("{of}: "),
        }
    }

    /// Leaves the line of the bar.
    pub(super) fn end(self) {
        if self.is_bar && self.is_shown {
            eprintln!();
        }
    }
}

fn percent(done: u64, total: u64) -> u64 {
    done.min(total).saturating_mul(100) / total
}

fn bar(done: u64, total: u64) -> String {
    let full = done.min(total).saturating_mul(CELLS) / total;
    (0..CELLS)
        .map(|cell| if cell < full { '#' } else { '.' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_never_overflows() {
        for (done, cells, percents) in [(0, 0, 0), (50, 15, 50), (100, 30, 100), (200, 30, 100)] {
            let bar = bar(done, 100);
            assert_eq!(bar.len(), 30);
            assert_eq!(bar.matches('#').count(), cells);
            assert_eq!(percent(done, 100), percents);
        }
    }
}
