//! Findings: what was expected beside what was seen, one row each, in words as well as in colour.

use std::fmt::Debug;
use std::fmt::Write as _;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[1;31m";
const OFF: &str = "\x1b[0m";

/// One expectation and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at.
    what: &'static str,
    verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// As it should be, in words.
    Good(String),
    /// What was expected, and what was seen.
    Fault(String),
}

impl Finding {
    /// Good where `seen` is `expected`; then `words` say what was seen.
    pub(super) fn of<T: PartialEq + Debug>(
        what: &'static str,
        words: impl Into<String>,
        (seen, expected): (T, T),
    ) -> Self {
        let verdict = if seen == expected {
            Verdict::Good(words.into())
        } else {
            Verdict::Fault(format!("expected {expected:?}, saw {seen:?}"))
        };
        Self { what, verdict }
    }

    /// Whether it is not as it should be.
    pub(super) const fn is_fault(&self) -> bool {
        matches!(self.verdict, Verdict::Fault(_))
    }
}

/// Whether a text may hold colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// For terminals that like them.
    Colours,
    /// For everything else.
    Plain,
}

/// The findings as a table.
pub(super) fn table(findings: &[Finding], paint: Paint) -> String {
    let width = findings.iter().map(|finding| finding.what.chars().count());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let (word, colour, seen) = match &finding.verdict {
            Verdict::Good(seen) => ("ok   ", GREEN, seen),
            Verdict::Fault(seen) => ("FAULT", RED, seen),
        };
        let word = match paint {
            Paint::Colours => format!("{colour}{word}{OFF}"),
            Paint::Plain => word.to_owned(),
        };
        let line = writeln!(text, "  {word}  {:<width$}  {seen}", finding.what);
        debug_assert!(line.is_ok(), "writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_seen_and_a_fault_what_was_expected_too() {
        let findings = [
            Finding::of("bounce", "noted once", (1, 1)),
            Finding::of("queued mail", "gone", (2, 0)),
        ];
        let plain = "  ok     bounce       noted once\n  \
                     FAULT  queued mail  expected 0, saw 2\n";
        assert_eq!(table(&findings, Paint::Plain), plain);
        let faults: Vec<bool> = findings.iter().map(Finding::is_fault).collect();
        assert_eq!(faults, [false, true]);
        let coloured = table(&findings, Paint::Colours);
        assert!(coloured.contains("\x1b[32mok   \x1b[0m"), "{coloured:?}");
        assert!(coloured.contains("\x1b[1;31mFAULT\x1b[0m"), "{coloured:?}");
    }
}
