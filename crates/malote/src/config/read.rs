//! Reads the sources into one tree, and the tree into the raw structs, noting every fault.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use malote_core::fault::{ConfigFault, Severity};
use serde::de::DeserializeOwned;

use super::de::{Misfit, NodeReader, Notes, UnknownKey, nearest, unknown_key_message};
use super::report::{Excerpt, Fault, Location, Report};
use super::secrets;
use super::source::{Source, read_file, set_variable, variables};
use super::tree::{Node, Path, Place, Step};

/// Most faults that are looked for one by one. A file with more is not worth more patience.
const ROUNDS_MAX: usize = 200;
/// Most faults that are reported.
const FAULTS_MAX: usize = 500;

/// The sources merged, and what was wrong with them so far.
#[derive(Debug)]
pub(crate) struct Reading {
    sources: Vec<Source>,
    tree: Node,
    found: Vec<Found>,
    /// Values that were taken out because they were wrong: what would be said because they are
    /// gone is not said.
    pruned: Vec<Path>,
    /// Keys that no table knows.
    unknown: BTreeSet<Path>,
    is_partial: bool,
    /// How many faults were too many to keep.
    more: usize,
}

/// A fault with the place in the source.
#[derive(Debug)]
struct Found {
    severity: Severity,
    key: String,
    message: String,
    place: Option<Place>,
}

impl Reading {
    /// Reads files in order, then the variables; later ones are laid over earlier ones.
    pub(crate) fn new(
        files: &[PathBuf],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let mut reading = Self {
            sources: Vec::new(),
            tree: Node::empty(),
            found: Vec::new(),
            pruned: Vec::new(),
            unknown: BTreeSet::new(),
            is_partial: false,
            more: 0,
        };
        for file in files {
            reading.add_file(file);
        }
        for variable in variables(environment) {
            let source = reading.sources.len();
            reading
                .sources
                .push(Source::Variable(variable.name.clone()));
            if let Err(message) = set_variable(&mut reading.tree, &variable, source) {
                reading.add(Severity::Error, String::new(), message, Some(start(source)));
            }
        }
        reading
    }

    fn add_file(&mut self, file: &FilePath) {
        let source = self.sources.len();
        let path = file.to_path_buf();
        match read_file(file) {
            Ok(text) => {
                let parsed = Node::parse(&text, source);
                self.sources.push(Source::File { path, text });
                match parsed {
                    Ok(node) => self.tree.merge(node),
                    Err(fault) => {
                        let span = fault.span;
                        let place = Place { source, span };
                        self.add(Severity::Error, String::new(), fault.message, Some(place));
                        self.is_partial = true;
                    }
                }
            }
            Err(fault) => {
                let cause = fault.source().map(|cause| format!(": {cause}"));
                let message = format!("{fault}{}", cause.unwrap_or_default());
                let text = String::new();
                self.sources.push(Source::File { path, text });
                self.add(Severity::Error, String::new(), message, Some(start(source)));
                self.is_partial = true;
            }
        }
    }

    fn add(&mut self, severity: Severity, key: String, message: String, place: Option<Place>) {
        if self.found.len() < FAULTS_MAX {
            self.found.push(Found {
                severity,
                key,
                message,
                place,
            });
        } else {
            self.more += 1;
        }
    }

    /// Whether a whole file, table or list element had to be left out, so that what names it
    /// cannot be checked.
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether anything found so far stops the start.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|f| f.severity == Severity::Error)
    }

    /// The merged tree, less what was wrong.
    pub(crate) fn tree(&self) -> &Node {
        &self.tree
    }

    /// Reads the tree as `T`. Every unknown key and every value that does not fit is noted and
    /// taken out, and reading goes on. `None` if nothing fits at all.
    pub(crate) fn extract<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..ROUNDS_MAX {
            let notes = RefCell::default();
            let root = Path::default();
            let result = T::deserialize(NodeReader::root(&self.tree, &root, &notes));
            let notes: Notes = notes.into_inner();
            for key in notes.unknown {
                self.tree.prune(&key.path);
                self.note_unknown(key);
            }
            match result {
                Ok(value) => return Some(value),
                Err(misfit) => {
                    if !self.note_misfit(misfit) {
                        break;
                    }
                }
            }
        }
        self.is_partial = true;
        None
    }

    fn note_unknown(&mut self, key: UnknownKey) {
        if !self.unknown.insert(key.path.clone()) {
            return;
        }
        let name = key.path.last_key().unwrap_or_default().to_owned();
        let message = unknown_key_message(&name, key.known);
        // The key that was meant is not also missing.
        if let (Some(near), Some(table)) = (nearest(&name, key.known), key.path.parent()) {
            let meant = table.key(near);
            self.is_partial |= is_named_elsewhere(&meant);
            self.pruned.push(meant);
        }
        self.add(
            Severity::Error,
            key.path.to_string(),
            message,
            Some(key.place),
        );
    }

    /// Notes a misfit and takes its value out; `false` if nothing is left to take out.
    fn note_misfit(&mut self, misfit: Misfit) -> bool {
        let Some((path, place)) = misfit.at else {
            self.add(Severity::Error, String::new(), misfit.message, None);
            return false;
        };
        let is_known = misfit
            .missing
            .is_some_and(|key| self.pruned.contains(&path.key(key)));
        if !is_known {
            self.add(
                Severity::Error,
                path.to_string(),
                misfit.message,
                Some(place),
            );
        }
        self.is_partial |= is_named_elsewhere(&path);
        if path.0.is_empty() {
            return false;
        }
        self.tree.prune(&path);
        self.pruned.push(path);
        true
    }

    /// Adds what the checks of the crates found.
    pub(crate) fn add_faults(&mut self, faults: Vec<ConfigFault>) {
        for fault in faults {
            let (path, place) = self.tree.locate(&Path::parse(&fault.path));
            let is_consequence = self
                .pruned
                .iter()
                .any(|gone| gone.holds(&path) || gone.parent().as_ref() == Some(&path));
            let repeats = self
                .found
                .iter()
                .any(|f| f.key == path.to_string() && f.message == fault.message);
            if !is_consequence && !repeats {
                self.add(fault.severity, path.to_string(), fault.message, place);
            }
        }
    }

    /// The report on everything found so far.
    pub(crate) fn report(mut self) -> Report {
        self.found
            .sort_by_key(|f| f.place.as_ref().map(|p| (p.source, p.span.start)));
        let pages: Vec<Page<'_>> = (0..self.sources.len()).map(|s| self.page(s)).collect();
        let locate = |place: &Place| pages.get(place.source).map(|page| page.location(place));
        let faults = self.found.iter().map(|found| Fault {
            severity: found.severity,
            key: found.key.clone(),
            message: found.message.clone(),
            location: found.place.as_ref().and_then(locate),
        });
        let mut faults: Vec<Fault> = faults.collect();
        if self.more > 0 {
            faults.push(Fault {
                severity: Severity::Error,
                key: String::new(),
                message: format!("{} more faults are not listed", self.more),
                location: None,
            });
        }
        let is_partial = self.is_partial && faults.iter().any(|f| f.severity == Severity::Error);
        Report { faults, is_partial }
    }

    fn page(&self, source: usize) -> Page<'_> {
        let (path, text) = match &self.sources[source] {
            Source::Variable(name) => return Page::Variable(name),
            Source::File { path, text } => (path.display().to_string(), text),
        };
        let hidden = Node::parse(text, source).ok().map(|node| {
            let mut hidden = secrets::spans(&node, source);
            node.each_member(&mut |path, _, member| {
                if self.unknown.contains(path) {
                    hidden.push(member.node.place.span.clone());
                }
            });
            hidden.sort_by_key(|span| span.start);
            hidden
        });
        Page::File { path, text, hidden }
    }
}

/// Whether what stands at `path` is named by other tables, which would be blamed if it is gone.
fn is_named_elsewhere(path: &Path) -> bool {
    const NAMED: [&str; 5] = ["credentials", "streams", "routes", "rules", "providers"];
    match path.0.as_slice() {
        [] => true,
        [Step::Key(table)] | [Step::Key(table), _] => NAMED.contains(&table.as_str()),
        _ => false,
    }
}

/// A source as reports show it.
enum Page<'a> {
    File {
        path: String,
        text: &'a str,
        /// What must not be shown; `None` if the file is no TOML, so that nobody knows.
        hidden: Option<Vec<Range<usize>>>,
    },
    Variable(&'a str),
}

impl Page<'_> {
    fn location(&self, place: &Place) -> Location {
        let (path, text, hidden) = match self {
            Self::Variable(name) => {
                let name = (*name).to_owned();
                return Location::Variable { name };
            }
            Self::File { path, text, hidden } => (path, text, hidden),
        };
        let file = path.clone();
        if text.is_empty() {
            return Location::File {
                file,
                line: 0,
                column: 0,
                excerpt: None,
            };
        }
        let start = floor(text, place.span.start);
        let line = line_around(text, start);
        Location::File {
            file,
            line: text[..start].matches('\n').count() + 1,
            column: text[line.start..start].chars().count() + 1,
            excerpt: hidden.as_ref().map(|hidden| excerpt(text, hidden, place)),
        }
    }
}

/// The line of a place, with everything that may be a secret hidden.
fn excerpt(text: &str, hidden: &[Range<usize>], place: &Place) -> Excerpt {
    let start = floor(text, place.span.start);
    let line = line_around(text, start);
    let end = floor(text, place.span.end).clamp(start, line.end.max(start));
    let mask = Mask { text, hidden };
    let before = mask.show(line.start..start);
    let meant = mask.show(start..end);
    let after = mask.show(end..line.end);
    Excerpt {
        start: before.chars().count(),
        length: meant.chars().count().max(1),
        line: format!("{before}{meant}{after}"),
    }
}

/// A text with parts that must not be shown.
struct Mask<'a> {
    text: &'a str,
    hidden: &'a [Range<usize>],
}

impl Mask<'_> {
    fn show(&self, part: Range<usize>) -> String {
        let mut shown = String::new();
        let mut at = part.start;
        for span in self.hidden {
            let (from, to) = (span.start.max(at), span.end.min(part.end));
            if from < to {
                shown.push_str(&self.text[at..from]);
                shown.push_str("***");
                at = to;
            }
        }
        shown.push_str(&self.text[at..part.end.max(at)]);
        let visible = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
        shown.chars().map(visible).collect()
    }
}

/// The start of a source.
fn start(source: usize) -> Place {
    Place { source, span: 0..0 }
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    start..end
}
