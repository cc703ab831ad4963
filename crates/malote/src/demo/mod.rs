//! `malote demo`: the real gateway between scripted providers on loopback; both streams flow, one
//! provider breaks in the middle and comes back, and the terminal shows what moved where.

mod cast;
pub mod cluster;
pub mod full;
mod process;
mod script;
mod table;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use cast::Cast;
use script::{Scene, scenes};
use table::Tally;

/// Messages of each stream a second.
const PER_SECOND: u32 = 20;
/// How often the picture is drawn on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// How long the last mail may take to arrive.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// Runs the demo; about half a minute. Says at the end what it saw.
///
/// # Errors
/// If the gateway or a provider cannot be started, or mail was lost or sent twice: then the demo
/// has shown a fault.
pub async fn run() -> anyhow::Result<()> {
    let mut stage = Stage::new();
    stage.say(
        "starting a gateway, and simulators of Amazon SES, Mailgun and an SMTP relay on loopback",
    );
    let mut cast = Cast::gather().await?;
    let mut tally = Tally::default();
    for scene in scenes() {
        stage.say(scene.title);
        scene.set(&cast);
        play(&mut stage, &mut cast, &mut tally, &scene).await?;
    }
    stage.say("no new mail; waiting for what is under way");
    let deadline = Instant::now() + SETTLE_MAX;
    while tally.count(&cast) < cast.accepted() && Instant::now() < deadline {
        stage.draw(&tally.picture(&cast));
        sleep(DRAW_EVERY).await;
    }
    tally.count(&cast);
    stage.end(&tally.picture(&cast));
    let story = cast.story().await?;
    for line in tally.findings(&cast).iter().chain(&story) {
        stage.say(line);
    }
    let is_sound = tally.is_sound(&cast);
    cast.leave().await;
    ensure!(
        is_sound,
        "mail was lost or sent twice: please report this output"
    );
    Ok(())
}

async fn play(
    stage: &mut Stage,
    cast: &mut Cast,
    tally: &mut Tally,
    scene: &Scene,
) -> anyhow::Result<()> {
    let ends = Instant::now() + scene.lasts;
    let mut drawn = Instant::now();
    while Instant::now() < ends {
        cast.submit().await?;
        sleep(Duration::from_secs(1) / PER_SECOND).await;
        if drawn.elapsed() >= DRAW_EVERY {
            tally.count(cast);
            stage.draw(&tally.picture(cast));
            drawn = Instant::now();
        }
    }
    tally.count(cast);
    stage.end(&tally.picture(cast));
    Ok(())
}

/// The terminal: a picture that is drawn over itself, or plain lines where it is none.
struct Stage {
    is_terminal: bool,
    lines_drawn: usize,
}

impl Stage {
    fn new() -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
            lines_drawn: 0,
        }
    }

    fn say(&mut self, text: &str) {
        self.lines_drawn = 0;
        println!("{} {text}", if self.is_terminal { "▸" } else { "-" });
    }

    /// Draws on a terminal only; elsewhere the last picture of a scene is enough.
    fn draw(&mut self, picture: &str) {
        if self.is_terminal {
            self.put(picture);
        }
    }

    /// The last picture of a scene stays.
    fn end(&mut self, picture: &str) {
        self.put(picture);
        self.lines_drawn = 0;
        println!();
    }

    fn put(&mut self, picture: &str) {
        let mut out = io::stdout().lock();
        // A terminal that has gone away is no reason to stop.
        let put = if self.is_terminal && self.lines_drawn > 0 {
            write!(out, "\x1b[{}A\x1b[J{picture}", self.lines_drawn)
        } else {
            write!(out, "{picture}")
        };
        self.lines_drawn = picture.lines().count();
        if put.and_then(|()| out.flush()).is_err() {
            self.is_terminal = false;
        }
    }
}
