//! Durations and sizes as configuration writes them: a number with its unit, nothing else.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// Not a duration.
    #[error(
        "{0:?} is not a duration: write a whole number and one of ms, s, m, h, d, as in \"30s\""
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size: write a whole number and one of B, KiB, MiB, GiB, as in \"25MiB\""
    )]
    Size(String),
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// A span of time: `"250ms"`, `"30s"`, `"15m"`, `"24h"`, `"7d"`. At most 3,650 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let fault = || UnitFault::Duration(text.to_owned());
        let (number, unit) = split(text).ok_or_else(fault)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(fault()),
        };
        let millis = number
            .checked_mul(unit_ms)
            .filter(|ms| *ms <= 3_650 * 86_400_000);
        millis
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(fault)
    }
}

impl TryFrom<String> for Span {
    type Error = UnitFault;

    fn try_from(text: String) -> Result<Self, UnitFault> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        for (unit_ms, unit) in [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1_000, "s"),
        ] {
            if ms >= unit_ms && ms.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", ms / unit_ms);
            }
        }
        write!(f, "{ms}ms")
    }
}

/// A number of octets: `"64KiB"`, `"25MiB"`, `"1GiB"`, `"512B"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let fault = || UnitFault::Size(text.to_owned());
        let (number, unit) = split(text).ok_or_else(fault)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(fault()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(fault)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = UnitFault;

    fn try_from(text: String) -> Result<Self, UnitFault> {
        text.parse()
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_with_a_unit_is_a_duration() {
        assert_eq!("90s".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        for bad in [
            "5",
            "5 min",
            "-1s",
            "1e9d",
            "",
            "s",
            "99999999999999999999s",
            "4000d",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_are_written_as_they_are_read() {
        for text in ["24h", "15m", "10s", "1500ms", "7d"] {
            assert_eq!(
                text.parse::<Span>().map(|s| s.to_string()),
                Ok(text.replace("24h", "1d"))
            );
        }
        for text in ["25MiB", "64KiB", "1GiB", "100B"] {
            assert_eq!(
                text.parse::<ByteSize>().map(|s| s.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
