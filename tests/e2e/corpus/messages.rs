//! The corpus: `tests/corpus/*.eml`, and what each message is there for.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use malote_tests::repository;

use super::shape::Shape;

/// Name, what it is, and a recipient of its envelope whom it does not name.
const CORPUS: [(&str, &str, Option<&str>); 23] = [
    ("plain", "plain text, lines with dots", None),
    ("empty", "no text", None),
    ("alternative", "text and HTML", None),
    ("inline-image", "HTML with an image in its place", None),
    (
        "attachments",
        "files with names in RFC 2231 and RFC 2047",
        None,
    ),
    (
        "nested",
        "mixed, related and alternative in one another",
        None,
    ),
    ("forwarded", "a message as an attachment", None),
    ("long-lines", "lines and a field of 998 octets", None),
    (
        "encoded-words",
        "encoded words in From, To and Subject",
        None,
    ),
    ("utf8-header", "fields in UTF-8 as it is", None),
    ("eight-bit", "a text in UTF-8, eight bits", None),
    ("latin-1", "a text in ISO 8859-1, eight bits", None),
    ("braces", "marks of several template languages", None),
    (
        "list-headers",
        "one-click unsubscription, references, fields of its own",
        None,
    ),
    ("repeated-field", "a field twice", None),
    ("two-reply-to", "two addresses in Reply-To", None),
    (
        "hidden-recipient",
        "To two, Cc one, Bcc one",
        Some("bcc-1@dest.example"),
    ),
    ("dkim", "a DKIM signature", None),
    ("calendar", "an invitation", None),
    ("signed", "`multipart/signed`", None),
    ("encrypted", "`multipart/encrypted`", None),
    ("report", "`multipart/report`, MAIL FROM `<>`", None),
    (
        "utf8-recipient",
        "a recipient whose local part is in UTF-8",
        None,
    ),
];

/// One message of the corpus.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// Its file's name without `.eml`.
    pub(super) name: &'static str,
    /// What it is.
    pub(super) title: &'static str,
    /// Whom only the envelope names.
    pub(super) hidden: Option<&'static str>,
    /// Whether it leaves with an empty MAIL FROM.
    pub(super) is_report: bool,
    /// Its octets.
    pub(super) raw: Vec<u8>,
    /// Whom To and Cc name.
    named: Vec<String>,
}

impl Message {
    /// Whom it goes to.
    pub(super) fn envelope(&self) -> Vec<String> {
        let hidden = self.hidden.map(str::to_owned);
        self.named.iter().cloned().chain(hidden).collect()
    }
}

/// All of them, in the order of the pages.
pub(super) fn messages() -> Result<Vec<Message>> {
    CORPUS
        .iter()
        .map(|(name, title, hidden)| {
            let path = repository().join(format!("tests/corpus/{name}.eml"));
            let raw = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let said = Shape::of_mime(&raw)?;
            let named = said.to.into_iter().chain(said.cc);
            Ok(Message {
                name,
                title,
                hidden: *hidden,
                is_report: *name == "report",
                named: named.map(|person| person.email).collect(),
                raw,
            })
        })
        .collect()
}

#[test]
fn the_corpus_is_all_of_its_folder_and_each_message_has_recipients_of_its_own() -> Result<()> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(repository().join("tests/corpus"))? {
        files.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let messages = messages()?;
    let listed = messages
        .iter()
        .map(|message| format!("{}.eml", message.name));
    assert_eq!(files, listed.collect());
    let envelopes: Vec<String> = messages.iter().flat_map(Message::envelope).collect();
    let unique: BTreeSet<&String> = envelopes.iter().collect();
    ensure!(unique.len() == envelopes.len(), "{envelopes:?}");
    for message in &messages {
        let text = String::from_utf8_lossy(&message.raw).replace("\r\n", "");
        ensure!(!text.contains(['\r', '\n']), "{}: not CRLF", message.name);
    }
    Ok(())
}

/// Written down by hand, so that reading wrongly does not go unseen because all read alike.
#[test]
fn the_corpus_is_read_as_it_is_meant() -> Result<()> {
    let read = |name: &str| -> Result<Shape> {
        let mut all = messages()?.into_iter();
        let message = all.find(|message| message.name == name);
        Shape::of_mime(&message.context("no such message")?.raw)
    };
    let words = read("encoded-words")?;
    assert_eq!(words.subject, "Sua encomenda nº 42 está a caminho 📦");
    assert_eq!(words.from[0].name, "Loja Ção, Lda.");
    assert_eq!(words.to[0].name, "José Sem-Nome");
    assert_eq!(read("utf8-header")?.subject, "Olá, a sua encomenda 📦");
    let files = read("attachments")?.files.into_iter();
    let names: Vec<Option<String>> = files.map(|file| file.name).collect();
    let expected = [
        "faktura žluť.pdf",
        "relatório de vendas do mês de março de 2026.csv",
        "請求書.pdf",
    ];
    assert_eq!(names, expected.map(|name| Some(name.to_owned())));
    let nested = read("nested")?;
    assert_eq!(
        nested.tree.as_deref(),
        Some(
            "multipart/mixed(multipart/related(multipart/alternative(text/plain, text/html), \
             image/png), application/pdf)"
        )
    );
    assert_eq!(nested.text.trim_end(), "Olá, your order 42 is on its way.");
    assert_eq!(
        nested.files[0].shown_as.as_deref(),
        Some("logo@shop.example")
    );
    assert_eq!(nested.files[1].shown_as, None);
    assert_eq!(read("latin-1")?.text.trim_end(), "Olá, ação, naïve.");
    let list = read("list-headers")?;
    let leave = list
        .headers
        .iter()
        .find(|(name, _)| name == "List-Unsubscribe");
    let expected = "<mailto:leave@shop.example?subject=leave>, <https://shop.example/u/4f2a>";
    assert_eq!(leave.map(|(_, value)| value.as_str()), Some(expected));
    Ok(())
}
