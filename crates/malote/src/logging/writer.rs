//! A thread that writes lines, so that a blocked or closed standard output never stops mail.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait. With [`LINE_BYTES_MAX`] the log never holds more than 16 MiB.
const LINES_MAX: usize = 2_048;
/// Octets of one line; what is over is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// How often a full queue is asked again to take the end.
const FINISH_RETRY: Duration = Duration::from_millis(10);

/// The thread and the way to it.
pub(super) struct LineWriter {
    sender: LineSender,
    finished: Receiver<()>,
    thread: JoinHandle<()>,
}

/// Takes lines from any thread without ever waiting.
#[derive(Clone)]
pub(super) struct LineSender {
    lines: SyncSender<Message>,
    dropped: IntCounter,
}

enum Message {
    Line(Vec<u8>),
    Finish,
}

impl LineWriter {
    /// Starts the thread, which writes to `out` and counts the lines that are `dropped`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(out: Box<dyn Write + Send>, dropped: IntCounter) -> io::Result<Self> {
        let (lines, incoming) = sync_channel(LINES_MAX);
        let (finish, finished) = sync_channel(1);
        let sender = LineSender {
            lines,
            dropped: dropped.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_lines(&incoming, out, &dropped);
                // The other end may have stopped waiting.
                finish.try_send(()).unwrap_or_default();
            })?;
        Ok(Self {
            sender,
            finished,
            thread,
        })
    }

    pub(super) fn sender(&self) -> LineSender {
        self.sender.clone()
    }

    /// Writes what waits and ends the thread; gives up after `wait_max` if nobody reads.
    pub(super) fn finish(self, wait_max: Duration) {
        let mut left = wait_max;
        while let Err(TrySendError::Full(_)) = self.sender.lines.try_send(Message::Finish) {
            if left.is_zero() {
                return;
            }
            std::thread::sleep(FINISH_RETRY);
            left = left.saturating_sub(FINISH_RETRY);
        }
        if self.finished.recv_timeout(left).is_ok() {
            // A thread that panicked has nothing left to write either.
            self.thread.join().unwrap_or_default();
        }
    }
}

fn write_lines(incoming: &Receiver<Message>, mut out: Box<dyn Write + Send>, dropped: &IntCounter) {
    while let Ok(Message::Line(line)) = incoming.recv() {
        let written = out.write_all(&line).and_then(|()| out.flush());
        if written.is_err() {
            dropped.inc();
        }
    }
}

impl LineSender {
    fn send(&self, octets: &[u8]) {
        let mut line = octets[..octets.len().min(LINE_BYTES_MAX)].to_vec();
        if line.len() < octets.len() {
            line.pop();
            line.push(b'\n');
        }
        match self.lines.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.inc();
            }
        }
    }
}

impl Write for LineSender {
    /// Takes one whole event; the formatting layer writes each in one call.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.send(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineSender {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
