//! One file: its name, its media type and its octets, each checked.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lettre::message::SinglePart;
use lettre::message::header::{
    ContentDisposition, ContentId, ContentTransferEncoding, ContentType,
};
use malote_core::address::is_invisible;

use super::{CONTROL_DETAIL, has_control};
use crate::http::problem_rfc9457::{Faults, ProblemKind};
use crate::http::request::AttachmentInput;

const NAME_BYTES_MAX: usize = 255;
const TYPE_BYTES_MAX: usize = 255;
const CONTENT_ID_BYTES_MAX: usize = 128;

/// With or without padding: clients differ, the octets do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A checked and decoded file.
#[derive(Debug)]
pub(super) struct File {
    name: String,
    content_type: ContentType,
    content: Vec<u8>,
    /// The name by which HTML shows it.
    pub(super) content_id: Option<String>,
}

impl File {
    /// Checks and decodes; faults are noted below `pointer`.
    pub(super) fn read(
        input: &AttachmentInput,
        pointer: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        let mut note = |member: &str, (kind, text): (ProblemKind, &str)| {
            faults.push(kind, format!("{pointer}/{member}"), text);
        };
        let name = file_name(&input.filename).map_err(|fault| note("filename", fault));
        let content_type = input.content_type.as_deref();
        let content_type = media_type(content_type).map_err(|fault| note("content_type", fault));
        let content_id = input.content_id.as_deref().map(content_id).transpose();
        let content_id = content_id.map_err(|fault| note("content_id", fault));
        let content = decode(&input.content).map_err(|fault| note("content", fault));
        Some(Self {
            name: name.ok()?,
            content_type: content_type.ok()?,
            content: content.ok()?,
            content_id: content_id.ok()?,
        })
    }

    /// The file as a part. Always base64: the builder would send ASCII octets as they are, bare
    /// line feeds included.
    pub(super) fn into_part(self) -> SinglePart {
        let part = SinglePart::builder()
            .header(self.content_type)
            .header(ContentTransferEncoding::Base64);
        let part = match self.content_id {
            Some(id) => part
                .header(ContentDisposition::inline_with_name(&self.name))
                .header(ContentId::from(format!("<{id}>"))),
            None => part.header(ContentDisposition::attachment(&self.name)),
        };
        part.body(self.content)
    }
}

type Fault = (ProblemKind, &'static str);

/// Path separators become `_`, characters that reverse or hide text are dropped.
fn file_name(name: &str) -> Result<String, Fault> {
    if has_control(name) {
        return Err((ProblemKind::ControlCharacter, CONTROL_DETAIL));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err((ProblemKind::TooLong, "the name is longer than 255 octets"));
    }
    let shown = name
        .chars()
        .filter(|c| !is_invisible(*c) && !c.is_control());
    let name: String = shown
        .map(|c| if matches!(c, '/' | '\\') { '_' } else { c })
        .collect();
    if name.trim().is_empty() {
        return Err((ProblemKind::InvalidValue, "the name is empty"));
    }
    Ok(name)
}

fn media_type(text: Option<&str>) -> Result<ContentType, Fault> {
    let fault = |text| (ProblemKind::InvalidContentType, text);
    let text = text.unwrap_or("application/octet-stream");
    let is_printable = text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !is_printable || text.len() > TYPE_BYTES_MAX {
        return Err(fault("not a media type such as application/pdf"));
    }
    let lower = text.trim_start().to_ascii_lowercase();
    if lower.starts_with("multipart/") || lower.starts_with("message/") {
        return Err(fault("multipart and message types are not files"));
    }
    ContentType::parse(text).map_err(|_| fault("not a media type such as application/pdf"))
}

fn content_id(text: &str) -> Result<String, Fault> {
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    let id = inner.unwrap_or(text);
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&b);
    if (1..=CONTENT_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_allowed) {
        return Ok(id.to_owned());
    }
    let text = "1 to 128 of letters, digits and !#$%&'*+-/=?^_`{|}~.@";
    Err((ProblemKind::InvalidValue, text))
}

fn decode(content: &str) -> Result<Vec<u8>, Fault> {
    let is_line_end = |b: &u8| matches!(b, b'\r' | b'\n');
    let decoded = if content.bytes().any(|b| is_line_end(&b)) {
        let joined: Vec<u8> = content.bytes().filter(|b| !is_line_end(b)).collect();
        BASE64.decode(joined)
    } else {
        BASE64.decode(content)
    };
    decoded.map_err(|_| (ProblemKind::InvalidBase64, "the content is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_stay_names() {
        for (name, kept) in [
            ("invoice.pdf", "invoice.pdf"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("a\\b", "a_b"),
            ("evil\u{202e}fdp.exe", "evilfdp.exe"),
            ("fatúra.pdf", "fatúra.pdf"),
        ] {
            assert_eq!(file_name(name).as_deref(), Ok(kept));
        }
        let kind = |name: &str| file_name(name).map_err(|fault| fault.0);
        assert_eq!(
            kind("a\r\nContent-Type: x"),
            Err(ProblemKind::ControlCharacter)
        );
        assert_eq!(kind(&"x".repeat(10_000)), Err(ProblemKind::TooLong));
        assert_eq!(kind(""), Err(ProblemKind::InvalidValue));
    }

    #[test]
    fn only_leaf_media_types_are_taken() {
        for good in [
            "image/png",
            "text/plain; charset=utf-8",
            "application/vnd.x+json",
        ] {
            assert!(media_type(Some(good)).is_ok(), "{good}");
        }
        for bad in [
            "text/plain\r\nX: y",
            "multipart/mixed",
            "Message/RFC822",
            "text",
            "",
            "text/plain; a=\u{e9}",
        ] {
            let kind = media_type(Some(bad)).map_err(|fault| fault.0);
            assert_eq!(kind, Err(ProblemKind::InvalidContentType), "{bad}");
        }
    }

    #[test]
    fn base64_is_taken_with_or_without_padding_and_line_ends() {
        for good in ["aGVsbG8=", "aGVsbG8", "aGVs\r\nbG8="] {
            assert_eq!(decode(good).as_deref(), Ok(&b"hello"[..]));
        }
        for bad in ["a", "a*b=", "aGVsbG8=x"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_ids_cannot_leave_their_brackets() {
        assert_eq!(content_id("<logo@x>").as_deref(), Ok("logo@x"));
        for bad in ["", "a>b", "a b", "a\r\n", &"x".repeat(129)] {
            assert!(content_id(bad).is_err(), "{bad}");
        }
    }
}
