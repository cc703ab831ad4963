//! What happens in the demo, scene by scene.

use std::time::Duration;

use malote_sandbox::{Fault, FaultKind};

use super::cast::Cast;

/// Something that happens to the providers, and how long mail flows then.
pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) lasts: Duration,
    event: Event,
}

enum Event {
    AllWell,
    SesRefuses,
    MailgunThrottles,
}

/// The scenes, about 25 seconds in all.
pub(super) fn scenes() -> Vec<Scene> {
    let scene = |title, seconds, event| Scene {
        title,
        lasts: Duration::from_secs(seconds),
        event,
    };
    vec![
        scene(
            "password resets leave through SES; the newsletter through Mailgun, one in ten through the relay",
            6,
            Event::AllWell,
        ),
        scene(
            "SES answers 500 to everything: the relay takes the password resets over at once",
            8,
            Event::SesRefuses,
        ),
        scene(
            "SES is well again: one probe, then more and more; now Mailgun throttles the newsletter",
            8,
            Event::MailgunThrottles,
        ),
        scene("all is well", 4, Event::AllWell),
    ]
}

impl Scene {
    /// Sets the providers as the scene wants them.
    pub(super) fn set(&self, cast: &Cast) {
        cast.ses.sandbox.disarm();
        cast.mailgun.sandbox.disarm();
        match self.event {
            Event::AllWell => {}
            Event::SesRefuses => {
                cast.ses.sandbox.arm(Fault::always(FaultKind::Status(500)));
            }
            Event::MailgunThrottles => {
                cast.mailgun
                    .sandbox
                    .arm(Fault::always(FaultKind::Status(429)));
            }
        }
    }
}
