//! What was found, for people and for machines.

use malote_core::provider::bounded;
use serde::Serialize;

const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[36m";
const BOLD: &str = "\x1b[1m";
const OFF: &str = "\x1b[0m";

/// Longest line of text, in octets: a record that others wrote may be longer.
const TEXT_BYTES_MAX: usize = 1_000;
/// Longest value to publish: a DKIM key of 4096 bits with all its tags.
const VALUE_BYTES_MAX: usize = 2_000;
/// Octets that one string of a text record holds (RFC 1035 3.3).
const STRING_BYTES_MAX: usize = 255;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Nobody answered, or nobody can be asked. Neither good nor bad.
    Unknown,
    /// Mail arrives, but worse than it could, or is about to stop.
    Warning,
    /// Mail is refused, is put aside, or fails without anybody hearing of it.
    Fault,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "WARNING",
            Self::Fault => "FAULT",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Ok => GREEN,
            Self::Unknown => CYAN,
            Self::Warning => YELLOW,
            Self::Fault => RED,
        }
    }
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Publish {
    /// The whole name, without final dot.
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: String,
}

impl Publish {
    /// A record.
    pub(super) fn new(name: impl Into<String>, kind: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: kind.to_owned(),
            value: value.into(),
        }
    }

    /// As a zone file has it; names end with a dot, long texts are cut into strings.
    fn line(&self) -> String {
        let value = bounded(&self.value, VALUE_BYTES_MAX);
        let value = match self.kind.as_str() {
            "TXT" => quoted(&value),
            "CNAME" | "MX" if value.is_ascii() && !value.ends_with(['.', ')']) => {
                format!("{value}.")
            }
            _ => value,
        };
        format!("{}. {} {value}", bounded(&self.name, 255), self.kind)
    }
}

fn quoted(text: &str) -> String {
    let mut strings = vec![String::new()];
    for c in text.chars() {
        let is_full = strings
            .last()
            .is_some_and(|s| s.len() + 2 > STRING_BYTES_MAX);
        if is_full {
            strings.push(String::new());
        }
        if let Some(last) = strings.last_mut() {
            if matches!(c, '"' | '\\') {
                last.push('\\');
            }
            last.push(c);
        }
    }
    let strings: Vec<String> = strings.iter().map(|s| format!("\"{s}\"")).collect();
    strings.join(" ")
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) level: Level,
    /// What was looked at: `SPF`, `DKIM ses`.
    pub(super) check: String,
    /// What was found.
    pub(super) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) way_out: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) publish: Vec<Publish>,
}

impl Line {
    /// A finding that asks for nothing.
    pub(super) fn new(level: Level, check: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level,
            check: check.into(),
            text: text.into(),
            way_out: None,
            publish: Vec::new(),
        }
    }

    /// The same, with what to do.
    #[must_use]
    pub(super) fn way_out(mut self, text: impl Into<String>) -> Self {
        self.way_out = Some(text.into());
        self
    }

    /// The same, with a record to publish.
    #[must_use]
    pub(super) fn publish(mut self, record: Publish) -> Self {
        self.publish.push(record);
        self
    }
}

/// All findings about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Section {
    pub(super) name: String,
    /// What it has to do with this configuration.
    pub(super) about: String,
    pub(super) lines: Vec<Line>,
    /// Pages of others that have no interface for programs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pages: Vec<String>,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Report {
    pub(super) faults: usize,
    pub(super) warnings: usize,
    pub(super) unknown: usize,
    pub(super) providers: Vec<Section>,
    pub(super) domains: Vec<Section>,
    pub(super) addresses: Vec<Section>,
    pub(super) outlets: Vec<Section>,
    /// The domain that mail comes back to.
    pub(super) returns: Vec<Section>,
    /// Where links of List-Unsubscribe lead.
    pub(super) links: Vec<Section>,
}

impl Report {
    /// Counts what the sections hold.
    #[must_use]
    pub(super) fn counted(mut self) -> Self {
        let count = |level| self.lines().filter(|line| line.level == level).count();
        let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
        self.unknown = count(Level::Unknown);
        (self.faults, self.warnings) = (faults, warnings);
        self
    }

    fn parts(&self) -> [(&'static str, &[Section]); 6] {
        [
            ("PROVIDER", &self.providers),
            ("DOMAIN", &self.domains),
            ("ADDRESS", &self.addresses),
            ("OUTLET", &self.outlets),
            ("RETURN PATH", &self.returns),
            ("LINKS", &self.links),
        ]
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        let parts = self.parts().into_iter();
        parts.flat_map(|(_, sections)| sections.iter().flat_map(|section| &section.lines))
    }

    /// The report for people: a table for each thing, then how many faults there are.
    pub(super) fn render(&self, is_coloured: bool) -> String {
        let paint = |colour: &str, text: &str| match is_coloured {
            true => format!("{colour}{text}{OFF}"),
            false => text.to_owned(),
        };
        let widths = self.lines().map(|line| line.check.chars().count());
        let width = widths.max().unwrap_or(0).min(40);
        let mut text = String::new();
        for (part, sections) in self.parts() {
            for section in sections {
                let name = bounded(&section.name, 255);
                let about = bounded(&section.about, TEXT_BYTES_MAX);
                text.push_str(&paint(BOLD, &format!("{part} {name}")));
                text.push_str(&format!("  {about}\n"));
                for line in &section.lines {
                    let word = format!("{:<7}", line.level.word());
                    text.push_str(&format!(
                        "  {}  {:<width$}  {}\n",
                        paint(line.level.colour(), &word),
                        bounded(&line.check, 80),
                        bounded(&line.text, TEXT_BYTES_MAX)
                    ));
                    let indent = " ".repeat(width + 13);
                    if let Some(way_out) = &line.way_out {
                        let way_out = bounded(way_out, TEXT_BYTES_MAX);
                        text.push_str(&format!("{indent}-> {way_out}\n"));
                    }
                    for record in &line.publish {
                        text.push_str(&format!("{indent}publish: {}\n", record.line()));
                    }
                }
                for page in &section.pages {
                    text.push_str(&format!("  see      {}\n", bounded(page, 255)));
                }
                text.push('\n');
            }
        }
        let verdict = self.verdict();
        let colour = match (self.faults, self.warnings) {
            (0, 0) => GREEN,
            (0, _) => YELLOW,
            (_, _) => RED,
        };
        text.push_str(&paint(colour, &verdict));
        text.push('\n');
        text
    }

    fn verdict(&self) -> String {
        let plural = |count: usize, word: &str| match count {
            1 => format!("1 {word}"),
            several => format!("{several} {word}s"),
        };
        format!(
            "{}, {}, {} unknown",
            plural(self.faults, "fault"),
            plural(self.warnings, "warning"),
            self.unknown
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(line: Line) -> Report {
        let section = Section {
            name: "x.test".to_owned(),
            about: "credential shop".to_owned(),
            lines: vec![Line::new(Level::Ok, "SPF", "fine"), line],
            pages: vec!["https://y.test/x.test".to_owned()],
        };
        Report {
            domains: vec![section],
            ..Report::default()
        }
        .counted()
    }

    #[test]
    fn words_stand_beside_colours_and_records_are_ready_to_paste() {
        let record = Publish::new("_dmarc.x.test", "TXT", "v=DMARC1; p=none");
        let line = Line::new(Level::Fault, "DMARC", "none").way_out("publish one");
        let report = report(line.publish(record));
        let text = report.render(false);
        assert_eq!(
            text,
            "DOMAIN x.test  credential shop\n\
             \x20 ok       SPF    fine\n\
             \x20 FAULT    DMARC  none\n\
             \x20                 -> publish one\n\
             \x20                 publish: _dmarc.x.test. TXT \"v=DMARC1; p=none\"\n\
             \x20 see      https://y.test/x.test\n\n\
             1 fault, 0 warnings, 0 unknown\n"
        );
        assert!(report.render(true).contains("\x1b[1;31mFAULT"));
    }

    #[test]
    fn what_others_wrote_moves_no_terminal() {
        let line = Line::new(Level::Warning, "SPF", "v=spf1 \x1b[2J\u{202e}\r\nFAULT");
        let text = report(line).render(false);
        assert!(!text.contains(['\x1b', '\r', '\u{202e}']), "{text:?}");
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn a_long_text_is_cut_into_strings() {
        let record = Publish::new(
            "s._domainkey.x.test",
            "TXT",
            format!("p={}", "A".repeat(400)),
        );
        let line = record.line();
        let strings: Vec<&str> = line.split('"').filter(|s| s.contains('A')).collect();
        assert_eq!(strings.len(), 2, "{line}");
        assert!(strings.iter().all(|s| s.len() <= STRING_BYTES_MAX));
        let name = Publish::new("a.x.test", "CNAME", "b.y.test").line();
        assert_eq!(name, "a.x.test. CNAME b.y.test.");
    }
}
