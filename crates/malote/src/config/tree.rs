//! The configuration as one tree of values, each knowing where it was set.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use toml_edit::{Document, Item, TableLike};

/// A value and where it was set.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Elements keep the index that they had in their file, also when a neighbour is pruned.
    Array(Vec<(usize, Node)>),
    Table(BTreeMap<String, Member>),
    /// An environment variable's text; what it means depends on what is wanted there.
    Variable(String),
}

/// A key of a table and its value.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

/// Where something was set: octets of a source, by the source's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: usize,
    pub(crate) span: Range<usize>,
}

/// One step into the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// The way to a node from the root: `providers.ses.pools.tx`, `rules[2].when`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Path(pub(crate) Vec<Step>);

impl Path {
    /// Reads a path as faults write it: a key that holds `.` stands in quotes.
    pub(crate) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        let mut is_quoted = false;
        let parts = text.split(|c| {
            is_quoted ^= c == '"';
            c == '.' && !is_quoted
        });
        for part in parts.filter(|part| !part.is_empty()) {
            if let Some(key) = part.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
                steps.push(Step::Key(key.to_owned()));
                continue;
            }
            let mut pieces = part.split('[');
            if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
                steps.push(Step::Key(key.to_owned()));
            }
            for piece in pieces {
                if let Ok(index) = piece.trim_end_matches(']').parse() {
                    steps.push(Step::Index(index));
                }
            }
        }
        Self(steps)
    }

    /// This path and one key more.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut longer = self.clone();
        longer.0.push(Step::Key(key.to_owned()));
        longer
    }

    /// The path of these keys.
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self(
            keys.iter()
                .map(|key| Step::Key((*key).to_owned()))
                .collect(),
        )
    }

    /// Its keys, with `""` for an index: what a path looks like whatever list element it is of.
    pub(crate) fn keys_and_gaps(&self) -> Vec<&str> {
        let steps = self.0.iter().map(|step| match step {
            Step::Key(key) => key.as_str(),
            Step::Index(_) => "",
        });
        steps.collect()
    }

    /// Its first steps, all of them if there are fewer.
    pub(crate) fn front(&self, steps: usize) -> &[Step] {
        &self.0[..steps.min(self.0.len())]
    }

    /// The path of the table or list around; `None` at the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (_, around) = self.0.split_last()?;
        Some(Self(around.to_vec()))
    }

    /// The last key on the way.
    pub(crate) fn last_key(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
    }

    /// Whether `other` is this path or leads on from it.
    pub(crate) fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    let quote = if key.contains('.') { "\"" } else { "" };
                    write!(f, "{dot}{quote}{key}{quote}")?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not TOML, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxFault {
    pub(crate) message: String,
    pub(crate) span: Range<usize>,
}

impl Node {
    /// An empty table, set nowhere.
    pub(crate) fn empty() -> Self {
        Self {
            value: Value::Table(BTreeMap::new()),
            place: Place {
                source: 0,
                span: 0..0,
            },
        }
    }

    /// Reads a TOML document. A key given twice is refused, as TOML has it.
    ///
    /// # Errors
    /// The first thing that is not TOML.
    pub(crate) fn parse(text: &str, source: usize) -> Result<Self, SyntaxFault> {
        let document = Document::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let message = error.message().trim().replace('\n', "; ");
            // Only this one is about a key, which is no secret.
            let key = text
                .get(span.clone())
                .filter(|_| message == "duplicate key");
            let key = key.map(|key| format!(" `{key}`")).unwrap_or_default();
            let message = format!("{message}{key}");
            SyntaxFault { message, span }
        })?;
        let place = Place { source, span: 0..0 };
        Ok(Self {
            value: table(document.as_table(), source),
            place,
        })
    }

    /// The tables of these names, out of a text that is no TOML elsewhere: their lines, from a
    /// header to the next. Empty if no line may set anything of them; `None` if one may and they
    /// cannot be had this way, or are no TOML either.
    pub(crate) fn parse_tables(text: &str, source: usize, names: &[&str]) -> Option<Self> {
        if !text.lines().any(|line| may_set(line, names)) {
            return Some(Self::empty());
        }
        let mut is_named = false;
        let lines = text.split_inclusive('\n').map(|line| {
            if let Some(header) = line.strip_prefix('[') {
                let name = header.split(['.', ']']).next();
                is_named = name.is_some_and(|name| names.contains(&name.trim()));
            }
            match is_named {
                true => line.to_owned(),
                // Blank, so that places stay what they are.
                false => " ".repeat(line.len() - 1) + "\n",
            }
        });
        let node = Self::parse(&lines.collect::<String>(), source).ok()?;
        let is_there = |name: &&str| node.find(&Path::of(&[*name])).is_some();
        names.iter().any(is_there).then_some(node)
    }

    /// Lays `over` on top: tables are merged key by key, anything else is replaced.
    pub(crate) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(own), Value::Table(others)) => {
                for (key, other) in others {
                    match own.get_mut(&key) {
                        Some(member) => {
                            member.key = other.key;
                            member.node.merge(other.node);
                        }
                        None => {
                            own.insert(key, other);
                        }
                    }
                }
            }
            (value, other) => {
                *value = other;
                self.place = over.place;
            }
        }
    }

    /// Where its values are: of a table each of its members', so not its header.
    pub(crate) fn values(&self) -> Vec<Place> {
        match &self.value {
            Value::Table(members) => {
                let members = members.values();
                members.flat_map(|member| member.node.values()).collect()
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Variable(_) => vec![self.place.clone()],
        }
    }

    /// The node at `path`, by the indices that lists had in their files.
    pub(crate) fn find(&self, path: &Path) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, step| node.child(step))
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Table(members), Step::Key(key)) => members.get(key).map(|m| &m.node),
            (Value::Array(elements), Step::Index(index)) => elements
                .iter()
                .find_map(|(own, node)| (own == index).then_some(node)),
            _ => None,
        }
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Table(members), Step::Key(key)) => members.get_mut(key).map(|m| &mut m.node),
            (Value::Array(elements), Step::Index(index)) => elements
                .iter_mut()
                .find_map(|(own, node)| (own == index).then_some(node)),
            _ => None,
        }
    }

    /// The node around `path`, and the last step to it.
    fn around<'p>(&mut self, path: &'p Path) -> Option<(&mut Self, &'p Step)> {
        let (last, way) = path.0.split_last()?;
        let around = way.iter().try_fold(self, Self::child_mut)?;
        Some((around, last))
    }

    /// Takes the node at `path` out of the tree. `None` if it is not there; a list element has no
    /// key, and is said to be set where its value is.
    pub(crate) fn take(&mut self, path: &Path) -> Option<Member> {
        let (around, last) = self.around(path)?;
        match (&mut around.value, last) {
            (Value::Table(members), Step::Key(key)) => members.remove(key),
            (Value::Array(elements), Step::Index(index)) => {
                let position = elements.iter().position(|(own, _)| own == index)?;
                let (_, node) = elements.remove(position);
                let key = node.place.clone();
                Some(Member { key, node })
            }
            _ => None,
        }
    }

    /// Puts a node at `path`, in place of the one that is there; `false` if there is no table or
    /// list element to put it in.
    pub(crate) fn set(&mut self, path: &Path, member: Member) -> bool {
        let Some((around, last)) = self.around(path) else {
            return false;
        };
        match (&mut around.value, last) {
            (Value::Table(members), Step::Key(key)) => {
                members.insert(key.clone(), member);
                true
            }
            (Value::Array(_), Step::Index(_)) => {
                let own = around.child_mut(last);
                own.map(|own| *own = member.node).is_some()
            }
            _ => false,
        }
    }

    /// Turns a path with positions of the values as read into one with the indices of the file,
    /// and finds the place: of the last key on the way that exists.
    pub(crate) fn locate(&self, path: &Path) -> (Path, Option<Place>) {
        let mut node = Some(self);
        let mut found = Path::default();
        let mut place = None;
        for step in &path.0 {
            let (step, next) = match (node.map(|n| &n.value), step) {
                (Some(Value::Table(members)), Step::Key(key)) => {
                    let member = members.get(key);
                    place = member.map(|m| m.key.clone()).or(place);
                    (step.clone(), member.map(|m| &m.node))
                }
                (Some(Value::Array(elements)), Step::Index(position)) => {
                    let element = elements.get(*position);
                    place = element.map(|(_, n)| n.place.clone()).or(place);
                    let index = element.map_or(*position, |(index, _)| *index);
                    (Step::Index(index), element.map(|(_, n)| n))
                }
                _ => (step.clone(), None),
            };
            found.0.push(step);
            node = next;
        }
        (found, place)
    }

    /// Calls `visit` for every member of every table, with the path to it.
    pub(crate) fn each_member<'a>(&'a self, visit: &mut dyn FnMut(&Path, &str, &'a Member)) {
        self.walk(&mut Path::default(), visit);
    }

    fn walk<'a>(&'a self, path: &mut Path, visit: &mut dyn FnMut(&Path, &str, &'a Member)) {
        match &self.value {
            Value::Table(members) => {
                for (key, member) in members {
                    path.0.push(Step::Key(key.clone()));
                    visit(path, key, member);
                    member.node.walk(path, visit);
                    path.0.pop();
                }
            }
            Value::Array(elements) => {
                for (index, node) in elements {
                    path.0.push(Step::Index(*index));
                    node.walk(path, visit);
                    path.0.pop();
                }
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Variable(_) => {}
        }
    }
}

/// Whether a line begins as a header or a key of one of these tables does: `[admin`, `admin.`,
/// `"admin" =`. Lines within a text may, too.
fn may_set(line: &str, names: &[&str]) -> bool {
    let is_before = |c: char| c.is_whitespace() || matches!(c, '[' | '"' | '\'');
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let start = line.trim_start_matches(is_before);
    names.iter().any(|name| {
        let rest = start.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(is_of_key))
    })
}

fn table(table: &dyn TableLike, source: usize) -> Value {
    let members = table.iter().filter_map(|(name, _)| {
        let (key, item) = table.get_key_value(name)?;
        let node = node(item, source)?;
        let span = key.span().unwrap_or_else(|| node.place.span.clone());
        let key = Place { source, span };
        Some((name.to_owned(), Member { key, node }))
    });
    Value::Table(members.collect())
}

fn node(item: &Item, source: usize) -> Option<Node> {
    let value = match item {
        Item::None => return None,
        Item::Table(t) => table(t, source),
        Item::ArrayOfTables(tables) => Value::Array(
            tables
                .iter()
                .map(|t| Node {
                    value: table(t, source),
                    place: Place {
                        source,
                        span: t.span().unwrap_or(0..0),
                    },
                })
                .enumerate()
                .collect(),
        ),
        Item::Value(v) => scalar(v, source),
    };
    Some(Node {
        value,
        place: Place {
            source,
            span: item.span().unwrap_or(0..0),
        },
    })
}

fn scalar(value: &toml_edit::Value, source: usize) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
        toml_edit::Value::Float(number) => Value::Float(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::Bool(*truth.value()),
        toml_edit::Value::Datetime(date) => Value::Text(date.value().to_string()),
        toml_edit::Value::Array(elements) => Value::Array(
            elements
                .iter()
                .map(|element| Node {
                    value: scalar(element, source),
                    place: Place {
                        source,
                        span: element.span().unwrap_or(0..0),
                    },
                })
                .enumerate()
                .collect(),
        ),
        toml_edit::Value::InlineTable(inline) => table(inline, source),
    }
}
