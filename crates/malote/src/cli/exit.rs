//! How a command ends: exit codes, and what is said on standard error.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

/// How a command went.
pub(super) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command was not done. Each has its exit code.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed: exit code 1.
    Failed(anyhow::Error),
    /// The command line or the configuration is not good: exit code 2.
    Usage(String),
    /// What was asked for is not there: exit code 3.
    Nothing(String),
}

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NOTHING: u8 = 3;

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Failure {
    /// A failure in words.
    pub(super) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(text.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error:#}"),
            Self::Usage(text) | Self::Nothing(text) => f.write_str(text),
        }
    }
}

/// Says what went wrong and gives the exit code. A reader that went away (`| head`) is no failure.
pub(super) fn code(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    let (code, text) = match &failure {
        Failure::Failed(error) if is_reader_gone(error) => return ExitCode::SUCCESS,
        Failure::Failed(_) => (EXIT_FAILED, format!("error: {failure}")),
        Failure::Usage(_) => (EXIT_USAGE, format!("error: {failure}")),
        Failure::Nothing(text) => (EXIT_NOTHING, text.clone()),
    };
    if !text.trim().is_empty() {
        eprintln!("{text}");
    }
    ExitCode::from(code)
}

fn is_reader_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
