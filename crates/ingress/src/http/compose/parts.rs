//! The body's parts (RFC 2045, 2046): text and HTML as alternatives, pictures related to the
//! HTML, files beside them.

use lettre::message::header::ContentTransferEncoding;
use lettre::message::{Body, MultiPart, MultiPartBuilder, SinglePart};
use uuid::Uuid;

use super::attachment::File;
use super::{too_large, wire};
use crate::http::problem_rfc9457::{Faults, Problem, ProblemKind};
use crate::http::request::AttachmentInput;

const ATTACHMENTS_MAX: usize = 50;

/// What a message says.
#[derive(Debug)]
pub(super) struct Content {
    /// As plain text.
    pub(super) text: Option<String>,
    /// As HTML.
    pub(super) html: Option<String>,
    /// With these files.
    pub(super) attachments: Vec<AttachmentInput>,
}

/// The decoded files of a message.
#[derive(Debug, Default)]
pub(super) struct Files {
    inline: Vec<File>,
    attached: Vec<File>,
}

impl Content {
    /// Notes faults of number and presence.
    ///
    /// # Errors
    /// 413 if the parts are too large by what is known before anything is decoded.
    pub(super) fn check(&self, bytes_max: u64, faults: &mut Faults) -> Result<(), Problem> {
        if self.text.is_none() && self.html.is_none() {
            faults.push(ProblemKind::MissingField, "/text", "give text or html");
        }
        if self.attachments.len() > ATTACHMENTS_MAX {
            let text = format!("at most {ATTACHMENTS_MAX} files are taken");
            faults.push(ProblemKind::TooMany, "/attachments", text);
        }
        let texts = [&self.text, &self.html].into_iter().flatten();
        let texts: usize = texts.map(String::len).sum();
        let files: usize = self.attachments.iter().map(|file| file.content.len()).sum();
        if (texts + files) as u64 > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(())
    }

    /// Checks and decodes the files, noting every fault.
    pub(super) fn decode(&self, faults: &mut Faults) -> Files {
        let mut files = Files::default();
        for (index, input) in self.attachments.iter().take(ATTACHMENTS_MAX).enumerate() {
            let Some(file) = File::read(input, &format!("/attachments/{index}"), faults) else {
                continue;
            };
            if file.content_id.is_some() && self.html.is_some() {
                files.inline.push(file);
            } else {
                files.attached.push(file);
            }
        }
        files
    }

    /// Writes the parts, beginning with the outermost part's header fields.
    ///
    /// # Errors
    /// `missing_field` if there is neither text nor HTML.
    pub(super) fn write(self, files: Files, seed: Uuid) -> Result<Vec<u8>, Problem> {
        let boundaries = Boundaries(seed);
        let html = self.html.map(|html| {
            let html = Part::Single(SinglePart::html(encoded(html)));
            let pictures = files.inline.into_iter().map(File::into_part);
            boundaries.join(MultiPart::related(), "r", html, pictures)
        });
        let text = self.text.map(|text| SinglePart::plain(encoded(text)));
        let body = match (text, html) {
            (Some(text), Some(html)) => {
                let both = MultiPart::alternative().boundary(boundaries.name("a"));
                Part::Multi(html.add_to(both.singlepart(text)))
            }
            (Some(text), None) => Part::Single(text),
            (None, Some(html)) => html,
            (None, None) => {
                let text = "give text or html";
                return Err(Problem::at(ProblemKind::MissingField, "/text", text));
            }
        };
        let attached = files.attached.into_iter().map(File::into_part);
        let whole = boundaries.join(MultiPart::mixed(), "m", body, attached);
        Ok(match whole {
            Part::Single(part) => part.formatted(),
            Part::Multi(part) => part.formatted(),
        })
    }
}

enum Part {
    Single(SinglePart),
    Multi(MultiPart),
}

impl Part {
    fn add_to(self, parent: MultiPart) -> MultiPart {
        match self {
            Self::Single(part) => parent.singlepart(part),
            Self::Multi(part) => parent.multipart(part),
        }
    }
}

/// Boundaries made of what no client can know beforehand.
struct Boundaries(Uuid);

impl Boundaries {
    fn name(&self, level: &str) -> String {
        format!("=_{level}{}", self.0.simple())
    }

    /// `first` alone, or followed by the others in a multipart of this kind.
    fn join(
        &self,
        kind: MultiPartBuilder,
        level: &str,
        first: Part,
        others: impl ExactSizeIterator<Item = SinglePart>,
    ) -> Part {
        if others.len() == 0 {
            return first;
        }
        let parent = first.add_to(kind.boundary(self.name(level)).build());
        Part::Multi(others.fold(parent, MultiPart::singlepart))
    }
}

/// Text in the coding that suits it. Control characters other than TAB and line ends are never
/// sent as they are: quoted-printable carries them.
fn encoded(text: String) -> Body {
    let text = wire::with_crlf(text);
    let is_hidden = |b: u8| (b < 0x20 && !matches!(b, b'\t' | b'\r' | b'\n')) || b == 0x7f;
    if text.bytes().any(is_hidden) {
        let coding = ContentTransferEncoding::QuotedPrintable;
        Body::new_with_encoding(text, coding).unwrap_or_else(Body::new)
    } else {
        Body::new(text)
    }
}
