//! What is being waited for, on a terminal only.

use std::io::{self, IsTerminal, Write};

/// One line on standard error that is written over.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Shown if standard error is a terminal that can go back in a line.
    pub(super) fn new() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            is_shown: io::stderr().is_terminal() && !is_dumb,
        }
    }

    /// Says what is done. What cannot be written is not missed.
    pub(super) fn show(&self, text: &str) {
        self.write(&format!("\r\x1b[2K{text}"));
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.write("\r\x1b[2K");
    }

    fn write(&self, text: &str) {
        if self.is_shown {
            let mut out = io::stderr().lock();
            drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        }
    }
}
