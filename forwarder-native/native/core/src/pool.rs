//! Threads of our own, made when there is work and gone when there has been none for a while.

use crate::{Failure, Outcome};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Stack of every thread here; none recurses.
pub const STACK: usize = 256 * 1024;
/// Jobs that may wait; more are refused with EAGAIN.
const QUEUE: usize = 65_536;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Shared {
    name: &'static str,
    most: usize,
    linger: Duration,
    work: Mutex<Work>,
    arrived: Condvar,
}

/// A handle to a pool; clones share it.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// A pool of at most `most` threads named `name`; each ends after `linger` without work.
    pub fn new(name: &'static str, most: usize, linger: Duration) -> Pool {
        Pool(Arc::new(Shared { name, most, linger, work: Mutex::default(), arrived: Condvar::new() }))
    }

    /// Runs `job` on one of the threads. A job that panics ends with its thread; the pool goes on.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Outcome<()> {
        let mut work = self.0.lock();
        if work.jobs.len() >= QUEUE {
            return Err(Failure::new(libc::EAGAIN, "queue", self.0.name)
                .with_detail(format!("{QUEUE} jobs wait already")));
        }
        work.jobs.push_back(Box::new(job));
        if work.idle >= work.jobs.len() || work.threads == self.0.most {
            self.0.arrived.notify_one();
            return Ok(());
        }
        work.threads += 1;
        let shared = Arc::clone(&self.0);
        let started = std::thread::Builder::new()
            .name(self.0.name.into())
            .stack_size(STACK)
            .spawn(move || serve(&shared));
        if let Err(e) = started {
            work.threads -= 1;
            if work.threads == 0 {
                work.jobs.pop_back();
                return Err(Failure::new(e.raw_os_error().unwrap_or(libc::EAGAIN), "clone", self.0.name));
            }
        }
        Ok(())
    }

    /// How many threads live now.
    pub fn threads(&self) -> usize {
        self.0.lock().threads
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn serve(shared: &Shared) {
    let mut work = shared.lock();
    loop {
        if let Some(job) = work.jobs.pop_front() {
            drop(work);
            // A job reports its own failure; a panic must not take the thread count with it.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            work = shared.lock();
            continue;
        }
        work.idle += 1;
        let (back, wait) =
            shared.arrived.wait_timeout(work, shared.linger).unwrap_or_else(|p| p.into_inner());
        work = back;
        work.idle -= 1;
        if wait.timed_out() && work.jobs.is_empty() {
            work.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn runs_jobs_at_once_survives_panics_and_ends_when_idle() {
        let pool = Pool::new("test", 4, Duration::from_millis(20));
        let (sent, received) = mpsc::channel();
        pool.run(|| panic!("on purpose")).unwrap();
        let gate = Arc::new(std::sync::Barrier::new(4));
        for n in 0..4 {
            let (sent, gate) = (sent.clone(), Arc::clone(&gate));
            pool.run(move || {
                gate.wait();
                sent.send(n).unwrap();
            })
            .unwrap();
        }
        let mut all: Vec<i32> =
            (0..4).map(|_| received.recv_timeout(Duration::from_secs(5)).unwrap()).collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        for _ in 0..500 {
            if pool.threads() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("threads outlived their idle time");
    }
}
