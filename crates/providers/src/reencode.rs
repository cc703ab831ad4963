//! Makes a message fit for a service that takes short lines only, or ASCII only, by changing the
//! transfer encoding of the parts that do not fit and nothing else.
//!
//! Clients send lines over 998 octets and 8-bit text, and both are stored as they came. What
//! leaves keeps every octet of every part once it is decoded, and stays byte-exact where it fits.
//!
//! - Inside `multipart/signed` nothing is changed: that signature covers the encoded form
//!   (RFC 1847 2.1), so such a message is refused instead.
//! - `multipart/encrypted` and `application/pkcs7-mime` are no obstacle: what is encrypted or
//!   signed there is the decoded content (RFC 1847 2.2, RFC 8551 3.1.2).
//! - A client's DKIM signature does break. It is no obstacle either: the services sign what they
//!   send themselves, and a broken signature counts as none (RFC 6376 6.1).
//! - `message/*` is never put into base64 or quoted-printable (RFC 2046 5.2.1): an enclosed
//!   message is walked through, other kinds are refused.

mod entity;
mod header;
mod transfer;

#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use malote_core::provider::{Fault, Reply, SendError, Verdict};

/// Longest line, in octets without its CRLF (RFC 5322 2.1.1).
pub(crate) const LINE_BYTES_MAX: usize = 998;
/// From this size on, re-encoding would hold up other tasks of the thread.
const BLOCKING_FROM_BYTES: usize = 256 * 1024;

/// What a service makes of octets over 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EightBit {
    /// It carries them.
    Allowed,
    /// It carries them, but may spoil them: encoded where that can be done.
    Unwanted,
    /// It does not carry them: encoded, or the message is refused.
    Forbidden,
}

impl EightBit {
    /// Whether this should not leave as it is.
    fn wants_change(self, octets: &[u8]) -> bool {
        (self != Self::Allowed && !octets.is_ascii()) || has_long_line(octets)
    }

    /// Whether this must not leave as it is.
    fn must_change(self, octets: &[u8]) -> bool {
        (self == Self::Forbidden && !octets.is_ascii()) || has_long_line(octets)
    }
}

/// Why a message cannot be made to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unencodable {
    /// It would break a signature.
    #[error("inside multipart/signed, where a change would break the signature")]
    Signed,
    /// Fields have no transfer encoding.
    #[error("in a header field that holds octets other than ASCII")]
    HeaderNotAscii,
    /// A long line without a space.
    #[error("in a header field that has no place to be folded")]
    HeaderLine,
    /// The content is encoded in a way that we do not know.
    #[error("in a part of an unknown transfer encoding")]
    UnknownEncoding,
    /// Such a part has no transfer encoding.
    #[error("in a message/* part that must not be encoded")]
    MessageType,
    /// A multipart whose parts cannot be told apart.
    #[error("in a multipart whose boundary is missing")]
    Boundary,
    /// Readers would disagree on what it is.
    #[error("in a part with two fields for its type or encoding")]
    Ambiguous,
    /// More levels than [`entity::DEPTH_MAX`].
    #[error("in a part that is nested too deep")]
    TooDeep,
    /// None of the above.
    #[error("outside of what can be encoded")]
    Elsewhere,
}

/// Whether a line is longer than [`LINE_BYTES_MAX`].
///
/// Looks for the last line end of each 1,000 octets, so that text in short lines costs a few
/// steps in all and not one a line.
fn has_long_line(octets: &[u8]) -> bool {
    let mut rest = octets;
    while rest.len() > LINE_BYTES_MAX {
        let window = &rest[..rest.len().min(LINE_BYTES_MAX + 2)];
        let Some(line_end) = memchr::memrchr(b'\n', window) else {
            return true;
        };
        rest = &rest[line_end + 1..];
    }
    false
}

/// The message in a form that fits; the same octets, not copied, if it fits as it is.
///
/// # Errors
/// If it does not fit and cannot be made to.
pub(crate) fn reencode(message: &Bytes, eight_bit: EightBit) -> Result<Bytes, Unencodable> {
    if !eight_bit.wants_change(message) {
        return Ok(message.clone());
    }
    let mut fitting = Vec::with_capacity(message.len() + message.len() / 2);
    entity::message(message, eight_bit, &mut fitting)?;
    if eight_bit.must_change(&fitting) {
        return Err(Unencodable::Elsewhere);
    }
    Ok(fitting.into())
}

/// [`reencode`] for an adapter: large messages on a thread of their own, at most `bytes_max` long
/// afterwards.
///
/// # Errors
/// `Rejected(MessageHere)` if the message cannot be made to fit: another service may take it.
pub(crate) async fn fit(
    message: &Bytes,
    eight_bit: EightBit,
    bytes_max: u64,
) -> Result<Bytes, SendError> {
    if !eight_bit.wants_change(message) {
        return Ok(message.clone());
    }
    let fitting = if message.len() < BLOCKING_FROM_BYTES {
        reencode(message, eight_bit)
    } else {
        let message = message.clone();
        match tokio::task::spawn_blocking(move || reencode(&message, eight_bit)).await {
            Ok(fitting) => fitting,
            Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
        }
    };
    let fitting = fitting.map_err(|why| {
        // RFC 3463 3.7: conversion required but not supported.
        refused(
            "5.6.3",
            &format!("{} {why}", what_offends(message, eight_bit)),
        )
    })?;
    let bytes = fitting.len();
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > bytes_max) {
        let what = format!("the message has {bytes} octets once encoded, {bytes_max} are allowed");
        return Err(refused("5.3.4", &what));
    }
    Ok(fitting)
}

fn what_offends(message: &[u8], eight_bit: EightBit) -> &'static str {
    match (eight_bit, has_long_line(message)) {
        (EightBit::Allowed | EightBit::Unwanted, _) => "the message has a line over 998 octets",
        (EightBit::Forbidden, false) => "8-bit content is not taken here and the message has it",
        (EightBit::Forbidden, true) => {
            "8-bit content and lines over 998 octets are not taken here and the message has them"
        }
    }
}

fn refused(enhanced: &str, what: &str) -> SendError {
    let reply = Reply::new(None, Some(enhanced.to_owned()), what);
    SendError::new(Verdict::Rejected(Fault::MessageHere), reply)
}
