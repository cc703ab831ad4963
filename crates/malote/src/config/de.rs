//! From the tree to the crates' own structs, so that every fault names its key and place.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
    value::MapAccessDeserializer,
};
use serde::forward_to_deserialize_any;

use super::tree::{Member, Node, Path, Place, Step, Value};

/// A key that its table does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownKey {
    pub(crate) path: Path,
    pub(crate) place: Place,
    /// The keys that the table knows.
    pub(crate) known: &'static [&'static str],
    /// The one that was probably meant: one that is not given, if any is near.
    pub(crate) near: Option<&'static str>,
}

/// What reading notes by the way.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) unknown: Vec<UnknownKey>,
    /// Every table read, with the keys that it knows.
    #[cfg(test)]
    pub(crate) tables: Vec<(Path, &'static [&'static str])>,
}

/// Why a tree is not what a struct wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) message: String,
    /// A key that had to be there; `at` is then the table that misses it.
    pub(crate) missing: Option<&'static str>,
    pub(crate) at: Option<(Path, Place)>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl Misfit {
    fn new(message: String) -> Self {
        Self {
            message,
            missing: None,
            at: None,
        }
    }

    fn or_at(mut self, path: &Path, place: &Place) -> Self {
        self.at.get_or_insert_with(|| (path.clone(), place.clone()));
        self
    }
}

/// How an address to listen on is written.
const ADDRESS: &str = "ADDRESS:PORT, as in \"127.0.0.1:8080\"";

/// What is wanted, in the operator's words instead of Rust's.
fn wanted(expected: &dyn serde::de::Expected) -> String {
    let text = expected.to_string();
    let word = match text.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        "a string" => "a text",
        "socket address" => ADDRESS,
        other if other == "enum" || other.starts_with("enum ") => "one of its words, as text",
        other => other,
    };
    word.to_owned()
}

/// What was found. The content of texts is never repeated: it may be a secret.
fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        // Nothing else comes out of a tree.
        Unexpected::Char(_)
        | Unexpected::Str(_)
        | Unexpected::Bytes(_)
        | Unexpected::Unit
        | Unexpected::Option
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => "a text".to_owned(),
    }
}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // What the standard library says of an address, which names no way out.
        match message.as_str() {
            "invalid socket address syntax" => {
                Self::new(format!("write {ADDRESS}; names do not work here"))
            }
            _ => Self::new(message),
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        let (wanted, found) = (wanted(expected), found(&unexpected));
        Self::new(format!("must be {wanted}, not {found}"))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words: Vec<String> = expected.iter().map(|word| format!("\"{word}\"")).collect();
        let hint = nearest(variant, expected)
            .map(|word| format!("; did you mean \"{word}\"?"))
            .unwrap_or_default();
        Self::new(format!("must be {}{hint}", words.join(" or ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(unknown_key_message(nearest(field, expected), expected))
    }

    fn missing_field(field: &'static str) -> Self {
        let mut misfit = Self::new(format!("{field} is missing"));
        misfit.missing = Some(field);
        misfit
    }
}

/// The name that a mistyped one was probably meant to be: the one with the fewest typing errors
/// between, else the one that looks alike.
pub(crate) fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a &'a str>,
) -> Option<&'a str> {
    /// Below this likeness a hint misleads more than it helps.
    const LIKENESS_MIN: f64 = 0.75;
    let known: Vec<&str> = known.into_iter().copied().collect();
    let errors_max = (name.chars().count() / 3).max(1);
    let by_errors = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(errors, _)| *errors <= errors_max)
        .min_by_key(|(errors, _)| *errors);
    let by_likeness = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), *candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let by_errors = by_errors.map(|(_, candidate)| candidate);
    by_errors.or(by_likeness.map(|(_, candidate)| candidate))
}

/// What to say of a key that nobody knows; `near` is the one that was probably meant.
pub(crate) fn unknown_key_message(near: Option<&str>, known: &[&str]) -> String {
    match near {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None if known.is_empty() => "unknown key; there are none here".to_owned(),
        None => format!("unknown key; known here: {}", known.join(", ")),
    }
}

/// Reads one node as whatever is asked for. Keys that a struct does not know are noted and passed
/// over, so that one run finds all of them.
#[derive(Clone, Copy)]
pub(crate) struct NodeReader<'a> {
    node: &'a Node,
    path: &'a Path,
    place: &'a Place,
    notes: &'a RefCell<Notes>,
}

impl<'a> NodeReader<'a> {
    /// Reads from the root of a tree.
    pub(crate) fn root(node: &'a Node, path: &'a Path, notes: &'a RefCell<Notes>) -> Self {
        Self {
            node,
            path,
            place: &node.place,
            notes,
        }
    }

    fn note_table(&self, known: &'static [&'static str]) {
        #[cfg(test)]
        self.notes
            .borrow_mut()
            .tables
            .push((self.path.clone(), known));
        let Value::Table(members) = &self.node.value else {
            return;
        };
        for (key, member) in members {
            if known.contains(&key.as_str()) {
                continue;
            }
            // Of names as near as each other one that is not there yet.
            let is_absent = |known: &&&str| !members.contains_key(**known);
            let absent = known.iter().filter(is_absent);
            let present = known.iter().filter(|known| !is_absent(known));
            self.notes.borrow_mut().unknown.push(UnknownKey {
                path: self.path.key(key),
                place: member.key.clone(),
                known,
                near: nearest(key, absent.chain(present)),
            });
        }
    }

    /// Reads a variable's text as TOML would be read after `=`; what is not TOML is a text.
    fn parsed_variable(&self, text: &str) -> Node {
        let plain = || Node {
            value: Value::Text(text.to_owned()),
            place: self.node.place.clone(),
        };
        let parsed = Node::parse(&format!("v = {text}"), self.node.place.source);
        let Ok(Value::Table(mut members)) = parsed.map(|node| node.value) else {
            return plain();
        };
        // A text with a line end could set more than one key.
        match (members.remove("v"), members.is_empty()) {
            (Some(member), true) => member.node.set_at(&self.node.place),
            (Some(_) | None, _) => plain(),
        }
    }

    fn read<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        fields: Option<&'static [&'static str]>,
    ) -> Result<V::Value, Misfit> {
        if let Value::Variable(text) = &self.node.value {
            let node = self.parsed_variable(text);
            let reader = NodeReader {
                node: &node,
                ..self
            };
            return reader.read(visitor, fields);
        }
        if let Some(fields) = fields {
            // Its fields by their order would be taken from a list.
            if matches!(self.node.value, Value::Array(_)) {
                let misfit: Misfit = serde::de::Error::invalid_type(Unexpected::Seq, &"a table");
                return Err(misfit.or_at(self.path, self.place));
            }
            self.note_table(fields);
        }
        let result = match &self.node.value {
            Value::Text(text) | Value::Variable(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Array(elements) => visitor.visit_seq(Elements {
                reader: self,
                left: elements.iter(),
            }),
            Value::Table(members) => visitor.visit_map(Members {
                reader: self,
                left: members.iter(),
                known: fields,
                value: None,
            }),
        };
        result.map_err(|misfit| misfit.or_at(self.path, self.place))
    }
}

impl Node {
    /// The same values, said to be set at `place`.
    fn set_at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(elements) => {
                for (_, node) in elements {
                    *node = node.clone().set_at(place);
                }
            }
            Value::Table(members) => {
                for member in members.values_mut() {
                    member.key = place.clone();
                    member.node = member.node.clone().set_at(place);
                }
            }
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Variable(_) => {}
        }
        self
    }
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.read(visitor, None)
    }

    /// Where a text is wanted, a variable is one as it stands: a password of digits, an address.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if let Value::Variable(text) = &self.node.value {
            let result = visitor.visit_str(text);
            return result.map_err(|misfit: Misfit| misfit.or_at(self.path, self.place));
        }
        self.read(visitor, None)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.read(visitor, Some(fields))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let result = match &self.node.value {
            Value::Text(text) | Value::Variable(text) => {
                let word: StrDeserializer<'_, Misfit> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            Value::Table(members) => visitor.visit_enum(MapAccessDeserializer::new(Members {
                reader: self,
                left: members.iter(),
                known: None,
                value: None,
            })),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Array(_) => {
                self.read(visitor, None)
            }
        };
        result.map_err(|misfit| misfit.or_at(self.path, self.place))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The elements of a list, each with its index as path.
struct Elements<'a> {
    reader: NodeReader<'a>,
    left: std::slice::Iter<'a, (usize, Node)>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some((index, node)) = self.left.next() else {
            return Ok(None);
        };
        let mut path = self.reader.path.clone();
        path.0.push(Step::Index(*index));
        let reader = NodeReader {
            node,
            path: &path,
            place: &node.place,
            notes: self.reader.notes,
        };
        seed.deserialize(reader).map(Some)
    }
}

/// The members of a table. Those not in `known` are passed over: they are noted already.
struct Members<'a> {
    reader: NodeReader<'a>,
    left: std::collections::btree_map::Iter<'a, String, Member>,
    known: Option<&'static [&'static str]>,
    value: Option<(&'a str, &'a Member)>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let known = self.known;
        let next = self
            .left
            .find(|(key, _)| known.is_none_or(|known| known.contains(&key.as_str())));
        let Some((key, member)) = next else {
            return Ok(None);
        };
        self.value = Some((key, member));
        let name: StrDeserializer<'_, Misfit> = key.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|misfit| misfit.or_at(&self.reader.path.key(key), &member.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((key, member)) = self.value.take() else {
            return Err(Misfit::new("a value was asked for before its key".into()));
        };
        let path = self.reader.path.key(key);
        // Of a wrong table the key is shown, since the table itself may be long.
        let place = match &member.node.value {
            Value::Table(_) | Value::Array(_) => &member.key,
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Variable(_) => &member.node.place,
        };
        let reader = NodeReader {
            node: &member.node,
            path: &path,
            place,
            notes: self.reader.notes,
        };
        seed.deserialize(reader)
            .map_err(|misfit| misfit.or_at(&path, place))
    }
}
