//! Reads the sources into one tree, and the tree into the raw structs, noting every fault.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use malote_core::fault::{ConfigFault, Severity};
use serde::de::DeserializeOwned;

use super::broken::{Broken, is_doubtful};
use super::de::{Misfit, NodeReader, Notes, UnknownKey, unknown_key_message};
use super::repair::{never, rename, rename_table, stand_in};
use super::report::{Excerpt, Fault, Location, Report};
use super::secrets;
use super::source::{Source, Variable, read_file, set_variable, variables};
use super::tree::{Node, Path, Place, Value};

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
    /// Values that are wrong: what would be said only because of that is not said.
    broken: Broken,
    /// Keys that no table knows.
    unknown: BTreeSet<Path>,
    /// The values of such keys: they may be secrets.
    hidden: Vec<Place>,
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
        Self::of(files, variables(environment), None)
    }

    /// Reads as [`Reading::new`] does, and keeps the tables of these names alone. They are read
    /// also out of a file that is no TOML elsewhere.
    pub(crate) fn tables(
        files: &[PathBuf],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        names: &'static [&'static str],
    ) -> Self {
        let mut variables = variables(environment);
        let is_named = |key: &String| names.contains(&key.as_str());
        variables.retain(|variable| variable.keys.first().is_some_and(is_named));
        Self::of(files, variables, Some(names))
    }

    fn of(files: &[PathBuf], variables: Vec<Variable>, tables: Option<&[&str]>) -> Self {
        let mut reading = Self {
            sources: Vec::new(),
            tree: Node::empty(),
            found: Vec::new(),
            broken: Broken::default(),
            unknown: BTreeSet::new(),
            hidden: Vec::new(),
            is_partial: false,
            more: 0,
        };
        for file in files {
            reading.add_file(file, tables);
        }
        if let (Some(names), Value::Table(members)) = (tables, &mut reading.tree.value) {
            members.retain(|name, _| names.contains(&name.as_str()));
        }
        for variable in variables {
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

    fn add_file(&mut self, file: &FilePath, tables: Option<&[&str]>) {
        let source = self.sources.len();
        let path = file.to_path_buf();
        match read_file(file) {
            Ok(text) => {
                let parsed = Node::parse(&text, source).or_else(|fault| {
                    let named = tables.and_then(|names| Node::parse_tables(&text, source, names));
                    named.ok_or(fault)
                });
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

    /// Whether a whole file could not be read, so that what names something cannot be checked, or
    /// there were too many faults to look for all of them.
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

    /// Whether the value at this path is wrong, so that another stands in its place.
    pub(crate) fn is_broken(&self, path: &str) -> bool {
        self.broken.holds(&Path::parse(path))
    }

    /// Reads the tree as `T`. Every unknown key and every value that does not fit is noted; what
    /// was probably meant is put in its place, or it is taken out, and reading goes on. `None` if
    /// nothing fits at all.
    pub(crate) fn extract<T: DeserializeOwned>(&mut self) -> Option<T> {
        for _ in 0..ROUNDS_MAX {
            let notes = RefCell::default();
            let root = Path::default();
            let result = T::deserialize(NodeReader::root(&self.tree, &root, &notes));
            let notes: Notes = notes.into_inner();
            let mut is_changed = false;
            for key in notes.unknown {
                is_changed |= self.note_unknown(key);
            }
            match result {
                // What was read lacks what has been put in since, or misses it.
                Ok(_) | Err(_) if is_changed => {}
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

    /// Notes an unknown key and takes it out; `true` if another reading would find more.
    fn note_unknown(&mut self, key: UnknownKey) -> bool {
        if !self.unknown.insert(key.path.clone()) {
            return false;
        }
        let name = key.path.last_key().unwrap_or_default();
        let message = unknown_key_message(key.near, key.known);
        self.add(
            Severity::Error,
            key.path.to_string(),
            message,
            Some(key.place.clone()),
        );
        let member = self.tree.take(&key.path);
        if let Some(member) = &member {
            self.hidden.extend(member.node.values());
        }
        let meant = key.near.and_then(|near| Some(key.path.parent()?.key(near)));
        let Some(meant) = meant else {
            return self.match_nothing(&key.path, &key.place);
        };
        let is_table = |node: &Node| matches!(node.value, Value::Table(_));
        let is_scalar = member.as_ref().is_none_or(|member| !is_table(&member.node));
        let is_missed = self.tree.find(&meant).is_none();
        let is_renamed = member.is_some_and(|member| rename(&mut self.tree, name, &meant, member));
        // What is in a table can be checked; of one value nobody knows for certain what it means.
        match (is_renamed, is_missed) {
            (true, _) if is_scalar => self.broken.add_replaced(meant),
            (false, true) => self.broken.add_gone(meant),
            (true, _) | (false, false) => {}
        }
        is_renamed || self.match_nothing(&key.path, &key.place)
    }

    /// Notes a misfit and repairs it or takes its value out; `false` if nothing is left to take out.
    fn note_misfit(&mut self, misfit: Misfit) -> bool {
        let Some((at, place)) = misfit.at else {
            self.add(Severity::Error, String::new(), misfit.message, None);
            return false;
        };
        let wrong = misfit.missing.map_or_else(|| at.clone(), |key| at.key(key));
        if !self.broken.holds(&wrong) {
            let place = Some(place.clone());
            self.add(Severity::Error, at.to_string(), misfit.message, place);
        }
        // What stands in somewhere and still does not fit is given up.
        if !self.broken.contains(&wrong)
            && let Some(value) = stand_in(&self.tree, &wrong)
            && self.tree.put(&wrong, value, &place)
        {
            self.match_nothing(&wrong, &place);
            self.broken.add_replaced(wrong);
            return true;
        }
        if rename_table(&mut self.tree, &at) {
            self.broken.add_replaced(at);
            return true;
        }
        // In the middle of an environment variable nothing can be taken out, only the whole.
        let mut gone = Some(at);
        while let Some(path) = gone.filter(|path| !path.0.is_empty()) {
            if self.tree.take(&path).is_some() {
                self.match_nothing(&path, &place);
                self.broken.add_gone(path);
                return true;
            }
            gone = path.parent();
        }
        false
    }

    /// Lets a rule apply to nothing if one of its conditions, at `path`, is wrong; `true` if it
    /// would have applied to more.
    fn match_nothing(&mut self, path: &Path, place: &Place) -> bool {
        let Some(never) = never(path).filter(|never| self.tree.find(never).is_none()) else {
            return false;
        };
        let Some(nothing) = stand_in(&self.tree, &never) else {
            return false;
        };
        self.broken.add_replaced(never.clone());
        self.tree.put(&never, nothing, place)
    }

    /// Adds what the checks of the crates found, less what follows from other faults.
    pub(crate) fn add_faults(&mut self, mut faults: Vec<ConfigFault>) {
        // Warnings come last, when every error is known.
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.severity));
        for fault in faults {
            let (path, place) = self.tree.locate(&Path::parse(&fault.path));
            let follows = self.broken.explains(&fault, &path, &self.tree);
            let repeats = |f: &Found| f.key == path.to_string() && f.message == fault.message;
            let makes_doubtful = |f: &Found| {
                fault.severity == Severity::Warning
                    && f.severity == Severity::Error
                    && is_doubtful(&path, &Path::parse(&f.key))
            };
            let is_told = |f: &Found| repeats(f) || makes_doubtful(f);
            if !follows && !self.found.iter().any(is_told) {
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
                    hidden.extend(member.node.values().into_iter().map(|place| place.span));
                }
            });
            let unknown = self.hidden.iter().filter(|place| place.source == source);
            hidden.extend(unknown.map(|place| place.span.clone()));
            hidden.sort_by_key(|span| span.start);
            hidden
        });
        Page::File { path, text, hidden }
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
