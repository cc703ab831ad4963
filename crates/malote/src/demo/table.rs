//! What the simulated services took, as a picture and as findings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::cast::{Actor, Cast};

/// Cells of a bar.
const BAR: u64 = 40;

/// What arrived where.
#[derive(Default)]
pub(super) struct Tally {
    /// By service and stream.
    arrived: BTreeMap<(&'static str, &'static str), u64>,
    /// Times that each recipient got mail.
    by_recipient: BTreeMap<String, u32>,
    /// What the picture of the last scene showed, for what is new.
    before: BTreeMap<(&'static str, &'static str), u64>,
}

impl Tally {
    /// Counts anew. Returns how many different recipients got mail.
    pub(super) fn count(&mut self, cast: &Cast) -> u64 {
        self.arrived.clear();
        self.by_recipient.clear();
        for (service, actor) in services(cast) {
            for taken in actor.sandbox.messages() {
                for recipient in taken.recipients {
                    let stream = if recipient.starts_with("customer") {
                        "password resets"
                    } else {
                        "newsletter"
                    };
                    *self.arrived.entry((service, stream)).or_default() += 1;
                    *self.by_recipient.entry(recipient).or_default() += 1;
                }
            }
        }
        self.by_recipient.len() as u64
    }

    /// The picture: a bar for each stream at each service.
    pub(super) fn picture(&mut self, cast: &Cast) -> String {
        let mut picture = String::new();
        let most = self.arrived.values().copied().max().unwrap_or(1).max(BAR);
        for stream in ["password resets", "newsletter"] {
            for (service, _) in services(cast) {
                let count = self.arrived.get(&(service, stream)).copied().unwrap_or(0);
                let before = self.before.insert((service, stream), count).unwrap_or(0);
                if count == 0 && stream == "password resets" && service == "Mailgun" {
                    continue;
                }
                let bar = "█".repeat(usize::try_from(count * BAR / most).unwrap_or(0));
                let growth = if count > before { "↑" } else { " " };
                let line = writeln!(
                    picture,
                    "  {stream:>15} → {service:<12} {count:>5} {growth} {bar}"
                );
                debug_assert!(line.is_ok(), "writing to a String cannot fail");
            }
        }
        picture
    }

    /// What was seen, in words.
    pub(super) fn findings(&self, cast: &Cast) -> Vec<String> {
        let at = |service, stream| self.arrived.get(&(service, stream)).copied().unwrap_or(0);
        let twice = self
            .by_recipient
            .values()
            .filter(|times| **times > 1)
            .count();
        vec![
            format!(
                "{} accepted, {} arrived, {twice} arrived twice",
                cast.accepted(),
                self.by_recipient.len()
            ),
            format!(
                "password resets: {} by SES, {} taken over by the relay",
                at("Amazon SES", "password resets"),
                at("relay", "password resets")
            ),
            format!(
                "newsletter: {} by Mailgun, {} by the relay; none by SES: {}",
                at("Mailgun", "newsletter"),
                at("relay", "newsletter"),
                at("Amazon SES", "newsletter") == 0
            ),
        ]
    }

    /// Whether everything arrived, and nothing twice.
    pub(super) fn is_sound(&self, cast: &Cast) -> bool {
        self.by_recipient.len() as u64 == cast.accepted()
            && self.by_recipient.values().all(|times| *times == 1)
    }
}

fn services(cast: &Cast) -> [(&'static str, &Actor); 3] {
    [
        ("Amazon SES", &cast.ses),
        ("Mailgun", &cast.mailgun),
        ("relay", &cast.relay),
    ]
}
