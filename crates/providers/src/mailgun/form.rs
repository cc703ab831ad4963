//! The form of `messages.mime`: `multipart/form-data` around the message, which is not copied.

use bytes::Bytes;
use malote_core::provider::Outgoing;
use memchr::memmem;

use crate::correlation;

/// Most tags of one message (user manual, "Tagging").
pub(crate) const TAGS_MAX: usize = 3;
/// Longest tag, in octets of ASCII.
const TAG_BYTES_MAX: usize = 128;
/// The `o:`, `h:`, `v:` and `t:` parameters of a call may hold 16 KB in all, names included.
const PARAMETERS_BYTES_MAX: usize = 16_000;
/// What keeps our ids and the tags from reaching the recipients: the service would show both in
/// `X-Mailgun-` fields of the delivered message. `X-Mailgun-Sid` stays, complaints need it.
pub(crate) const SUPPRESSED_HEADERS: &str = "X-Mailgun-Variables,X-Mailgun-Tag";

/// A body and its type.
#[derive(Debug)]
pub(crate) struct Form {
    /// `multipart/form-data; boundary=...`.
    pub content_type: String,
    /// The body in parts.
    pub body: Vec<Bytes>,
}

/// The form for a message, whose `body` fits the service. Every recipient stands in `to`, as a bare address: Cc and Bcc fields of
/// the message do not route.
pub(crate) fn form(outgoing: &Outgoing, body: Bytes, sending_ip_pool: Option<&str>) -> Form {
    let mut fields = Fields::default();
    for recipient in &outgoing.recipients {
        fields.add("to", recipient.address.as_str());
    }
    fields.add("o:suppress-headers", SUPPRESSED_HEADERS);
    if let Some(pool) = sending_ip_pool {
        fields.add("o:sending-ip-pool", pool);
    }
    let word = |is_on| if is_on { "yes" } else { "no" };
    if let Some(opens) = outgoing.tracking.opens {
        fields.add("o:tracking-opens", word(opens));
    }
    if let Some(clicks) = outgoing.tracking.clicks {
        fields.add("o:tracking-clicks", word(clicks));
    }
    for tag in outgoing
        .tags
        .iter()
        .filter_map(|tag| ascii_tag(tag))
        .take(TAGS_MAX)
    {
        fields.add("o:tag", &tag);
    }
    fields.add(
        &format!("v:{}", correlation::MESSAGE),
        &outgoing.message.simple(),
    );
    let values = correlation::recipients(outgoing, PARAMETERS_BYTES_MAX / 2);
    for (n, value) in values.iter().enumerate() {
        fields.add(&format!("v:{}-{n}", correlation::RECIPIENTS), value);
    }
    for (name, value) in &outgoing.metadata {
        let name = format!("v:{}", variable_name(name));
        if fields.has_room_for(&name, value) && !name.starts_with("v:malote-") {
            fields.add(&name, value);
        }
    }
    fields.into_form(outgoing, body)
}

#[derive(Default)]
struct Fields {
    list: Vec<(String, String)>,
    parameters_bytes: usize,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) {
        if name.contains(':') {
            self.parameters_bytes += name.len() + value.len();
        }
        self.list.push((name.to_owned(), value.to_owned()));
    }

    fn has_room_for(&self, name: &str, value: &str) -> bool {
        self.parameters_bytes + name.len() + value.len() <= PARAMETERS_BYTES_MAX
    }

    fn into_form(self, outgoing: &Outgoing, body: Bytes) -> Form {
        let boundary = boundary(outgoing.message, &self.list, &body);
        let mut head = String::with_capacity(1024);
        for (name, value) in &self.list {
            let field = format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            head.push_str(&field);
        }
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"message\"; \
             filename=\"message.eml\"\r\nContent-Type: message/rfc822\r\n\r\n"
        ));
        let tail = format!("\r\n--{boundary}--\r\n");
        Form {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            body: vec![head.into(), body, tail.into()],
        }
    }
}

/// A boundary that occurs nowhere in the form: the next number until that holds.
fn boundary(
    message: malote_core::id::MessageId,
    fields: &[(String, String)],
    body: &[u8],
) -> String {
    let mut n = 0_u32;
    loop {
        let boundary = format!("malote-{}-{n}", message.simple());
        let is_in_fields = fields.iter().any(|(_, value)| value.contains(&boundary));
        if !is_in_fields && memmem::find(body, boundary.as_bytes()).is_none() {
            return boundary;
        }
        n += 1;
    }
}

/// A tag as the service takes it; `None` if nothing of it is left.
pub(crate) fn ascii_tag(tag: &str) -> Option<String> {
    let tag: String = tag
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(TAG_BYTES_MAX)
        .collect();
    let tag = tag.trim().to_owned();
    (!tag.is_empty()).then_some(tag)
}

/// Names stand in a header field of the form.
pub(crate) fn variable_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.chars()
        .take(128)
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlation::tests::outgoing;

    fn text(form: &Form) -> String {
        String::from_utf8(form.body.concat()).unwrap()
    }

    #[test]
    fn every_recipient_and_the_message_as_a_file_are_in_the_form() {
        let message = outgoing(&["a@x.test", "b@y.test"]);
        let form = form(&message, message.body.clone(), Some("pool-1"));
        let text = text(&form);
        for part in [
            "name=\"to\"\r\n\r\na@x.test\r\n",
            "name=\"to\"\r\n\r\nb@y.test\r\n",
            "name=\"o:sending-ip-pool\"\r\n\r\npool-1\r\n",
            "name=\"o:tag\"\r\n\r\nwelcome\r\n",
            "name=\"v:order\"\r\n\r\n42\r\n",
            "name=\"message\"; filename=\"message.eml\"\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.contains(&format!(
            "v:malote-message\"\r\n\r\n{}\r\n",
            message.message.simple()
        )));
        let boundary = form.content_type.rsplit('=').next().unwrap();
        assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")));
    }

    #[test]
    fn tracking_is_switched_by_options_only_where_it_is_wanted() {
        for (opens, clicks, expected) in [
            (None, None, vec![]),
            (Some(false), None, vec!["o:tracking-opens\"\r\n\r\nno\r\n"]),
            (
                Some(true),
                Some(false),
                vec![
                    "o:tracking-opens\"\r\n\r\nyes\r\n",
                    "o:tracking-clicks\"\r\n\r\nno\r\n",
                ],
            ),
        ] {
            let mut message = outgoing(&["a@x.test"]);
            message.tracking.opens = opens;
            message.tracking.clicks = clicks;
            let text = text(&form(&message, message.body.clone(), None));
            assert_eq!(text.matches("o:tracking").count(), expected.len());
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    #[test]
    fn a_message_that_holds_the_boundary_gets_another_one() {
        let mut message = outgoing(&["a@x.test"]);
        message.body = format!("--malote-{}-0--\r\n", message.message.simple()).into();
        let form = form(&message, message.body.clone(), None);
        assert!(form.content_type.ends_with("-1"), "{}", form.content_type);
    }

    #[test]
    fn tags_and_metadata_stay_within_the_services_bounds() {
        let addresses: Vec<String> = (0..500).map(|n| format!("r{n}@x.test")).collect();
        let mut message = outgoing(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        message.tags = vec![
            "é".into(),
            "a\r\nb".into(),
            "c".repeat(500),
            "d".into(),
            "e".into(),
        ];
        for n in 0..20 {
            message
                .metadata
                .insert(format!("k{n}\"\r\nx"), "v".repeat(1000));
        }
        let text = text(&form(&message, message.body.clone(), None));
        let mut parameters_bytes = 0;
        for part in text
            .split("name=\"")
            .skip(1)
            .filter(|part| part.contains(':'))
        {
            let (name, rest) = part.split_once('"').unwrap();
            let value = rest.trim_start().split("\r\n--malote-").next().unwrap();
            if name.starts_with("o:") || name.starts_with("v:") {
                parameters_bytes += name.len() + value.len();
            }
        }
        assert!(
            (8_000..16_000).contains(&parameters_bytes),
            "{parameters_bytes}"
        );
        assert_eq!(text.matches("name=\"o:tag\"").count(), 3);
        assert!(text.contains("\r\n\r\nab\r\n") && !text.contains("k1\"\r\nx"));
    }
}
