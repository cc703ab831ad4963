//! Logs: one escaped line per event on standard output, never in the way of mail.
//!
//! Events of other crates are kept only from `warn` up: below that they may tell header fields and
//! bodies.

mod format;
mod writer;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use prometheus::IntCounter;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogConfig, LogFormat};
use format::{LineFields, LineFormat};
use writer::{LineSender, LineWriter};

/// The variable that wins over `log.level`.
pub const LEVEL_VARIABLE: &str = "MALOTE_LOG";

/// How long [`Logging::finish`] waits for lines on their way.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// The running log. Keep it until the end of the process, then call [`Logging::finish`].
pub struct Logging {
    writer: LineWriter,
    lines_dropped: IntCounter,
    panics: IntCounter,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// `log.level` or `MALOTE_LOG` is no level.
    #[error("{0:?} is not a log level")]
    Level(String),
    /// Something else in this process logs already.
    #[error("logging is set up already")]
    Taken,
    /// The system gives no thread.
    #[error("the log's thread cannot be started")]
    Thread(#[source] io::Error),
    /// What the log counts cannot be counted.
    #[error("the log's metrics")]
    Metrics(#[from] prometheus::Error),
}

impl Logging {
    /// Sends the events of this process to standard output from now on, and what a panic says.
    /// Colours are for terminals only and not if `NO_COLOR` is set (no-color.org).
    ///
    /// # Errors
    /// A [`LogFault`]; then nothing was set up.
    pub fn start(config: &LogConfig) -> Result<Self, LogFault> {
        let level = env::var(LEVEL_VARIABLE).unwrap_or_else(|_| config.level.clone());
        let is_coloured = config.format == LogFormat::Text
            && io::stdout().is_terminal()
            && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines_dropped = IntCounter::new(
            "malote_log_lines_dropped_total",
            "Log lines that nobody read in time",
        )?;
        let panics = IntCounter::new("malote_panics_total", "Panics in any thread or task")?;
        let writer = LineWriter::start(Box::new(io::stdout()), lines_dropped.clone())
            .map_err(LogFault::Thread)?;
        let sender = writer.sender();
        let subscriber = subscriber(config.format, &level, is_coloured, sender)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogFault::Taken)?;
        log_panics(panics.clone());
        Ok(Self {
            writer,
            lines_dropped,
            panics,
        })
    }

    /// Registers what the log counts: lines that nobody read in time, so that they were dropped,
    /// and panics, in any thread or task.
    ///
    /// # Errors
    /// If the registry has metrics of these names already.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), LogFault> {
        registry.register(Box::new(self.lines_dropped.clone()))?;
        registry.register(Box::new(self.panics.clone()))?;
        Ok(())
    }

    /// Writes what is on its way and stops. Waits at most two seconds for a reader.
    pub fn finish(self) {
        self.writer.finish(FINISH_MAX);
    }
}

/// Reads `log.level`: a level, or directives as `info,malote_delivery=debug`; `None` if it is
/// neither. Stricter than the filter itself, which takes any unknown word for a target.
#[must_use]
pub fn parse_level(text: &str) -> Option<EnvFilter> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let is_directive = |part: &str| match part.split_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(part),
    };
    if !text.split(',').all(is_directive) {
        return None;
    }
    EnvFilter::builder().parse(text).ok()
}

fn subscriber(
    format: LogFormat,
    level: &str,
    is_coloured: bool,
    sender: LineSender,
) -> Result<impl Subscriber + Send + Sync, LogFault> {
    let filter = parse_level(level).ok_or_else(|| LogFault::Level(level.to_owned()))?;
    let lines = lines(format, is_coloured, sender).with_filter(filter_fn(is_ours_or_warning));
    Ok(Registry::default().with(filter).with(lines))
}

fn lines<S>(
    format: LogFormat,
    is_coloured: bool,
    sender: LineSender,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(sender);
    match format {
        LogFormat::Json => Box::new(layer.json().flatten_event(true).with_ansi(false)),
        LogFormat::Text => Box::new(
            layer
                .with_ansi(false)
                .fmt_fields(LineFields)
                .event_format(LineFormat { is_coloured }),
        ),
    }
}

fn is_ours_or_warning(about: &Metadata<'_>) -> bool {
    about.target().starts_with("malote") || *about.level() <= Level::WARN
}

/// Logs where a panic happened. What it says is left out: it may hold what was being worked on.
fn log_panics(panics: IntCounter) {
    std::panic::set_hook(Box::new(move |panic| {
        panics.inc();
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            panic.location = place.as_deref().unwrap_or("unknown"),
            panic.thread = thread.name().unwrap_or("unnamed"),
            "panicked"
        );
    }));
}

/// Says something on standard error when there is no log yet, or no more. Fails silently: there is
/// nobody left to tell.
pub fn say(text: &str) {
    let mut stderr = io::stderr().lock();
    writeln!(stderr, "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests;
