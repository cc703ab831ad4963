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

/// The findings of one scene, or of all of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chapter {
    /// Its heading.
    pub(super) title: &'static str,
    /// One row each.
    pub(super) findings: Vec<Finding>,
}

/// The findings as a table, under their headings.
pub(super) fn table(chapters: &[Chapter], paint: Paint) -> String {
    let all = chapters.iter().flat_map(|chapter| &chapter.findings);
    let width = all.map(|finding| finding.what.chars().count());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for chapter in chapters {
        let line = writeln!(text, "  {}", chapter.title);
        debug_assert!(line.is_ok(), "writing to a String cannot fail");
        text.push_str(&rows(&chapter.findings, width, paint));
    }
    text
}

fn rows(findings: &[Finding], width: usize, paint: Paint) -> String {
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
        let faults: Vec<bool> = findings.iter().map(Finding::is_fault).collect();
        assert_eq!(faults, [false, true]);
        let chapters = findings.map(|finding| Chapter {
            title: "1. what comes back",
            findings: vec![finding],
        });
        let plain = "  1. what comes back\n  ok     bounce       noted once\n  \
                     1. what comes back\n  FAULT  queued mail  expected 0, saw 2\n";
        assert_eq!(table(&chapters, Paint::Plain), plain);
        let coloured = table(&chapters, Paint::Colours);
        assert!(coloured.contains("\x1b[32mok   \x1b[0m"), "{coloured:?}");
        assert!(coloured.contains("\x1b[1;31mFAULT\x1b[0m"), "{coloured:?}");
    }
}
