//! Everything that is wrong with a configuration, for terminals and for machines.

use std::fmt;

use malote_core::fault::Severity;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// What checking a configuration found. Sorted by place: files in the order given, then
/// environment variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The faults.
    pub faults: Vec<Fault>,
    /// Whether checks were left out because a file could not be read, or because there were too
    /// many faults: more may be found once these are gone.
    pub is_partial: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether it stops the start.
    pub severity: Severity,
    /// The key's path, `providers.ses.pools.tx`; empty for a fault of a whole file.
    pub key: String,
    /// What is wrong and the way out, lower case, no full stop. Holds no secret.
    pub message: String,
    /// Where it was set; `None` for what is set nowhere.
    pub location: Option<Location>,
}

/// Where a fault was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a file.
    File {
        /// The file as it was given.
        file: String,
        /// Counted from 1; 0 if the fault is of the file as a whole.
        line: usize,
        /// In characters, counted from 1; 0 if the fault is of the file as a whole.
        column: usize,
        /// The line and the part of it that is meant.
        excerpt: Option<Excerpt>,
    },
    /// By an environment variable.
    Variable {
        /// Its name.
        name: String,
    },
}

/// A line of a file, secrets and values of unknown keys replaced by `***`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The line without its end.
    pub line: String,
    /// Characters before the part that is meant.
    pub start: usize,
    /// Characters of the part that is meant, at least 1.
    pub length: usize,
}

impl Report {
    /// Whether the gateway may start.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors() == 0
    }

    /// How many faults stop the start.
    #[must_use]
    pub fn errors(&self) -> usize {
        let errors = self.faults.iter().filter(|f| f.severity == Severity::Error);
        errors.count()
    }

    /// How many faults are only said.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.faults.len() - self.errors()
    }

    /// Exit code of `malote check`: 0 if the gateway may start, else 2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_good() { 0 } else { 2 }
    }

    /// The report as text; `is_coloured` for a terminal that likes colours.
    #[must_use]
    pub fn render(&self, is_coloured: bool) -> String {
        let paint = if is_coloured { COLOURED } else { PLAIN };
        Painted(self, paint).to_string()
    }
}

/// A report in the colours of a terminal, or in none.
struct Painted<'a>(&'a Report, Paint);

impl fmt::Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report, paint) = self;
        for fault in &report.faults {
            fault.render(f, paint)?;
        }
        let errors = count(report.errors(), "error");
        let warnings = count(report.warnings(), "warning");
        let rest = if report.is_partial {
            "; some checks wait until these errors are gone"
        } else {
            ""
        };
        writeln!(f, "{errors}, {warnings}{rest}")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Painted(self, PLAIN).fmt(f)
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Terminal sequences around parts of the text.
struct Paint {
    error: &'static str,
    warning: &'static str,
    place: &'static str,
    off: &'static str,
}

const PLAIN: Paint = Paint {
    error: "",
    warning: "",
    place: "",
    off: "",
};
const COLOURED: Paint = Paint {
    error: "\x1b[1;31m",
    warning: "\x1b[1;33m",
    place: "\x1b[36m",
    off: "\x1b[0m",
};

impl Fault {
    fn render(&self, text: &mut fmt::Formatter<'_>, paint: &Paint) -> fmt::Result {
        let (colour, word) = match self.severity {
            Severity::Error => (paint.error, "error"),
            Severity::Warning => (paint.warning, "warning"),
        };
        if let Some(location) = &self.location {
            write!(text, "{}{location}{}: ", paint.place, paint.off)?;
        }
        write!(text, "{colour}{word}{}: ", paint.off)?;
        if !self.key.is_empty() {
            write!(text, "{}: ", self.key)?;
        }
        writeln!(text, "{}", self.message)?;
        let Some(Location::File {
            line,
            excerpt: Some(excerpt),
            ..
        }) = &self.location
        else {
            return Ok(());
        };
        let number = line.to_string();
        writeln!(text, "  {number} | {}", excerpt.line)?;
        let indent: String = excerpt
            .line
            .chars()
            .take(excerpt.start)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let gutter = " ".repeat(number.len());
        let carets = "^".repeat(excerpt.length);
        writeln!(text, "  {gutter} | {indent}{colour}{carets}{}", paint.off)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0, .. } => f.write_str(file),
            Self::File {
                file, line, column, ..
            } => write!(f, "{file}:{line}:{column}"),
            Self::Variable { name } => f.write_str(name),
        }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 5)?;
        report.serialize_field("ok", &self.is_good())?;
        report.serialize_field("errors", &self.errors())?;
        report.serialize_field("warnings", &self.warnings())?;
        report.serialize_field("is_partial", &self.is_partial)?;
        report.serialize_field("faults", &self.faults)?;
        report.end()
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (file, line, column, variable) = match &self.location {
            Some(Location::File {
                file, line, column, ..
            }) => (Some(file), Some(line), Some(column), None),
            Some(Location::Variable { name }) => (None, None, None, Some(name)),
            None => (None, None, None, None),
        };
        let mut fault = serializer.serialize_struct("Fault", 7)?;
        fault.serialize_field("severity", severity)?;
        fault.serialize_field("key", &self.key)?;
        fault.serialize_field("message", &self.message)?;
        fault.serialize_field("file", &file)?;
        fault.serialize_field("line", &line)?;
        fault.serialize_field("column", &column)?;
        fault.serialize_field("variable", &variable)?;
        fault.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            faults: vec![Fault {
                severity: Severity::Error,
                key: "http.lisen".into(),
                message: "unknown key; did you mean `listen`?".into(),
                location: Some(Location::File {
                    file: "malote.toml".into(),
                    line: 12,
                    column: 3,
                    excerpt: Some(Excerpt {
                        line: "\t lisen = ***".into(),
                        start: 2,
                        length: 5,
                    }),
                }),
            }],
            is_partial: false,
        }
    }

    #[test]
    fn a_fault_is_one_line_for_tools_and_the_line_itself_for_people() {
        let text = report().to_string();
        assert_eq!(
            text,
            "malote.toml:12:3: error: http.lisen: unknown key; did you mean `listen`?\n\
             \x20 12 | \t lisen = ***\n\
             \x20    | \t ^^^^^\n\
             1 error, 0 warnings\n"
        );
        assert!(!text.contains('\x1b') && report().render(true).contains('\x1b'));
        assert_eq!(report().exit_code(), 2);
        assert_eq!(Report::default().exit_code(), 0);
    }

    #[test]
    fn machines_read_the_place_as_fields() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["errors"], 1);
        assert_eq!(json["faults"][0]["line"], 12);
        assert_eq!(json["faults"][0]["severity"], "error");
    }
}
