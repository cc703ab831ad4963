//! The types of a request's members, refused in the words of the service's schema.

use serde_json::{Map, Value};

use super::Problem;
use crate::address::address;

pub(super) fn wrong_type(field: &str, expected: &str, given: &Value) -> Problem {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let message = format!("Invalid type. Expected: {expected}, given: {given}.");
    Problem::of_field(field, message)
}

pub(super) fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>, Problem> {
    let object = value.as_object();
    object.ok_or_else(|| wrong_type(field, "object", value))
}

pub(super) fn array<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], Problem> {
    let array = value.as_array().map(Vec::as_slice);
    array.ok_or_else(|| wrong_type(field, "array", value))
}

pub(super) fn string<'a>(value: &'a Value, field: &str) -> Result<&'a str, Problem> {
    let string = value.as_str();
    string.ok_or_else(|| wrong_type(field, "string", value))
}

pub(super) fn only(
    members: &Map<String, Value>,
    known: &[&str],
    field: &str,
) -> Result<(), Problem> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let message = format!("Additional property {name} is not allowed");
            Err(Problem::of_field(field, message))
        }
    }
}

/// The address of `{email, name}`.
pub(super) fn person(value: &Value, field: &str, fault: &str) -> Result<String, Problem> {
    let members = object(value, field)?;
    only(members, &["email", "name"], field)?;
    if let Some(name) = members.get("name") {
        string(name, &format!("{field}.name"))?;
    }
    let email = members.get("email").and_then(Value::as_str);
    let is_bare = |email: &&str| email.is_ascii() && address(email).as_deref() == Some(*email);
    match email.filter(is_bare) {
        Some(email) => Ok(email.to_owned()),
        None => Err(Problem::of_field(format!("{field}.email"), fault)),
    }
}

pub(super) fn is_text(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_str)
        .is_some_and(|text| !text.is_empty())
}
