//! Deleting links: the slow side of wiring. The kernel blocks the caller for RCU grace periods (16–20 ms) after the links are gone.

use crate::encode;
use crate::message::{messages, u32_at, Received};
use crate::netns::Netns;
use crate::pool::Pool;
use crate::rtnetlink::Socket;
use crate::{Failure, Outcome};
use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Called once, with how a deletion ended.
pub type Done = Box<dyn FnOnce(Outcome<()>) + Send>;

/// Links on their way out carry a group of this kind; each batch takes its own, so that it deletes nothing else.
const TRASH: u32 = 0x7472_0000;
static BATCHES: AtomicU32 = AtomicU32::new(0);

/// Links of one SETLINK + group DELLINK round: their refusals must fit one receive buffer.
const ROUND: usize = 100;
/// How often a watcher looks whether the kernel answered without a notification.
const LOOK: i32 = 50;

/// Deletes links; what comes for a namespace while one of its batches is under way goes into the next.
#[derive(Clone)]
pub struct Deleter(Arc<Shared>);

struct Shared {
    watchers: Pool,
    senders: Pool,
    waiting: Mutex<HashMap<(u64, u64), Vec<Wanted>>>,
}

struct Wanted {
    netns: Netns,
    names: Vec<String>,
    done: Done,
}

impl Deleter {
    /// `most` deletions at once, each in a namespace of its own.
    pub fn new(most: usize, linger: Duration) -> Deleter {
        Deleter(Arc::new(Shared {
            watchers: Pool::new("nsm-watch", most, linger),
            senders: Pool::new("nsm-delete", most, linger),
            waiting: Mutex::default(),
        }))
    }

    /// Deletes links by name; `done` is called when they are gone. Names that are not there are no error.
    pub fn delete(&self, netns: Netns, names: Vec<String>, done: Done) {
        let key = match netns.key() {
            Ok(key) => key,
            Err(failure) => return done(Err(failure)),
        };
        let wanted = Wanted { netns, names, done };
        let mut waiting = self.0.lock();
        match waiting.get_mut(&key) {
            Some(queue) => queue.push(wanted),
            None => {
                waiting.insert(key, Vec::new());
                drop(waiting);
                self.start(key, vec![wanted]);
            }
        }
    }

    fn start(&self, key: (u64, u64), batch: Vec<Wanted>) {
        let held = Arc::new(Mutex::new(batch));
        let (this, own) = (self.clone(), Arc::clone(&held));
        let started = self.0.watchers.run(move || this.serve(key, take(&own)));
        if let Err(failure) = started {
            self.0.lock().remove(&key).into_iter().flatten().chain(take(&held)).for_each(|w| {
                (w.done)(Err(failure.clone()));
            });
        }
    }

    /// One batch, then what came meanwhile. The namespace is held no longer than its batch.
    fn serve(&self, key: (u64, u64), batch: Vec<Wanted>) {
        let names: HashSet<String> = batch.iter().flat_map(|w| w.names.iter().cloned()).collect();
        let result = match batch.first() {
            Some(first) => caught(|| self.delete_batch(&first.netns, names)),
            None => Ok(()),
        };
        let next = {
            let mut waiting = self.0.lock();
            match waiting.get_mut(&key).map(std::mem::take) {
                Some(next) if !next.is_empty() => next,
                _ => {
                    waiting.remove(&key);
                    Vec::new()
                }
            }
        };
        for Wanted { netns, done, .. } in batch {
            drop(netns);
            done(result.clone());
        }
        if !next.is_empty() {
            self.start(key, next);
        }
    }

    fn delete_batch(&self, netns: &Netns, names: HashSet<String>) -> Outcome<()> {
        let (request, listen) = netns.inside(|| Ok((Socket::open()?, Socket::open_listening()?)))??;
        let mut links = Vec::new();
        for name in names {
            match request.index_of(&name) {
                Ok(index) => links.push((index, name)),
                Err(absent) if absent.errno == libc::ENODEV => {}
                Err(failure) => return Err(failure),
            }
        }
        for round in links.chunks(ROUND) {
            self.delete_round(netns, &listen, round)?;
        }
        Ok(())
    }

    /// Sends from one thread, which the kernel keeps for a while, and watches from this one, which may go on when the links are gone.
    fn delete_round(&self, netns: &Netns, listen: &Socket, links: &[(u32, String)]) -> Outcome<()> {
        let answer: Arc<Mutex<Option<Outcome<()>>>> = Arc::default();
        let (told, round, socket) = (Arc::clone(&answer), links.to_vec(), Socket::open_in(netns)?);
        self.0.senders.run(move || {
            let result = caught(|| send(&socket, &round));
            drop(socket);
            *told.lock().unwrap_or_else(|p| p.into_inner()) = Some(result);
        })?;
        let mut left: HashSet<u32> = links.iter().map(|(index, _)| *index).collect();
        let mut buffer = vec![0_u8; 32 * 1024];
        while !left.is_empty() {
            if let Some(result) = answer.lock().unwrap_or_else(|p| p.into_inner()).take() {
                return result;
            }
            note_gone(listen, &mut buffer, &mut left);
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Vec<Wanted>>> {
        self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whatever happens, somebody waits for an answer, and others for their turn.
fn caught(body: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Failure::new(libc::EIO, "RTM_DELLINK", "thread").with_detail("panicked")))
}

fn take(held: &Mutex<Vec<Wanted>>) -> Vec<Wanted> {
    std::mem::take(&mut *held.lock().unwrap_or_else(|p| p.into_inner()))
}

fn send(socket: &Socket, links: &[(u32, String)]) -> Outcome<()> {
    if let [(index, name)] = links {
        return socket.transact(vec![encode::delete_link(*index, name)]);
    }
    let group = TRASH | (BATCHES.fetch_add(1, Ordering::Relaxed) ^ std::process::id()) & 0xffff;
    let mut requests: Vec<_> =
        links.iter().map(|(index, name)| encode::set_group(*index, name, group)).collect();
    requests.push(encode::delete_group(group, format!("group of {}", links.len())));
    // A link that cannot be deleted (loopback) keeps the whole group alive: then each on its own.
    socket.transact(requests).or_else(|_| {
        socket.transact(links.iter().map(|(index, name)| encode::delete_link(*index, name)).collect())
    })
}

fn note_gone(listen: &Socket, buffer: &mut [u8], left: &mut HashSet<u32>) {
    let mut ready = libc::pollfd { fd: listen.raw().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    if unsafe { libc::poll(&mut ready, 1, LOOK) } <= 0 {
        return;
    }
    // Overrun (ENOBUFS) loses notifications: the sender's own answer then ends the wait.
    let Ok(length) = listen.receive(buffer) else { return };
    // One of the bridge family only says that a link has left its bridge.
    let is_deletion = |m: &Received<'_>| m.kind == libc::RTM_DELLINK && m.payload.first() == Some(&0);
    for message in messages(&buffer[..length]).filter(is_deletion) {
        if let Some(index) = u32_at(message.payload, 4) {
            left.remove(&index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;
    use crate::wiring::{create_veth, EndName};
    use std::sync::mpsc;

    fn pairs(held: &impl AsRawFd, count: usize) -> Vec<String> {
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        let end = |name: String| EndName { name, mac: None };
        (0..count).for_each(|n| {
            create_veth((&netns, &end(format!("a{n}"))), (&netns, &end(format!("b{n}"))), 1500, 1).unwrap();
        });
        (0..count).map(|n| format!("a{n}")).collect()
    }

    #[test]
    fn deletes_many_and_forgives_the_absent() {
        let held = netns::create().unwrap();
        let names = pairs(&held, 20);
        let deleter = Deleter::new(4, Duration::from_millis(50));
        let (sent, received) = mpsc::channel();
        for name in names.into_iter().chain(["absent".into()]) {
            let sent = sent.clone();
            let netns = Netns::acquire(held.as_raw_fd()).unwrap();
            deleter.delete(netns, vec![name], Box::new(move |result| sent.send(result).unwrap()));
        }
        for _ in 0..21 {
            received.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        }
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        let socket = Socket::open_in(&netns).unwrap();
        assert!((0..20).all(
            |n| socket.index_of(&format!("a{n}")).is_err() && socket.index_of(&format!("b{n}")).is_err()
        ));
        assert!(deleter.0.lock().is_empty());
    }

    #[test]
    fn one_that_cannot_be_deleted_fails_alone() {
        let held = netns::create().unwrap();
        let mut names = pairs(&held, 1);
        names.push("lo".into());
        let deleter = Deleter::new(2, Duration::from_millis(50));
        let (sent, received) = mpsc::channel();
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        deleter.delete(netns, names, Box::new(move |result| sent.send(result).unwrap()));
        let failure = received.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
        assert_eq!((failure.errno, failure.object.as_str()), (libc::EOPNOTSUPP, "lo"));
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        assert!(Socket::open_in(&netns).unwrap().index_of("a0").is_err());
    }
}
