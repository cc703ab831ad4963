//! Many callers, few transactions: each covers what came while the ones before it committed.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::StoreError;

/// Most single changes in one transaction.
pub(crate) const BATCH_OPERATIONS_MAX: usize = 512;
/// Most octets in one transaction, unless its one caller alone has more.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Callers of the second line that a transaction takes before the first may fill it, so that
/// neither starves.
const LINE_SHARE: usize = 32;

/// Which of two lines a caller stands in; the first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    First,
    Second,
}

/// What a caller brings, and how large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) line: Line,
    pub(crate) bytes: usize,
    pub(crate) operations: usize,
}

struct Waiting<In, Out> {
    input: In,
    load: Load,
    caller: oneshot::Sender<Result<Out, StoreError>>,
}

struct Lines<In, Out> {
    lines: [VecDeque<Waiting<In, Out>>; 2],
    bytes: usize,
    is_closed: bool,
}

/// A bounded queue before the transactions of one kind.
pub(crate) struct Batcher<In, Out> {
    lines: Mutex<Lines<In, Out>>,
    ready: Notify,
    bytes_max: usize,
}

impl<In, Out> Batcher<In, Out> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            lines: Mutex::new(Lines {
                lines: [const { VecDeque::new() }; 2],
                bytes: 0,
                is_closed: false,
            }),
            ready: Notify::new(),
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines<In, Out>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines up and waits for the commit. Who goes away is done all the same.
    pub(crate) async fn submit(&self, input: In, load: Load) -> Result<Out, StoreError> {
        let (caller, answer) = oneshot::channel();
        {
            let mut lines = self.lock();
            if lines.is_closed {
                return Err(StoreError::Closed);
            }
            if lines.bytes > 0 && lines.bytes + load.bytes > self.bytes_max {
                return Err(StoreError::Busy);
            }
            lines.bytes += load.bytes;
            let line = match load.line {
                Line::First => 0,
                Line::Second => 1,
            };
            lines.lines[line].push_back(Waiting {
                input,
                load,
                caller,
            });
        }
        self.ready.notify_one();
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Takes nothing more in; what is in it is still done.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_waiters();
        self.ready.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// A transaction's worth; `None` once closed and drained.
    async fn take(&self) -> Option<Vec<Waiting<In, Out>>> {
        loop {
            let ready = self.ready.notified();
            {
                let mut lines = self.lock();
                let batch = fill(&mut lines.lines);
                let is_left = lines.lines.iter().any(|line| !line.is_empty());
                if is_left || lines.is_closed {
                    self.ready.notify_one();
                }
                if !batch.is_empty() {
                    return Some(batch);
                }
                if lines.is_closed {
                    return None;
                }
            }
            ready.await;
        }
    }

    /// Runs transactions until the queue is closed and drained. A fault that one caller may have
    /// caused gives each a transaction of its own.
    pub(crate) async fn work<F, R>(self: Arc<Self>, run: F)
    where
        In: Clone,
        F: Fn(Vec<In>) -> R,
        R: Future<Output = Result<Vec<Out>, StoreError>>,
    {
        while let Some(batch) = self.take().await {
            let bytes: usize = batch.iter().map(|one| one.load.bytes).sum();
            let inputs = batch.iter().map(|one| one.input.clone()).collect();
            match run(inputs).await {
                Ok(outputs) => {
                    for (one, output) in batch.into_iter().zip(outputs) {
                        // Nobody waits for it any more: it is kept all the same.
                        drop(one.caller.send(Ok(output)));
                    }
                }
                Err(error) if is_of_one(&error) && batch.len() > 1 => {
                    for one in batch {
                        let alone = run(vec![one.input]).await;
                        let answer =
                            alone.and_then(|mut outputs| outputs.pop().ok_or(StoreError::Closed));
                        drop(one.caller.send(answer));
                    }
                }
                Err(error) => {
                    for one in batch {
                        drop(one.caller.send(Err(error.clone())));
                    }
                }
            }
            let mut lines = self.lock();
            lines.bytes = lines.bytes.saturating_sub(bytes);
        }
    }
}

/// Whether one of several callers may be to blame.
const fn is_of_one(error: &StoreError) -> bool {
    match error {
        StoreError::Engine(_) | StoreError::Damaged(_) | StoreError::BadCursor => true,
        StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Unavailable(_) => {
            false
        }
    }
}

fn fill<In, Out>(lines: &mut [VecDeque<Waiting<In, Out>>; 2]) -> Vec<Waiting<In, Out>> {
    let mut room = Room {
        operations: BATCH_OPERATIONS_MAX,
        bytes: BATCH_BYTES_MAX,
        is_fresh: true,
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    room.move_into(&mut lines[0], &mut first, LINE_SHARE);
    room.move_into(&mut lines[1], &mut second, LINE_SHARE);
    room.move_into(&mut lines[0], &mut first, BATCH_OPERATIONS_MAX);
    room.move_into(&mut lines[1], &mut second, BATCH_OPERATIONS_MAX);
    first.append(&mut second);
    first
}

struct Room {
    operations: usize,
    bytes: usize,
    is_fresh: bool,
}

impl Room {
    /// Moves callers of a line as far as there is room; the first of a batch always fits.
    fn move_into<In, Out>(
        &mut self,
        line: &mut VecDeque<Waiting<In, Out>>,
        batch: &mut Vec<Waiting<In, Out>>,
        callers_max: usize,
    ) {
        for _ in 0..callers_max {
            let Some(next) = line.front() else { return };
            let fits = next.load.operations <= self.operations && next.load.bytes <= self.bytes;
            if !fits && !self.is_fresh {
                return;
            }
            self.is_fresh = false;
            self.operations = self.operations.saturating_sub(next.load.operations);
            self.bytes = self.bytes.saturating_sub(next.load.bytes);
            batch.extend(line.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn load(line: Line, bytes: usize) -> Load {
        Load {
            line,
            bytes,
            operations: 1,
        }
    }

    #[tokio::test]
    async fn callers_that_come_together_share_a_transaction_and_one_s_fault_is_its_own() {
        let batcher = Arc::new(Batcher::<u32, u32>::new(1 << 20));
        let calls = (0..100_u32).map(|n| batcher.submit(n, load(Line::First, 1)));
        let calls = futures_join(calls.collect());
        let runs = AtomicUsize::new(0);
        let work = Arc::clone(&batcher).work(|inputs: Vec<u32>| {
            runs.fetch_add(1, Ordering::Relaxed);
            async move {
                if inputs.contains(&7) {
                    return Err(StoreError::Damaged("seven".into()));
                }
                Ok(inputs)
            }
        });
        let ends = async {
            let answers = calls.await;
            batcher.close();
            answers
        };
        let (answers, ()) = tokio::join!(ends, work);
        assert_eq!(answers.iter().filter(|one| one.is_err()).count(), 1);
        assert!(answers[7].is_err() && answers[99] == Ok(99));
        assert_eq!(
            runs.load(Ordering::Relaxed),
            101,
            "once together, then each alone"
        );
        assert_eq!(batcher.lock().bytes, 0);
        assert_eq!(
            batcher.submit(1, load(Line::First, 1)).await,
            Err(StoreError::Closed)
        );
    }

    async fn futures_join<T: Future>(futures: Vec<T>) -> Vec<T::Output> {
        let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
        let mut outputs: Vec<Option<T::Output>> = futures.iter().map(|_| None).collect();
        std::future::poll_fn(|context| {
            for (future, output) in futures.iter_mut().zip(&mut outputs) {
                if output.is_none()
                    && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
                {
                    *output = Some(value);
                }
            }
            if outputs.iter().all(Option::is_some) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        outputs.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_and_the_first_line_goes_first() {
        let batcher = Batcher::<u32, u32>::new(10);
        let mut lines = [VecDeque::new(), VecDeque::new()];
        for (number, line) in [(1, 1), (2, 0)] {
            let (caller, _) = oneshot::channel::<Result<u32, StoreError>>();
            lines[line].push_back(Waiting {
                input: number,
                load: load(Line::First, 1),
                caller,
            });
        }
        let order: Vec<u32> = fill(&mut lines).iter().map(|one| one.input).collect();
        assert_eq!(order, [2, 1]);
        batcher.lock().bytes = 8;
        assert_eq!(
            batcher.submit(1, load(Line::Second, 3)).await,
            Err(StoreError::Busy)
        );
    }
}
