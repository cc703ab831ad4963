//! What became of a message on its way, against what it says.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Kind, Taken};

use super::fields::read;
use super::shape::{File, Person, Shape, fields};

/// How a message arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Octet for octet, at most behind fields of the service.
    AsItIs,
    /// As MIME, written down in another way.
    Rewritten,
    /// As fields of a call.
    Fields,
    /// Refused here or not even tried, with the reason; the next target got it.
    Refused(String),
}

/// What became of a message.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) form: Form,
    /// Header fields that it has and the service did not get.
    pub(super) lost: BTreeSet<String>,
    /// Header fields that it does not have and the service got.
    pub(super) added: BTreeSet<String>,
    /// What else is different, in words.
    pub(super) changed: Vec<String>,
    /// What the service was told beside the message.
    pub(super) options: BTreeSet<String>,
    /// The fields that the message has.
    pub(super) has: BTreeSet<String>,
}

impl Fate {
    /// Refused, for this reason.
    pub(super) fn refused(reason: String) -> Self {
        Self {
            form: Form::Refused(reason),
            lost: BTreeSet::new(),
            added: BTreeSet::new(),
            changed: Vec::new(),
            options: BTreeSet::new(),
            has: BTreeSet::new(),
        }
    }

    /// What became of `sent`, which arrived in these calls.
    pub(super) fn of(kind: Kind, sent: &[u8], taken: &[Taken]) -> Result<Self> {
        let said = Shape::of_mime(sent)?;
        let has = said.headers.iter().map(|(name, _)| name.clone()).collect();
        let first = taken.first().context("nothing arrived")?;
        let (form, seen, front) = match &first.fields {
            Some(_) => (Form::Fields, of_fields(kind, taken)?, BTreeSet::new()),
            None => {
                let raw = first.raw.as_deref().context("its raw form is gone")?;
                for other in taken {
                    ensure!(other.sha256 == first.sha256, "the copies differ");
                }
                let (front, rest) = split(sent, raw);
                match rest == sent {
                    true => (Form::AsItIs, said.clone(), front),
                    false => (Form::Rewritten, Shape::of_mime(rest)?, front),
                }
            }
        };
        let mut fate = Self {
            form,
            lost: BTreeSet::new(),
            added: front,
            changed: Vec::new(),
            options: taken.iter().flat_map(options).collect(),
            has,
        };
        fate.compare_headers(&said, &seen);
        fate.compare_people(&said, &seen);
        fate.compare_content(&said, &seen);
        if taken.len() > 1 {
            fate.changed.push(format!("in {} calls", taken.len()));
        }
        Ok(fate)
    }

    fn compare_headers(&mut self, said: &Shape, seen: &Shape) {
        let mut rest: Vec<&(String, String)> = seen.headers.iter().collect();
        for (name, value) in &said.headers {
            let is_it = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
            let Some(at) = rest.iter().position(is_it) else {
                self.lost.insert(name.clone());
                continue;
            };
            let (_, arrived) = rest.remove(at);
            if arrived != value {
                self.changed
                    .push(format!("`{name}` says `{arrived}` instead of `{value}`"));
            }
        }
        self.added.extend(rest.iter().map(|(name, _)| name.clone()));
    }

    fn compare_people(&mut self, said: &Shape, seen: &Shape) {
        for (name, said, seen) in [
            ("From", &said.from, &seen.from),
            ("To", &said.to, &seen.to),
            ("Cc", &said.cc, &seen.cc),
            ("Reply-To", &said.reply_to, &seen.reply_to),
        ] {
            if sorted(said) != sorted(seen) {
                let (said, seen) = (shown(said), shown(seen));
                self.changed
                    .push(format!("{name} is `{seen}` instead of `{said}`"));
            }
        }
        if said.subject != seen.subject {
            let (said, seen) = (&said.subject, &seen.subject);
            self.changed
                .push(format!("Subject is `{seen}` instead of `{said}`"));
        }
    }

    fn compare_content(&mut self, said: &Shape, seen: &Shape) {
        for (what, said, seen) in [
            ("text", &said.text, &seen.text),
            ("HTML", &said.html, &seen.html),
        ] {
            let (said, seen) = (lines(said), lines(seen));
            if said != seen {
                let change = match (said.is_empty(), seen.is_empty()) {
                    (true, _) => format!("with {what} that it does not have"),
                    (_, true) => format!("without its {what}"),
                    (false, false) => format!("another {what}"),
                };
                self.changed.push(change);
            }
        }
        if said.files.len() != seen.files.len() {
            let (said, seen) = (said.files.len(), seen.files.len());
            self.changed.push(format!("{seen} files instead of {said}"));
        }
        for (said, seen) in said.files.iter().zip(&seen.files) {
            self.compare_file(said, seen);
        }
        if let Some(tree) = seen.tree.as_ref()
            && said.tree.as_ref() != Some(tree)
        {
            self.changed.push(format!("its parts are `{tree}`"));
        }
    }

    fn compare_file(&mut self, said: &File, seen: &File) {
        let what = said.name.as_deref().unwrap_or("a file without a name");
        if said.sha256 != seen.sha256 {
            self.changed.push(format!("another content of `{what}`"));
        }
        if said.name != seen.name {
            let name = seen.name.as_deref().unwrap_or("nothing");
            self.changed.push(format!("`{what}` is named `{name}`"));
        }
        match &seen.kind {
            None => self
                .changed
                .push(format!("the type of `{what}` is left to its name")),
            Some(kind) if said.kind.as_ref() != Some(kind) => {
                self.changed.push(format!("`{what}` is `{kind}`"));
            }
            Some(_) => {}
        }
        if said.shown_as != seen.shown_as {
            self.changed
                .push(format!("`{what}` is not shown in its place"));
        }
    }
}

/// The names of what was told beside the message, of all recipients as of one.
fn options(taken: &Taken) -> impl Iterator<Item = String> {
    let names = taken.options.iter().map(|(name, _)| name);
    // One simulator lists header fields, too.
    let names = names.filter(|name| !name.starts_with("header:"));
    names.map(|name| match (name.find('['), name.find(']')) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &name[..from], &name[to + 1..]),
        _ => name.clone(),
    })
}

/// Header fields of the service in front of a message, and the rest.
fn split<'a>(sent: &[u8], raw: &'a [u8]) -> (BTreeSet<String>, &'a [u8]) {
    let first = fields(sent).into_iter().next();
    let first = first
        .map(|(name, _)| format!("{name}:"))
        .unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut rest = raw;
    loop {
        if rest.starts_with(first.as_bytes()) || rest.starts_with(b"\r\n") {
            return (names, rest);
        }
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return (BTreeSet::new(), raw);
        };
        let (line, after) = rest.split_at(end + 2);
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let line = String::from_utf8_lossy(line);
            let name = line.split_once(':').map(|(name, _)| name.to_owned());
            names.extend(name);
        }
        rest = after;
    }
}

/// What the calls say together: each may be for some of the recipients.
fn of_fields(kind: Kind, taken: &[Taken]) -> Result<Shape> {
    let mut whole: Option<Shape> = None;
    for call in taken {
        let said = call.fields.as_ref().context("one call came as MIME")?;
        let said = read(kind, said)?;
        match &mut whole {
            None => whole = Some(said),
            Some(whole) => {
                whole.to.extend(said.to);
                whole.cc.extend(said.cc);
                whole.bcc.extend(said.bcc);
            }
        }
    }
    whole.context("nothing arrived")
}

fn sorted(people: &[Person]) -> Vec<&Person> {
    let mut people: Vec<&Person> = people.iter().collect();
    people.sort();
    people
}

fn shown(people: &[Person]) -> String {
    let people = people
        .iter()
        .map(|Person { name, email }| match name.as_str() {
            "" => email.clone(),
            name => format!("{name} <{email}>"),
        });
    people.collect::<Vec<_>>().join(", ")
}

/// A text without what is lost when its last line end is.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end_matches('\n').to_owned()
}
