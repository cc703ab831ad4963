//! How long a client may take, by what it is doing and by who it is.

use std::time::Duration;

use tokio::time::Instant;

use super::session::Phase;

/// A client without a login completes each command within this time.
const STRANGER_COMMAND_WAIT_MAX: Duration = Duration::from_secs(30);
/// A command line that was begun is completed within this time.
const LINE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Two reads of a message's content are no further apart.
const CONTENT_WAIT_MAX: Duration = Duration::from_secs(60);
/// RFC 5321 4.5.3.2.7, kept for clients on trusted listeners.
const TRUSTED_WAIT_MAX: Duration = Duration::from_secs(300);
/// Content may be slow for this long; then it has to keep up the rate.
const CONTENT_GRACE: Duration = Duration::from_secs(30);
/// Octets a second, on average behind the grace.
const CONTENT_RATE_MIN: u64 = 500;

/// Who the client is, as far as patience goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody yet.
    Stranger,
    /// Logged in.
    LoggedIn,
    /// On a listener that trusts its network.
    Trusted,
}

/// The clock marks of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    connected_at: Instant,
    idle_max: Duration,
    login_within: Duration,
    phase: Phase,
    phase_at: Instant,
    replies: u64,
    replied_at: Instant,
    read_at: Instant,
    content_bytes: u64,
}

impl Pace {
    pub(crate) const fn new(now: Instant, idle_max: Duration, login_within: Duration) -> Self {
        Self {
            connected_at: now,
            idle_max,
            login_within,
            phase: Phase::Idle,
            phase_at: now,
            replies: 0,
            replied_at: now,
            read_at: now,
            content_bytes: 0,
        }
    }

    /// Marks what the session waits for now. `replies` tells one command from the next.
    pub(crate) fn wait_for(&mut self, phase: Phase, replies: u64, now: Instant) {
        if replies != self.replies {
            self.replies = replies;
            self.replied_at = now;
            self.read_at = now;
        } else if phase == self.phase {
            return;
        }
        self.phase = phase;
        self.phase_at = now;
        self.content_bytes = 0;
    }

    /// Marks octets that came in.
    pub(crate) const fn have_read(&mut self, bytes: usize, now: Instant) {
        self.read_at = now;
        self.content_bytes += bytes as u64;
    }

    /// When the client is too late.
    pub(crate) fn deadline(&self, standing: Standing) -> Instant {
        match (standing, self.phase) {
            (Standing::Trusted, Phase::Idle) => {
                self.replied_at + self.idle_max.max(TRUSTED_WAIT_MAX)
            }
            (Standing::Trusted, Phase::Line) => self.phase_at + TRUSTED_WAIT_MAX,
            (Standing::Trusted, Phase::Data) => self.read_at + TRUSTED_WAIT_MAX,
            (Standing::LoggedIn, Phase::Idle) => self.replied_at + self.idle_max,
            (Standing::LoggedIn, Phase::Line) => self.phase_at + LINE_WAIT_MAX,
            (Standing::LoggedIn, Phase::Data) => self.content_deadline(),
            (Standing::Stranger, Phase::Idle | Phase::Line | Phase::Data) => {
                let command = self.replied_at + STRANGER_COMMAND_WAIT_MAX;
                command.min(self.connected_at + self.login_within)
            }
        }
    }

    /// Credit for a fast beginning does not let the rest stall.
    fn content_deadline(&self) -> Instant {
        let earned = Duration::from_secs(self.content_bytes / CONTENT_RATE_MIN);
        let average = self.phase_at + CONTENT_GRACE + earned;
        average.min(self.read_at + CONTENT_WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(600);
    const LOGIN: Duration = Duration::from_secs(120);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_stranger_has_30_s_for_each_command_however_it_drips() {
        let start = Instant::now();
        let mut pace = Pace::new(start, IDLE, LOGIN);
        pace.wait_for(Phase::Idle, 1, start);
        for n in 1..5 {
            let now = start + seconds(5 * n);
            pace.have_read(1, now);
            pace.wait_for(Phase::Line, 1, now);
            assert_eq!(pace.deadline(Standing::Stranger), start + seconds(30));
        }
        let now = start + seconds(29);
        pace.wait_for(Phase::Idle, 2, now);
        assert_eq!(pace.deadline(Standing::Stranger), now + seconds(30));
        pace.wait_for(Phase::Idle, 9, start + seconds(110));
        assert_eq!(pace.deadline(Standing::Stranger), start + LOGIN);
    }

    #[tokio::test]
    async fn who_is_logged_in_may_be_idle_and_finishes_its_lines() {
        let start = Instant::now();
        let mut pace = Pace::new(start, IDLE, LOGIN);
        pace.wait_for(Phase::Idle, 7, start);
        assert_eq!(pace.deadline(Standing::LoggedIn), start + IDLE);
        let now = start + seconds(500);
        pace.have_read(1, now);
        pace.wait_for(Phase::Line, 7, now);
        pace.have_read(1, now + seconds(50));
        pace.wait_for(Phase::Line, 7, now + seconds(50));
        assert_eq!(pace.deadline(Standing::LoggedIn), now + seconds(60));
        assert_eq!(pace.deadline(Standing::Trusted), now + seconds(300));
    }

    #[tokio::test]
    async fn content_keeps_up_its_rate_and_does_not_stall() {
        let start = Instant::now();
        let mut pace = Pace::new(start, IDLE, LOGIN);
        pace.wait_for(Phase::Data, 3, start);
        assert_eq!(pace.deadline(Standing::LoggedIn), start + seconds(30));
        let now = start + seconds(25);
        pace.have_read(5_000, now);
        pace.wait_for(Phase::Data, 3, now);
        assert_eq!(pace.deadline(Standing::LoggedIn), start + seconds(40));
        pace.have_read(10_000_000, now);
        assert_eq!(pace.deadline(Standing::LoggedIn), now + seconds(60));
        assert_eq!(pace.deadline(Standing::Trusted), now + seconds(300));
    }
}
