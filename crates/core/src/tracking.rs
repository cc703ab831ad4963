//! Tracking: whether a service shows who opens a message and who follows its links.

use serde::{Deserialize, Serialize};

/// What a message or its stream wants to be tracked; `None` leaves it to whoever is asked next, at
/// last to the service's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tracking {
    /// Whether opens are tracked: an image in the HTML that the service counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens: Option<bool>,
    /// Whether clicks are tracked: links that lead through the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clicks: Option<bool>,
}

impl Tracking {
    /// What `self` wants, and where it wants nothing what `other` wants.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            opens: self.opens.or(other.opens),
            clicks: self.clicks.or(other.clicks),
        }
    }

    /// A switch as header fields have it: `yes` or `no`, in any case of letters.
    #[must_use]
    pub fn switch(text: &str) -> Option<bool> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("yes") {
            Some(true)
        } else if text.eq_ignore_ascii_case("no") {
            Some(false)
        } else {
            None
        }
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub const fn is_silent(self) -> bool {
        self.opens.is_none() && self.clicks.is_none()
    }

    /// What of it an account with these switches does not do, in the words of an operator.
    pub fn unmet(self, switches: TrackingSwitches) -> impl Iterator<Item = Unmet> {
        let each = [
            ("opens", self.opens, switches.opens),
            ("clicks", self.clicks, switches.clicks),
        ];
        each.into_iter().filter_map(|(what, wanted, switch)| {
            let wanted = wanted?;
            (!switch.allows(wanted)).then_some(Unmet {
                what,
                wanted,
                switch,
            })
        })
    }
}

/// A wish that an account does not fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmet {
    /// `opens` or `clicks`.
    pub what: &'static str,
    /// Whether they were to be tracked.
    pub wanted: bool,
    switch: Switch,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.what;
        match self.switch {
            Switch::Never => write!(f, "{what} are not tracked there"),
            Switch::OnOnly => write!(f, "{what} are tracked if the account's settings say so"),
            Switch::Both | Switch::Account => {
                write!(f, "{what} are tracked or not as the account's settings say")
            }
        }
    }
}

/// Which tracking an account lets each message switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingSwitches {
    /// Of opens.
    pub opens: Switch,
    /// Of clicks.
    pub clicks: Switch,
}

impl TrackingSwitches {
    /// A message switches both, both ways.
    pub const BOTH: Self = Self::of(Switch::Both);
    /// The account's settings alone decide.
    pub const ACCOUNT: Self = Self::of(Switch::Account);
    /// Nothing is ever tracked.
    pub const NEVER: Self = Self::of(Switch::Never);

    const fn of(switch: Switch) -> Self {
        Self {
            opens: switch,
            clicks: switch,
        }
    }
}

/// What a message can say of one kind of tracking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On or off.
    Both,
    /// On; what the account's settings track, it cannot stop.
    OnOnly,
    /// Nothing: the account's settings decide.
    Account,
    /// Nothing: there is no tracking.
    Never,
}

impl Switch {
    const fn allows(self, wanted: bool) -> bool {
        match self {
            Self::Both => true,
            Self::OnOnly => wanted,
            Self::Account => false,
            Self::Never => !wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_wins_over_its_stream_switch_by_switch() {
        let of = |opens, clicks| Tracking { opens, clicks };
        let stream = of(Some(true), Some(true));
        assert_eq!(
            of(Some(false), None).or(stream),
            of(Some(false), Some(true))
        );
        assert_eq!(Tracking::default().or(stream), stream);
        assert!(Tracking::default().or(Tracking::default()).is_silent());
    }

    #[test]
    fn what_an_account_does_not_do_is_told() {
        let switches = |opens| TrackingSwitches {
            opens,
            clicks: Switch::Both,
        };
        for (switch, wanted, told) in [
            (Switch::Both, false, ""),
            (Switch::Both, true, ""),
            (Switch::OnOnly, true, ""),
            (
                Switch::OnOnly,
                false,
                "opens are tracked if the account's settings say so",
            ),
            (
                Switch::Account,
                false,
                "opens are tracked or not as the account's settings say",
            ),
            (
                Switch::Account,
                true,
                "opens are tracked or not as the account's settings say",
            ),
            (Switch::Never, false, ""),
            (Switch::Never, true, "opens are not tracked there"),
        ] {
            let tracking = Tracking {
                opens: Some(wanted),
                clicks: Some(wanted),
            };
            let unmet = tracking.unmet(switches(switch));
            let text: String = unmet.map(|unmet| unmet.to_string()).collect();
            assert_eq!(text, told, "{switch:?} {wanted}");
        }
        let silent = Tracking::default().unmet(TrackingSwitches::ACCOUNT);
        assert_eq!(silent.count(), 0);
    }
}
