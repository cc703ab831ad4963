//! Mautic's answers about contacts, in all the shapes that they come in.

use serde_json::Value;

use super::saying::Entry;

/// One contact, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    /// Its number.
    pub id: u64,
    /// Its `doNotContact`; `None` if the answer does not hold it.
    pub entries: Option<Vec<Entry>>,
}

/// One page of `GET /api/contacts`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page<'a> {
    /// How many there are in all, where it says so.
    pub total: Option<usize>,
    /// Its contacts.
    pub rows: Vec<&'a Value>,
}

/// `None` if the answer is no list of contacts. `contacts` is an object by id, and an empty list where
/// there is none; `total` a number now and a text then.
pub(crate) fn page(answer: &Value) -> Option<Page<'_>> {
    let rows = match answer.get("contacts")? {
        Value::Object(by_id) => by_id.values().collect(),
        Value::Array(list) => list.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    let total = answer.get("total").and_then(number);
    let total = total.and_then(|total| usize::try_from(total).ok());
    Some(Page { total, rows })
}

/// Those that have this address. Contacts with another one are passed over: they were asked for by
/// somebody else, or Mautic answers everybody.
pub(crate) fn of_address(address: &str, page: &Page<'_>) -> Vec<Contact> {
    let wanted = address.to_lowercase();
    let has_address =
        |value: &Value| email_of(value).is_some_and(|email| email.trim().to_lowercase() == wanted);
    let own = page.rows.iter().filter(|value| has_address(value));
    own.filter_map(|value| contact(value)).collect()
}

/// Mautic's numbers are texts at times.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The contact of `GET /api/contacts/ID`.
pub(crate) fn one(answer: &Value) -> Option<Contact> {
    contact(answer.get("contact")?)
}

fn contact(value: &Value) -> Option<Contact> {
    let id = number(value.get("id")?)?;
    let entries = match value.get("doNotContact") {
        Some(Value::Array(list)) => Some(list.iter().filter_map(entry).collect()),
        // PHP writes a list with gaps as an object.
        Some(Value::Object(by_key)) => Some(by_key.values().filter_map(entry).collect()),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => None,
    };
    Some(Contact { id, entries })
}

fn entry(value: &Value) -> Option<Entry> {
    serde_json::from_value(value.clone()).ok()
}

fn email_of(contact: &Value) -> Option<&str> {
    let places = [
        "/fields/all/email",
        "/fields/core/email/value",
        "/fields/core/email/normalizedValue",
        "/email",
    ];
    places
        .iter()
        .find_map(|place| contact.pointer(place)?.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn contacts_with(address: &str, answer: &Value) -> Option<Vec<Contact>> {
        Some(of_address(address, &page(answer)?))
    }

    #[test]
    fn a_total_is_a_number_or_a_text_or_missing() {
        for (answer, total, rows) in [
            (json!({ "total": 75, "contacts": [{}] }), Some(75), 1),
            (
                json!({ "total": "75", "contacts": { "1": {}, "2": {} } }),
                Some(75),
                2,
            ),
            (json!({ "total": -1, "contacts": [] }), None, 0),
            (json!({ "contacts": [] }), None, 0),
        ] {
            let page = page(&answer).unwrap();
            assert_eq!((page.total, page.rows.len()), (total, rows), "{answer}");
        }
    }

    #[test]
    fn both_shapes_of_a_list_are_read() {
        let ana = json!({ "id": 47, "fields": { "all": { "email": "Ana+x@One.example" } },
            "doNotContact": [{ "id": 3, "reason": 2, "channel": "email", "channelId": 12,
                "comments": "malote: 550" }] });
        let twin = json!({ "id": "48",
            "fields": { "core": { "email": { "value": "ana+x@one.example" } } } });
        let other = json!({ "id": 1, "fields": { "all": { "email": "bob@one.example" } } });
        let nobody = json!({ "id": 2, "fields": { "all": { "email": null } } });
        let all =
            json!({ "total": "4", "contacts": { "47": ana, "48": twin, "1": other, "2": nobody } });
        let found = contacts_with("ana+x@one.example", &all).unwrap();
        let ids: Vec<u64> = found.iter().map(|contact| contact.id).collect();
        assert_eq!(ids, [47, 48]);
        assert_eq!(found[0].entries.as_ref().unwrap()[0].reason, 2);
        assert_eq!(found[1].entries, None);
        let none = json!({ "total": 0, "contacts": [] });
        assert_eq!(contacts_with("ana@one.example", &none), Some(Vec::new()));
        assert_eq!(
            contacts_with("ana@one.example", &json!({ "errors": [] })),
            None
        );
        assert_eq!(contacts_with("ana@one.example", &json!("<html>")), None);
    }

    #[test]
    fn a_contact_alone_is_read_with_its_entries() {
        let answer = json!({ "contact": { "id": 7, "doNotContact": {
            "1": { "reason": 1, "channel": "email", "comments": null } } } });
        let contact = one(&answer).unwrap();
        assert_eq!((contact.id, contact.entries.unwrap().len()), (7, 1));
        assert_eq!(one(&json!({ "contacts": [] })), None);
    }

    proptest! {
        #[test]
        fn no_answer_breaks_the_reading(text in "[\\[\\]{}\":,a-z0-9]{0,80}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                contacts_with("a@x.test", &json!({ "contacts": value }));
                one(&json!({ "contact": value }));
            }
        }
    }
}
