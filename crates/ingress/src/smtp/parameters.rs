//! ESMTP parameters of MAIL and RCPT (RFC 1870, 3030, 3461, 4954, 6152, 6531).

use malote_core::message::{DsnParameters, Notify};

use super::reply::{BAD_ARGUMENT, Reply, TOO_LARGE, UNKNOWN_PARAMETER};

/// RFC 3461 4.4.
const ENVID_BYTES_MAX: usize = 100;
/// RFC 3461 4.2.
const ORCPT_BYTES_MAX: usize = 500;
/// RFC 1870 5: size-value is 1 to 20 digits.
const SIZE_DIGITS_MAX: usize = 20;

/// What MAIL FROM said besides the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MailParameters {
    /// `SIZE=`, in octets; believed for nothing but refusing early and sizing the first buffer.
    pub(crate) size: Option<u64>,
    /// Whether `SMTPUTF8` was given.
    pub(crate) with_utf8: bool,
    /// `RET=` and `ENVID=`.
    pub(crate) dsn: DsnParameters,
}

/// What RCPT TO said besides the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RcptParameters {
    /// `NOTIFY=`.
    pub(crate) notify: Option<Notify>,
    /// `ORCPT=`, as given.
    pub(crate) orcpt: Option<String>,
}

/// Keywords already seen; each may stand once.
#[derive(Default)]
struct Seen(Vec<&'static str>);

impl Seen {
    fn once(&mut self, keyword: &'static str) -> Result<(), Reply> {
        if self.0.contains(&keyword) {
            return Err(BAD_ARGUMENT);
        }
        self.0.push(keyword);
        Ok(())
    }
}

impl MailParameters {
    /// Parses what follows the path. `size_max` is the SIZE that EHLO announced.
    pub(crate) fn parse(text: &[u8], size_max: u64) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        let mut seen = Seen::default();
        for (keyword, value) in pairs(text) {
            let keyword = keyword?;
            let mut upper = keyword.to_vec();
            upper.make_ascii_uppercase();
            match upper.as_slice() {
                b"SIZE" => {
                    seen.once("SIZE")?;
                    parameters.size = Some(parse_size(value, size_max)?);
                }
                b"BODY" => {
                    seen.once("BODY")?;
                    let value = value.ok_or(BAD_ARGUMENT)?;
                    if ![&b"7BIT"[..], b"8BITMIME"]
                        .iter()
                        .any(|known| value.eq_ignore_ascii_case(known))
                    {
                        return Err(BAD_ARGUMENT);
                    }
                }
                b"SMTPUTF8" => {
                    seen.once("SMTPUTF8")?;
                    parameters.with_utf8 = true;
                    if value.is_some() {
                        return Err(BAD_ARGUMENT);
                    }
                }
                b"RET" => {
                    seen.once("RET")?;
                    parameters.dsn.ret_full = parse_ret(value)?;
                }
                b"ENVID" => {
                    seen.once("ENVID")?;
                    parameters.dsn.envid = Some(parse_xtext(value, ENVID_BYTES_MAX)?);
                }
                b"AUTH" => {
                    // RFC 4954 5 lets a server that trusts nobody's claim parse it and forget it.
                    seen.once("AUTH")?;
                    if value != Some(b"<>") {
                        parse_xtext(value, ORCPT_BYTES_MAX)?;
                    }
                }
                _ => return Err(UNKNOWN_PARAMETER),
            }
        }
        Ok(parameters)
    }
}

impl RcptParameters {
    /// Parses what follows the path.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Reply> {
        let mut parameters = Self::default();
        let mut seen = Seen::default();
        for (keyword, value) in pairs(text) {
            let keyword = keyword?;
            if keyword.eq_ignore_ascii_case(b"NOTIFY") {
                seen.once("NOTIFY")?;
                parameters.notify = Some(parse_notify(value)?);
            } else if keyword.eq_ignore_ascii_case(b"ORCPT") {
                seen.once("ORCPT")?;
                parameters.orcpt = Some(parse_orcpt(value)?);
            } else {
                return Err(UNKNOWN_PARAMETER);
            }
        }
        Ok(parameters)
    }
}

type Pair<'a> = (Result<&'a [u8], Reply>, Option<&'a [u8]>);

/// `KEYWORD[=value]` between spaces (RFC 5321 4.1.2, esmtp-param).
fn pairs(text: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    text.split(|octet| *octet == b' ')
        .filter(|token| !token.is_empty())
        .map(|token| {
            let (keyword, value) = match memchr::memchr(b'=', token) {
                Some(at) => (&token[..at], token.get(at + 1..)),
                None => (token, None),
            };
            let is_keyword = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
                && keyword
                    .iter()
                    .all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
            let is_value = value.is_none_or(|value| {
                !value.is_empty() && value.iter().all(|octet| (0x21..=0x7e).contains(octet))
            });
            if is_keyword && is_value {
                (Ok(keyword), value)
            } else {
                (Err(BAD_ARGUMENT), None)
            }
        })
}

/// A decimal number that fits 64 bits; `None` for anything else.
pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn parse_size(value: Option<&[u8]>, size_max: u64) -> Result<u64, Reply> {
    let size = value.and_then(parse_decimal).ok_or(BAD_ARGUMENT)?;
    if size > size_max {
        return Err(TOO_LARGE);
    }
    Ok(size)
}

fn parse_ret(value: Option<&[u8]>) -> Result<bool, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case(b"FULL") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case(b"HDRS") => Ok(false),
        Some(_) | None => Err(BAD_ARGUMENT),
    }
}

fn parse_notify(value: Option<&[u8]>) -> Result<Notify, Reply> {
    let value = value.ok_or(BAD_ARGUMENT)?;
    let mut notify = Notify {
        success: false,
        failure: false,
        delay: false,
    };
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Ok(notify);
    }
    for word in value.split(|octet| *octet == b',') {
        if word.eq_ignore_ascii_case(b"SUCCESS") {
            notify.success = true;
        } else if word.eq_ignore_ascii_case(b"FAILURE") {
            notify.failure = true;
        } else if word.eq_ignore_ascii_case(b"DELAY") {
            notify.delay = true;
        } else {
            return Err(BAD_ARGUMENT);
        }
    }
    Ok(notify)
}

/// `addr-type ";" xtext` (RFC 3461 4.2).
fn parse_orcpt(value: Option<&[u8]>) -> Result<String, Reply> {
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let text = text.ok_or(BAD_ARGUMENT)?;
    let (kind, address) = text.split_once(';').ok_or(BAD_ARGUMENT)?;
    let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_kind || text.len() > ORCPT_BYTES_MAX {
        return Err(BAD_ARGUMENT);
    }
    parse_xtext(Some(address.as_bytes()), ORCPT_BYTES_MAX)?;
    Ok(text.to_owned())
}

/// xtext (RFC 3461 4): visible ASCII, `+` and `=` only as `+XX` in upper-case hexadecimal.
fn parse_xtext(value: Option<&[u8]>, bytes_max: usize) -> Result<String, Reply> {
    let value = value.ok_or(BAD_ARGUMENT)?;
    if value.is_empty() || value.len() > bytes_max {
        return Err(BAD_ARGUMENT);
    }
    let is_hex = |octet: Option<&u8>| {
        octet.is_some_and(|octet| octet.is_ascii_digit() || (b'A'..=b'F').contains(octet))
    };
    let mut octets = value.iter();
    while let Some(octet) = octets.next() {
        let is_good = match octet {
            b'+' => is_hex(octets.next()) && is_hex(octets.next()),
            b'=' => false,
            other => (0x21..=0x7e).contains(other),
        };
        if !is_good {
            return Err(BAD_ARGUMENT);
        }
    }
    String::from_utf8(value.to_vec()).map_err(|_| BAD_ARGUMENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE_MAX: u64 = 26_214_400;

    #[test]
    fn mail_parameters_are_read() {
        let text = b" size=100 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=QQ+2B1 AUTH=<>";
        let parameters = MailParameters::parse(text, SIZE_MAX).unwrap();
        assert_eq!(parameters.size, Some(100));
        assert!(parameters.with_utf8 && parameters.dsn.ret_full);
        assert_eq!(parameters.dsn.envid.as_deref(), Some("QQ+2B1"));
        assert_eq!(
            MailParameters::parse(b"", SIZE_MAX),
            Ok(MailParameters::default())
        );
    }

    #[test]
    fn bad_mail_parameters_have_their_reply() {
        let long_envid = format!("ENVID={}", "x".repeat(101));
        for (text, reply) in [
            ("SIZE=999999999999", TOO_LARGE),
            ("SIZE=-1", BAD_ARGUMENT),
            ("SIZE=18446744073709551617", BAD_ARGUMENT),
            ("SIZE=100000000000000000000000", BAD_ARGUMENT),
            ("SIZE=abc", BAD_ARGUMENT),
            ("SIZE=", BAD_ARGUMENT),
            ("SIZE", BAD_ARGUMENT),
            ("SIZE=1 SIZE=1", BAD_ARGUMENT),
            ("FOO=BAR", UNKNOWN_PARAMETER),
            ("FOO", UNKNOWN_PARAMETER),
            ("NOTIFY=NEVER", UNKNOWN_PARAMETER),
            ("BODY=BINARYMIME", BAD_ARGUMENT),
            ("BODY=9BIT", BAD_ARGUMENT),
            ("SMTPUTF8=yes", BAD_ARGUMENT),
            ("RET=FULL RET=HDRS", BAD_ARGUMENT),
            ("RET=SOME", BAD_ARGUMENT),
            (&long_envid, BAD_ARGUMENT),
            ("ENVID=a+2x", BAD_ARGUMENT),
            ("ENVID=a=b", BAD_ARGUMENT),
            ("=1", BAD_ARGUMENT),
        ] {
            assert_eq!(
                MailParameters::parse(text.as_bytes(), SIZE_MAX),
                Err(reply),
                "{text}"
            );
        }
    }

    #[test]
    fn rcpt_parameters_are_read_or_refused() {
        let text = b" NOTIFY=success,Delay ORCPT=rfc822;Bob+40x.test";
        let parameters = RcptParameters::parse(text).unwrap();
        let notify = parameters.notify.unwrap();
        assert!(notify.success && notify.delay && !notify.failure);
        assert_eq!(parameters.orcpt.as_deref(), Some("rfc822;Bob+40x.test"));
        for (text, reply) in [
            ("NOTIFY=NEVER,SUCCESS", BAD_ARGUMENT),
            ("NOTIFY=SOMETIMES", BAD_ARGUMENT),
            ("NOTIFY=", BAD_ARGUMENT),
            ("NOTIFY=NEVER NOTIFY=NEVER", BAD_ARGUMENT),
            ("ORCPT=bob@x.test", BAD_ARGUMENT),
            ("ORCPT=;bob", BAD_ARGUMENT),
            ("SIZE=1", UNKNOWN_PARAMETER),
        ] {
            assert_eq!(RcptParameters::parse(text.as_bytes()), Err(reply), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(MailParameters::parse(&text, SIZE_MAX));
            drop(RcptParameters::parse(&text));
        }

        #[test]
        fn every_number_of_64_bits_is_read(number in any::<u64>()) {
            prop_assert_eq!(parse_decimal(number.to_string().as_bytes()), Some(number));
        }
    }
}
