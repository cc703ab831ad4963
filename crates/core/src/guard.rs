//! The reputation guard of a stream: from which shares of bounces and complaints on it acts.

use std::time::Duration;

/// A checked `[streams.NAME.guard]` table. Shares are of the mail sent within the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardPolicy {
    /// The sliding window.
    pub window: Duration,
    /// Sends within the window below which nothing is decided.
    pub min_sends: u64,
    /// Hard bounces above which a campaign is slowed.
    pub bounce_slow: f64,
    /// Hard bounces above which it is paused.
    pub bounce_pause: f64,
    /// Complaints above which it is slowed.
    pub complaint_slow: f64,
    /// Complaints above which it is paused.
    pub complaint_pause: f64,
    /// The share of its pace that a slowed campaign keeps.
    pub slow_to: f64,
}

impl Default for GuardPolicy {
    /// Amazon SES reviews an account from 5 % bounces and 0.1 % complaints on (its developer guide,
    /// "Sending review process FAQs"); the campaign is slowed before that.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(24 * 3600),
            min_sends: 500,
            bounce_slow: 0.03,
            bounce_pause: 0.05,
            complaint_slow: 0.0005,
            complaint_pause: 0.001,
            slow_to: 0.1,
        }
    }
}
