//! Strict JSON (RFC 8259): bounded depth, no member twice, no member unknown, and every fault
//! with the place where it is.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde_path_to_error::Segment;

use super::problem_rfc9457::{Problem, ProblemKind};

/// Reads one document. Depth is bounded by the parser at 128.
///
/// # Errors
/// `duplicate_field`, `unknown_field`, `invalid_type` or `malformed_json`, with a pointer.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    refuse_duplicates(bytes)?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = typed(&mut deserializer)?;
    deserializer.end().map_err(|fault| malformed(&fault))?;
    Ok(value)
}

/// Reads one member of a document that [`parse`] has read.
///
/// # Errors
/// `unknown_field` or `invalid_type`, with a pointer from the member on.
pub(crate) fn from_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    typed(value)
}

fn typed<'de, T, D>(deserializer: D) -> Result<T, Problem>
where
    T: Deserialize<'de>,
    D: Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(deserializer).map_err(|fault| {
        let pointer = fault.path().iter().filter_map(step).collect::<String>();
        classify(pointer, fault.inner())
    })
}

fn step(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", escape(key))),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// A member's name as a reference token (RFC 6901 3).
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn classify(pointer: String, fault: &serde_json::Error) -> Problem {
    if !fault.is_data() {
        return malformed(fault);
    }
    let text = without_string(&fault.to_string());
    // serde tells these apart in words only; a test holds the words.
    let kind = if text.starts_with("unknown field") {
        ProblemKind::UnknownField
    } else if text.starts_with("duplicate field") {
        ProblemKind::DuplicateField
    } else if text.starts_with("missing field") {
        ProblemKind::MissingField
    } else {
        return Problem::at(ProblemKind::InvalidType, pointer, in_json_words(text));
    };
    Problem::at(kind, pointer, text)
}

/// What serde says, with the types' names in JSON (RFC 8259).
fn in_json_words(mut text: String) -> String {
    for (serde, json) in [
        ("type: sequence", "type: an array"),
        ("a sequence", "an array"),
        ("type: map", "type: an object"),
        ("a map", "an object"),
    ] {
        text = text.replace(serde, json);
    }
    text
}

/// What serde says, without the string that stood in the place: it may be anybody's address or
/// text, and answers end up in other programs' logs.
fn without_string(text: &str) -> String {
    const BEGIN: &str = ": string ";
    let Some((before, quoted)) = text.split_once(BEGIN) else {
        return text.to_owned();
    };
    // serde quotes as `Debug` does: the first quote without a backslash in front ends it.
    let mut is_escaped = false;
    let end = quoted.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    let after = end.and_then(|(at, _)| quoted.get(at + 1..));
    format!("{before}: a string{}", after.unwrap_or_default())
}

fn malformed(fault: &serde_json::Error) -> Problem {
    Problem::new(ProblemKind::MalformedJson, fault.to_string())
}

fn refuse_duplicates(bytes: &[u8]) -> Result<(), Problem> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let scan = Scan {
        pointer: &mut String::new(),
        found: &mut found,
    };
    let result = scan.deserialize(&mut deserializer);
    match (found, result) {
        (Some(pointer), _) => Err(Problem::at(
            ProblemKind::DuplicateField,
            pointer,
            "this member is given twice",
        )),
        (None, Ok(())) => Ok(()),
        (None, Err(fault)) => Err(malformed(&fault)),
    }
}

/// Walks a document, keeping nothing but the names of the objects it is in.
struct Scan<'a> {
    pointer: &'a mut String,
    found: &'a mut Option<String>,
}

impl Scan<'_> {
    fn inner<'de, D: Deserializer<'de>>(&mut self, name: &str, next: D) -> Result<(), D::Error> {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(name);
        let scan = Scan {
            pointer: self.pointer,
            found: self.found,
        };
        scan.deserialize(next)?;
        self.pointer.truncate(length);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// One member's or element's value, scanned below the current pointer.
struct Below<'a, 'b> {
    scan: &'a mut Scan<'b>,
    name: String,
}

impl<'de> DeserializeSeed<'de> for Below<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.scan.inner(&self.name, deserializer)
    }
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        loop {
            let below = Below {
                scan: &mut self,
                name: index.to_string(),
            };
            if seq.next_element_seed(below)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let token = escape(&name);
            if !names.insert(name) {
                *self.found = Some(format!("{}/{token}", self.pointer));
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("duplicate"));
            }
            let below = Below {
                scan: &mut self,
                name: token,
            };
            map.next_value_seed(below)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Letter {
        subject: Option<String>,
        #[serde(default)]
        to: Vec<String>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    }

    fn refusal(text: &str) -> (ProblemKind, Option<String>) {
        let problem = parse::<Letter>(text.as_bytes()).unwrap_err();
        let pointer = problem.errors().first().map(|fault| fault.pointer.clone());
        (problem.kind(), pointer)
    }

    #[test]
    fn every_fault_has_its_kind_and_its_place() {
        use ProblemKind::{DuplicateField, InvalidType, MalformedJson, UnknownField};
        for (text, kind, pointer) in [
            ("{", MalformedJson, None),
            ("", MalformedJson, None),
            ("{}x", MalformedJson, None),
            (r#"{"subject":"\ud800"}"#, MalformedJson, None),
            ("{\"subject\":\"\u{0}\"}", MalformedJson, None),
            (r#"{"to":"a","to":"b"}"#, DuplicateField, Some("/to")),
            (
                r#"{"headers":{"a/b":"1","a/b":"2"}}"#,
                DuplicateField,
                Some("/headers/a~1b"),
            ),
            (r#"{"to":[{"x":1,"x":2}]}"#, DuplicateField, Some("/to/0/x")),
            (r#"{"bccc":1}"#, UnknownField, Some("/bccc")),
            (r#"{"to":["a",1]}"#, InvalidType, Some("/to/1")),
            (r#"{"headers":{"X":1}}"#, InvalidType, Some("/headers/X")),
            (r#"[]"#, InvalidType, Some("")),
        ] {
            assert_eq!(refusal(text), (kind, pointer.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn the_string_that_stood_there_is_not_quoted() {
        for (text, wanted) in [
            (r#"{"headers":"ana@x.test"}"#, "an object"),
            (r#"{"headers":"a \"b\" \\"}"#, "an object"),
            (r#"{"to":"ana@x.test"}"#, "an array"),
        ] {
            let problem = parse::<Letter>(text.as_bytes()).unwrap_err();
            let detail = problem.errors().first().map(|fault| fault.detail.as_str());
            let detail = detail.unwrap_or_default();
            let expected = format!("invalid type: a string, expected {wanted} at line 1 column ");
            assert!(detail.starts_with(&expected), "{detail}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_at_once() {
        for text in ["[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 17)] {
            assert_eq!(refusal(&text).0, ProblemKind::MalformedJson);
        }
    }
}
