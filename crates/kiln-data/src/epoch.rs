//! One epoch: a reader, its workers, and the board where they meet.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::loader::Work;
use crate::order::Order;
use crate::{Batch, Error};

/// The batches of one epoch. Ends after the first error. Dropping it stops the workers.
pub struct Batches {
    run: Arc<Run>,
    threads: Vec<JoinHandle<()>>,
    cursor: usize,
    end: usize,
    /// Samples not yet given or skipped.
    due: usize,
    seen: usize,
    skipped: usize,
    done: bool,
}

/// One epoch, shared with its workers.
struct Run {
    work: Arc<Work>,
    epoch: u64,
    order: Order,
    board: Mutex<Board>,
    /// A batch was finished.
    finished: Condvar,
    /// A batch was taken, so there is room for another.
    taken: Condvar,
}

/// Where reader and workers meet.
struct Board {
    /// The next batch to work on.
    next: usize,
    /// Workers may take batches below this.
    limit: usize,
    ready: BTreeMap<usize, Result<Batch, Error>>,
    stop: bool,
}

impl Batches {
    pub(crate) fn start(
        work: Arc<Work>,
        epoch: u64,
        first: usize,
        end: usize,
        samples: usize,
    ) -> Self {
        let order = work.order(epoch);
        let workers = work.config.workers.min(end.saturating_sub(first));
        let limit = first + work.config.prefetch.max(workers).max(1);
        let board = Board { next: first, limit, ready: BTreeMap::new(), stop: false };
        let due = samples.saturating_sub(first.saturating_mul(work.config.batch));
        let run = Arc::new(Run {
            work,
            epoch,
            order,
            board: Mutex::new(board),
            finished: Condvar::new(),
            taken: Condvar::new(),
        });
        let spawn = |number| {
            let run = Arc::clone(&run);
            thread::Builder::new()
                .name(format!("kiln loader {number}"))
                .spawn(move || run.work_off(end))
        };
        // A system that refuses more threads gets by with those it gave; without any the reader reads.
        let threads = (0..workers).map_while(|number| spawn(number).ok()).collect();
        Self { run, threads, cursor: first, end, due, seen: 0, skipped: 0, done: false }
    }

    /// The batch at the cursor, from a worker or, without workers, made here.
    fn receive(&self) -> Result<Batch, Error> {
        if self.threads.is_empty() {
            return self.run.batch(self.cursor);
        }
        let mut board = self.run.board();
        loop {
            if let Some(batch) = board.ready.remove(&self.cursor) {
                board.limit += 1;
                self.run.taken.notify_one();
                return batch;
            }
            board = self.run.finished.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.cursor >= self.end {
            self.done = true;
            let (expected, seen, skipped) = (self.due, self.seen, self.skipped);
            return (seen + skipped != expected).then_some(Err(Error::ShortEpoch {
                expected,
                seen,
                skipped,
            }));
        }
        let batch = self.receive();
        self.cursor += 1;
        match &batch {
            Ok(batch) => {
                self.seen += batch.len();
                self.skipped += batch.skipped.len();
            }
            Err(_) => self.done = true,
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = if self.done { 0 } else { self.end.saturating_sub(self.cursor) };
        (0, Some(left + 1)) // an error may come early, or after the last batch
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.run.board().stop = true;
        self.run.taken.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a worker hands panics over as errors
        }
    }
}

impl Run {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life: take the next batch, as soon as there is room for it, until there are none.
    fn work_off(&self, end: usize) {
        let mut board = self.board();
        loop {
            if board.stop || board.next >= end {
                return;
            }
            if board.next >= board.limit {
                board = self.taken.wait(board).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let number = board.next;
            board.next += 1;
            drop(board);
            let batch = self.batch(number);
            board = self.board();
            board.ready.insert(number, batch);
            self.finished.notify_one();
        }
    }

    fn batch(&self, number: usize) -> Result<Batch, Error> {
        let size = self.work.config.batch;
        let from = number * size;
        let samples = self.order.at(from..from + size);
        // Samples catch their own panics; this one catches the names of skipped samples, which are user code too.
        catch_unwind(AssertUnwindSafe(|| self.work.batch(self.epoch, number, samples)))
            .unwrap_or_else(|panic| {
                Err(Error::Panicked {
                    name: format!("in batch {number}"),
                    message: panic_message(&*panic),
                })
            })
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
