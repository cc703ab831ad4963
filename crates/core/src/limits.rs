//! Rates, quotas and warm-up as configuration gives them.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// What may leave through a provider or one of its pools. Absent means unlimited.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Recipients a second, 0.01 to 100,000, as a mean: one second may hold a tenth more, and a fifth
    /// more where several gateways share it.
    pub per_second: Option<f64>,
    /// Recipients in any 60 minutes.
    pub per_hour: Option<u64>,
    /// Recipients in a day, see `day`.
    pub per_day: Option<u64>,
    /// Where a day begins: `"rolling"` (any 24 hours, default), `"utc"`, or a zone such as
    /// `"America/Sao_Paulo"`.
    pub day: DayRule,
    /// Calls under way at once, 1 to 10,000; default 32.
    pub concurrency: Option<u32>,
    /// Share of rate and quotas that only transactional streams may use, 0.0 to 0.9.
    pub transactional_reserve: Option<f64>,
}

/// Calls under way at once where [`Limits::concurrency`] is not given.
pub const CONCURRENCY_DEFAULT: u32 = 32;

impl Limits {
    /// Calls under way at once.
    #[must_use]
    pub fn calls_max(&self) -> u32 {
        self.concurrency.unwrap_or(CONCURRENCY_DEFAULT)
    }
}

/// Where the day of a daily quota begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DayRule {
    /// Any 24 hours, counted in hourly buckets.
    #[default]
    Rolling,
    /// Midnight UTC.
    Utc,
    /// Midnight in this zone.
    Zone(TimeZone),
}

impl TryFrom<String> for DayRule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "rolling" => Ok(Self::Rolling),
            "utc" => Ok(Self::Utc),
            zone => TimeZone::get(zone).map(Self::Zone).map_err(|_| {
                format!("{zone:?} is neither \"rolling\", \"utc\" nor a known time zone")
            }),
        }
    }
}

impl From<DayRule> for String {
    fn from(rule: DayRule) -> Self {
        match rule {
            DayRule::Rolling => "rolling".into(),
            DayRule::Utc => "utc".into(),
            DayRule::Zone(zone) => zone.iana_name().unwrap_or("utc").into(),
        }
    }
}

/// The warm-up of a new IP pool: a cap a day that grows on days that used at least half of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// First day of the schedule (UTC).
    pub start: Date,
    /// Recipients on the first day.
    pub day_1: u64,
    /// Growth of the cap a day, 1.0 to 10.0.
    pub growth: f64,
    /// The cap at which the warm-up is over.
    pub until: u64,
}
