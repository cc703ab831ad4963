//! The bounded queue in front of the writer, in four lines by urgency.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::StoreError;
use crate::sqlite::fault::Fault;
use crate::sqlite::writer::Tx;

/// Most operations in one transaction.
const BATCH_OPERATIONS_MAX: usize = 512;
/// Most octets in one transaction, unless its one operation alone is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Operations of each line that a transaction takes before more urgent lines may fill it, so that
/// no line starves.
const LINE_SHARE: usize = 32;

/// How urgent an operation is; the order in which a transaction runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Outcomes, events, counters: they free capacity.
    Settle,
    /// Transactional mail coming in.
    AcceptTransactional,
    /// Mail going out.
    Lease,
    /// Campaign mail coming in.
    AcceptCampaign,
}

impl Urgency {
    const fn line(self) -> usize {
        match self {
            Self::Settle => 0,
            Self::AcceptTransactional => 1,
            Self::Lease => 2,
            Self::AcceptCampaign => 3,
        }
    }

    /// Whether it brings mail in, and so is what a full disk refuses first.
    pub(crate) const fn is_accept(self) -> bool {
        match self {
            Self::AcceptTransactional | Self::AcceptCampaign => true,
            Self::Settle | Self::Lease => false,
        }
    }
}

/// One operation. It may run more than once: the first run may be rolled back with others.
pub(crate) trait Job: Send {
    /// Runs it within the transaction.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault>;
    /// Tells the caller what became of it, after the commit.
    fn reply(&mut self, result: Result<(), StoreError>);
}

/// A [`Job`] of a closure, its output and the caller who waits for it.
pub(crate) struct Operation<T, F> {
    pub(crate) work: F,
    pub(crate) output: Option<T>,
    pub(crate) caller: Option<oneshot::Sender<Result<T, StoreError>>>,
    /// What to do with the output if the caller has gone.
    pub(crate) abandoned: fn(T),
}

impl<T, F> Job for Operation<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        self.output = Some((self.work)(tx)?);
        Ok(())
    }

    fn reply(&mut self, result: Result<(), StoreError>) {
        let Some(caller) = self.caller.take() else {
            return;
        };
        let answer = match (result, self.output.take()) {
            (Ok(()), Some(output)) => Ok(output),
            (Ok(()), None) => Err(StoreError::Closed),
            (Err(error), _) => Err(error),
        };
        if let Err(Ok(output)) = caller.send(answer) {
            (self.abandoned)(output);
        }
    }
}

/// An operation in the queue.
pub(crate) struct Queued {
    pub(crate) job: Box<dyn Job>,
    pub(crate) urgency: Urgency,
    /// Octets that it holds.
    pub(crate) bytes: usize,
    /// Single changes in it.
    pub(crate) operations: usize,
}

struct Lines {
    lines: [VecDeque<Queued>; 4],
    bytes: usize,
    is_closed: bool,
    /// Whether the writer sleeps until something comes.
    is_awaited: bool,
}

/// Many callers, one writer.
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    ready: Condvar,
    bytes_max: usize,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            lines: Mutex::new(Lines {
                lines: [const { VecDeque::new() }; 4],
                bytes: 0,
                is_closed: false,
                is_awaited: false,
            }),
            ready: Condvar::new(),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines an operation up. Settlements and leases have as much room again as accepts, so that
    /// a flood coming in never stops what is going out. Returns the octets waiting now.
    pub(crate) fn push(&self, queued: Queued) -> Result<usize, StoreError> {
        let mut lines = self.lock();
        if lines.is_closed {
            return Err(StoreError::Closed);
        }
        let bytes_max = if queued.urgency.is_accept() {
            self.bytes_max
        } else {
            self.bytes_max.saturating_mul(2)
        };
        if lines.bytes > 0 && lines.bytes + queued.bytes > bytes_max {
            return Err(StoreError::Busy);
        }
        lines.bytes += queued.bytes;
        let bytes = lines.bytes;
        let line = queued.urgency.line();
        lines.lines[line].push_back(queued);
        // To wake is a system call: only when the writer sleeps, and once.
        let wakes = std::mem::take(&mut lines.is_awaited);
        drop(lines);
        if wakes {
            self.ready.notify_one();
        }
        Ok(bytes)
    }

    /// Waits for operations and takes a transaction's worth, in the order of urgency; empty once
    /// the queue is closed and drained.
    pub(crate) fn take_batch(&self) -> Vec<Queued> {
        let mut lines = self.lock();
        while !lines.is_closed && lines.lines.iter().all(VecDeque::is_empty) {
            lines.is_awaited = true;
            lines = self
                .ready
                .wait(lines)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let shares = [LINE_SHARE; 4];
        let mut room = Room {
            operations: BATCH_OPERATIONS_MAX,
            bytes: BATCH_BYTES_MAX,
            is_fresh: true,
        };
        let mut taken: [Vec<Queued>; 4] = [const { Vec::new() }; 4];
        for (line, share) in shares.into_iter().enumerate() {
            room.fill(&mut lines.lines[line], &mut taken[line], share);
        }
        for (line, batch) in taken.iter_mut().enumerate() {
            room.fill(&mut lines.lines[line], batch, BATCH_OPERATIONS_MAX);
        }
        taken.into_iter().flatten().collect()
    }

    /// Frees the room that a batch took. Returns the octets waiting now.
    pub(crate) fn release(&self, bytes: usize) -> usize {
        let mut lines = self.lock();
        lines.bytes = lines.bytes.saturating_sub(bytes);
        lines.bytes
    }

    /// Takes nothing more in; what is in it is still done.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_all();
    }

    /// Takes nothing more in and drops what is in it; callers hear that the store is closed.
    pub(crate) fn abandon(&self) {
        let mut lines = self.lock();
        lines.is_closed = true;
        let dropped = std::mem::take(&mut lines.lines);
        lines.bytes = 0;
        drop(lines);
        for mut queued in dropped.into_iter().flatten() {
            queued.job.reply(Err(StoreError::Closed));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
}

struct Room {
    operations: usize,
    bytes: usize,
    is_fresh: bool,
}

impl Room {
    /// Moves up to `jobs_max` jobs from a line into a batch as far as there is room; the first job
    /// of a batch always fits.
    fn fill(&mut self, line: &mut VecDeque<Queued>, batch: &mut Vec<Queued>, jobs_max: usize) {
        for _ in 0..jobs_max {
            let Some(next) = line.front() else { return };
            let fits = next.operations <= self.operations && next.bytes <= self.bytes;
            if !fits && !self.is_fresh {
                return;
            }
            self.is_fresh = false;
            self.operations = self.operations.saturating_sub(next.operations);
            self.bytes = self.bytes.saturating_sub(next.bytes);
            batch.extend(line.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Job for Nothing {
        fn run(&mut self, _: &mut Tx<'_>) -> Result<(), Fault> {
            Ok(())
        }

        fn reply(&mut self, _: Result<(), StoreError>) {}
    }

    fn queued(urgency: Urgency, bytes: usize) -> Queued {
        Queued {
            job: Box::new(Nothing),
            urgency,
            bytes,
            operations: 1,
        }
    }

    #[test]
    fn a_batch_runs_by_urgency_and_no_line_starves() {
        let queue = Queue::new(1 << 30);
        for _ in 0..600 {
            queue.push(queued(Urgency::AcceptCampaign, 1)).unwrap();
            queue.push(queued(Urgency::Settle, 1)).unwrap();
        }
        let batch = queue.take_batch();
        assert_eq!(batch.len(), BATCH_OPERATIONS_MAX);
        let settles = batch.iter().take_while(|q| q.urgency == Urgency::Settle);
        assert_eq!(settles.count(), BATCH_OPERATIONS_MAX - LINE_SHARE);
    }

    #[test]
    fn a_flood_coming_in_leaves_room_for_what_goes_out() {
        let queue = Queue::new(100);
        queue
            .push(queued(Urgency::AcceptTransactional, 90))
            .unwrap();
        let refused = queue.push(queued(Urgency::AcceptCampaign, 20));
        assert_eq!(refused, Err(StoreError::Busy));
        assert_eq!(queue.push(queued(Urgency::Settle, 20)), Ok(110));
        assert_eq!(queue.take_batch().len(), 2);
        assert_eq!(queue.release(110), 0);
        assert_eq!(queue.push(queued(Urgency::AcceptCampaign, 200)), Ok(200));
    }

    #[test]
    fn a_large_job_does_not_wait_for_a_batch_that_it_fits_in() {
        let queue = Queue::new(1 << 30);
        queue.push(queued(Urgency::Settle, 9 << 20)).unwrap();
        queue.push(queued(Urgency::Settle, 1)).unwrap();
        assert_eq!(queue.take_batch().len(), 1);
        assert_eq!(queue.take_batch().len(), 1);
        queue.close();
        assert!(queue.take_batch().is_empty());
        assert_eq!(
            queue.push(queued(Urgency::Settle, 1)),
            Err(StoreError::Closed)
        );
    }
}
