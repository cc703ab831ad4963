//! One reader per service for the JSON that its simulator took: written from the services'
//! descriptions, not from the adapters.

use anyhow::{Result, bail};
use malote_sandbox::Kind;
use serde_json::Value;

use super::shape::{File, Person, Shape, people_of, sha256_of_base64};

/// What the fields say.
pub(super) fn read(kind: Kind, fields: &Value) -> Result<Shape> {
    match kind {
        Kind::Sendgrid => Ok(sendgrid(fields)),
        Kind::Postmark => Ok(postmark(fields)),
        Kind::Elasticemail => Ok(elasticemail(fields)),
        Kind::Smtp2go => Ok(smtp2go(fields)),
        Kind::Brevo => Ok(brevo(fields)),
        Kind::Mailjet => Ok(mailjet(fields)),
        Kind::Mailtrap => Ok(mailtrap(fields)),
        Kind::Resend => Ok(resend(fields)),
        Kind::Ses | Kind::Mailgun | Kind::Postal | Kind::Sparkpost | Kind::Smtp => {
            bail!("{} takes raw mail, not {fields}", kind.as_str())
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn some_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `{ "email": ..., "name": ... }`, in the service's spelling of the two.
fn person(value: &Value, (email, name): (&str, &str)) -> Option<Person> {
    let email = some_text(&value[email])?;
    // The name may be an encoded word or quoted, as in a header field.
    let shown = text(&value[name]);
    let is_written = shown.starts_with('"') || shown.starts_with("=?");
    let read = is_written.then(|| people_of(&format!("{shown} <{email}>")));
    let read = read.and_then(|mut people| people.pop());
    Some(read.unwrap_or(Person { name: shown, email }))
}

fn people(value: &Value, members: (&str, &str)) -> Vec<Person> {
    let one = value.is_object().then_some(value);
    let all = one.into_iter().chain(list(value));
    all.filter_map(|value| person(value, members)).collect()
}

/// `"Name <address>"`, several in a list or behind commas.
fn written(value: &Value) -> Vec<Person> {
    let one = value.as_str().into_iter();
    let all = one.chain(list(value).filter_map(Value::as_str));
    all.flat_map(people_of).collect()
}

/// Members of an object.
fn map(value: &Value) -> Vec<(String, String)> {
    let members = value.as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}

/// Name and value in objects of their own.
fn pairs(value: &Value, (name, of): (&str, &str)) -> Vec<(String, String)> {
    let pair = |one: &Value| (text(&one[name]), text(&one[of]));
    list(value).map(pair).collect()
}

/// Where a service has name, type, content and Content-ID of a file.
struct FileMembers {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    shown_as: &'static str,
}

fn files(value: &Value, members: &FileMembers) -> Vec<File> {
    let file = |one: &Value| File {
        name: some_text(&one[members.name]),
        kind: some_text(&one[members.kind]),
        sha256: sha256_of_base64(one[members.content].as_str().unwrap_or_default()),
        shown_as: some_text(&one[members.shown_as]),
    };
    list(value).map(file).collect()
}

fn sendgrid(mail: &Value) -> Shape {
    const PERSON: (&str, &str) = ("email", "name");
    let recipients = &mail["personalizations"][0];
    let content = |kind: &str| {
        let mut parts = list(&mail["content"]);
        let part = parts.find(|part| part["type"] == kind);
        part.map_or_else(String::new, |part| text(&part["value"]))
    };
    let reply_to = people(&mail["reply_to"], PERSON).into_iter();
    Shape {
        from: people(&mail["from"], PERSON),
        to: people(&recipients["to"], PERSON),
        cc: people(&recipients["cc"], PERSON),
        bcc: people(&recipients["bcc"], PERSON),
        reply_to: reply_to
            .chain(people(&mail["reply_to_list"], PERSON))
            .collect(),
        subject: text(&mail["subject"]),
        text: content("text/plain"),
        html: content("text/html"),
        files: files(
            &mail["attachments"],
            &FileMembers {
                name: "filename",
                kind: "type",
                content: "content",
                shown_as: "content_id",
            },
        ),
        headers: map(&mail["headers"]),
        tree: None,
    }
}

fn postmark(mail: &Value) -> Shape {
    let mut files = files(
        &mail["Attachments"],
        &FileMembers {
            name: "Name",
            kind: "ContentType",
            content: "Content",
            shown_as: "ContentID",
        },
    );
    for file in &mut files {
        let id = file.shown_as.take();
        file.shown_as = id.map(|id| id.trim_start_matches("cid:").to_owned());
    }
    Shape {
        from: written(&mail["From"]),
        to: written(&mail["To"]),
        cc: written(&mail["Cc"]),
        bcc: written(&mail["Bcc"]),
        reply_to: written(&mail["ReplyTo"]),
        subject: text(&mail["Subject"]),
        text: text(&mail["TextBody"]),
        html: text(&mail["HtmlBody"]),
        files,
        headers: pairs(&mail["Headers"], ("Name", "Value")),
        tree: None,
    }
}

fn elasticemail(mail: &Value) -> Shape {
    let (content, recipients) = (&mail["Content"], &mail["Recipients"]);
    let body = |kind: &str| {
        let mut parts = list(&content["Body"]);
        let part = parts.find(|part| part["ContentType"] == kind);
        part.map_or_else(String::new, |part| text(&part["Content"]))
    };
    Shape {
        from: written(&content["From"]),
        to: written(&recipients["To"]),
        cc: written(&recipients["CC"]),
        bcc: written(&recipients["BCC"]),
        reply_to: written(&content["ReplyTo"]),
        subject: text(&content["Subject"]),
        text: body("PlainText"),
        html: body("HTML"),
        files: files(
            &content["Attachments"],
            &FileMembers {
                name: "Name",
                kind: "ContentType",
                content: "BinaryContent",
                shown_as: "ContentId",
            },
        ),
        headers: map(&content["Headers"]),
        tree: None,
    }
}

fn smtp2go(mail: &Value) -> Shape {
    let members = FileMembers {
        name: "filename",
        kind: "mimetype",
        content: "fileblob",
        shown_as: "",
    };
    // What the HTML shows in its place is found by its name.
    let inlines = files(&mail["inlines"], &members).into_iter();
    let inlines = inlines.map(|file| File {
        shown_as: file.name.clone(),
        ..file
    });
    let headers = pairs(&mail["custom_headers"], ("header", "value")).into_iter();
    let (reply_to, headers): (Vec<_>, Vec<_>) =
        headers.partition(|(name, _)| name.eq_ignore_ascii_case("reply-to"));
    Shape {
        from: written(&mail["sender"]),
        to: written(&mail["to"]),
        cc: written(&mail["cc"]),
        bcc: written(&mail["bcc"]),
        reply_to: reply_to
            .iter()
            .flat_map(|(_, who)| people_of(who))
            .collect(),
        subject: text(&mail["subject"]),
        text: text(&mail["text_body"]),
        html: text(&mail["html_body"]),
        files: inlines
            .chain(files(&mail["attachments"], &members))
            .collect(),
        headers,
        tree: None,
    }
}

fn brevo(mail: &Value) -> Shape {
    const PERSON: (&str, &str) = ("email", "name");
    Shape {
        from: people(&mail["sender"], PERSON),
        to: people(&mail["to"], PERSON),
        cc: people(&mail["cc"], PERSON),
        bcc: people(&mail["bcc"], PERSON),
        reply_to: people(&mail["replyTo"], PERSON),
        subject: text(&mail["subject"]),
        text: text(&mail["textContent"]),
        html: text(&mail["htmlContent"]),
        files: files(
            &mail["attachment"],
            &FileMembers {
                name: "name",
                kind: "",
                content: "content",
                shown_as: "",
            },
        ),
        headers: map(&mail["headers"]),
        tree: None,
    }
}

fn mailjet(mail: &Value) -> Shape {
    const PERSON: (&str, &str) = ("Email", "Name");
    let members = FileMembers {
        name: "Filename",
        kind: "ContentType",
        content: "Base64Content",
        shown_as: "ContentID",
    };
    let inlined = files(&mail["InlinedAttachments"], &members).into_iter();
    Shape {
        from: people(&mail["From"], PERSON),
        to: people(&mail["To"], PERSON),
        cc: people(&mail["Cc"], PERSON),
        bcc: people(&mail["Bcc"], PERSON),
        reply_to: people(&mail["ReplyTo"], PERSON),
        subject: text(&mail["Subject"]),
        text: text(&mail["TextPart"]),
        html: text(&mail["HTMLPart"]),
        files: inlined
            .chain(files(&mail["Attachments"], &members))
            .collect(),
        headers: map(&mail["Headers"]),
        tree: None,
    }
}

fn mailtrap(mail: &Value) -> Shape {
    const PERSON: (&str, &str) = ("email", "name");
    Shape {
        from: people(&mail["from"], PERSON),
        to: people(&mail["to"], PERSON),
        cc: people(&mail["cc"], PERSON),
        bcc: people(&mail["bcc"], PERSON),
        reply_to: people(&mail["reply_to"], PERSON),
        subject: text(&mail["subject"]),
        text: text(&mail["text"]),
        html: text(&mail["html"]),
        files: files(
            &mail["attachments"],
            &FileMembers {
                name: "filename",
                kind: "type",
                content: "content",
                shown_as: "content_id",
            },
        ),
        headers: map(&mail["headers"]),
        tree: None,
    }
}

fn resend(mail: &Value) -> Shape {
    Shape {
        from: written(&mail["from"]),
        to: written(&mail["to"]),
        cc: written(&mail["cc"]),
        bcc: written(&mail["bcc"]),
        reply_to: written(&mail["reply_to"]),
        subject: text(&mail["subject"]),
        text: text(&mail["text"]),
        html: text(&mail["html"]),
        files: files(
            &mail["attachments"],
            &FileMembers {
                name: "filename",
                kind: "content_type",
                content: "content",
                shown_as: "content_id",
            },
        ),
        headers: map(&mail["headers"]),
        tree: None,
    }
}
