//! A NETLINK_ROUTE socket for the length of one call.

use crate::message::{attributes, messages, text_of, u16_at, u32_at, Message, Received};
use crate::netns::{own, Netns};
use crate::{Failure, Outcome};
use std::cell::Cell;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const CAP_ACK: i32 = 10;
const EXT_ACK: i32 = 11;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Messages in one sendmsg: their refusals must all fit the receive buffer.
const BATCH: usize = 128;
/// The kernel answers inside sendmsg; this only keeps a thread from waiting for ever.
const ANSWER_SECONDS: i64 = 10;
/// How often a dump that was changed underneath is taken again.
const DUMP_ATTEMPTS: usize = 16;

/// One request of a batch and what to call it when it fails.
pub struct Request {
    pub message: Message,
    pub operation: &'static str,
    pub object: String,
    /// Where it stood in the caller's list.
    pub position: usize,
    /// Errnos that mean that it was so already.
    pub forgiven: &'static [i32],
}

pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// In the calling thread's namespace.
    pub fn open() -> Outcome<Socket> {
        Socket::open_with(0)
    }

    pub fn open_in(netns: &Netns) -> Outcome<Socket> {
        netns.inside(Socket::open)?
    }

    /// One that also hears what happens to links (RTMGRP_LINK).
    pub fn open_listening() -> Outcome<Socket> {
        Socket::open_with(libc::RTMGRP_LINK as u32)
    }

    fn open_with(groups: u32) -> Outcome<Socket> {
        // SAFETY: plain integers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        let fd = own(fd, "socket(AF_NETLINK)", || "rtnetlink".into())?;
        let raw = fd.as_raw_fd();
        set_option(raw, libc::SOL_NETLINK, CAP_ACK, &1_i32)?;
        set_option(raw, libc::SOL_NETLINK, EXT_ACK, &1_i32)?;
        let patience = libc::timeval { tv_sec: ANSWER_SECONDS, tv_usec: 0 };
        set_option(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &patience)?;
        // More room where it is allowed; the default serves where it is not.
        let _ = set_option(raw, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(1_i32 << 20));
        if groups != 0 {
            // SAFETY: an all-zero sockaddr_nl is valid.
            let mut address: libc::sockaddr_nl = unsafe { zeroed() };
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = groups;
            let length = size_of::<libc::sockaddr_nl>() as u32;
            // SAFETY: the address lives through the call and its length is right.
            if unsafe { libc::bind(raw, (&raw const address).cast(), length) } != 0 {
                return Err(Failure::last("bind(RTMGRP_LINK)", "rtnetlink"));
            }
        }
        Ok(Socket { fd, sequence: Cell::new(1) })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Index of a link in the socket's namespace.
    pub fn index_of(&self, name: &str) -> Outcome<u32> {
        // SAFETY: an all-zero ifreq is valid.
        let mut request: libc::ifreq = unsafe { zeroed() };
        if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
            return Err(
                Failure::new(libc::ENODEV, "SIOCGIFINDEX", name).with_detail("no link can have this name")
            );
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        // SAFETY: the request is an ifreq whose name ends with a zero byte.
        match unsafe { libc::ioctl(self.raw(), libc::SIOCGIFINDEX, &mut request) } {
            // SAFETY: the kernel just filled this member.
            0 => Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32),
            _ => Err(Failure::last("SIOCGIFINDEX", name).with_detail("no such link")),
        }
    }

    /// Sends everything in as few sendmsg calls as possible and collects all refusals.
    ///
    /// The kernel works them off in order and goes on after an error. Only the last of a batch is acknowledged.
    pub fn transact(&self, requests: Vec<Request>) -> Outcome<()> {
        let mut failures = Vec::new();
        let mut rest = requests.into_iter().peekable();
        while rest.peek().is_some() {
            self.transact_batch(rest.by_ref().take(BATCH).collect(), &mut failures)?;
        }
        Failure::of_batch(failures).map_or(Ok(()), Err)
    }

    fn transact_batch(&self, batch: Vec<Request>, failures: &mut Vec<(usize, Failure)>) -> Outcome<()> {
        let first = self.sequence.get();
        let last = first + batch.len() as u32 - 1;
        self.sequence.set(last + 1);
        let mut bytes = Vec::new();
        let mut names = Vec::with_capacity(batch.len());
        for (sequence, request) in (first..).zip(batch) {
            bytes.extend_from_slice(&request.message.finish(sequence, sequence == last));
            names.push((request.operation, request.object, request.position, request.forgiven));
        }
        let (operation, object) = (names[0].0, names[0].1.clone());
        self.send(&bytes).map_err(|errno| Failure::new(errno, operation, object.clone()))?;
        let mut buffer = vec![0_u8; 32 * 1024];
        loop {
            let length =
                self.receive(&mut buffer).map_err(|errno| Failure::new(errno, operation, object.clone()))?;
            for answer in messages(&buffer[..length]) {
                let Some((errno, detail)) = refusal(&answer) else { continue };
                let Some((operation, object, position, forgiven)) =
                    answer.sequence.checked_sub(first).and_then(|at| names.get(at as usize))
                else {
                    continue;
                };
                if errno != 0 && !forgiven.contains(&errno) {
                    let failure = Failure { detail, ..Failure::new(errno, operation, object.clone()) };
                    failures.push((*position, failure));
                }
                if answer.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Everything that a dump answers, payload by payload; taken again when it was changed underneath.
    pub fn dump(&self, request: impl Fn() -> Message, operation: &'static str) -> Outcome<Vec<Vec<u8>>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(request(), operation)? {
                return Ok(found);
            }
        }
        Err(Failure::new(libc::EAGAIN, operation, "dump").with_detail("changed underneath every time"))
    }

    fn dump_once(&self, request: Message, operation: &'static str) -> Outcome<Option<Vec<Vec<u8>>>> {
        let failed = |errno| Failure::new(errno, operation, "dump");
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        let kind = request.kind();
        self.send(&request.finish(sequence, false)).map_err(failed)?;
        let mut buffer = vec![0_u8; 64 * 1024];
        let (mut found, mut interrupted) = (Vec::new(), false);
        loop {
            let length = self.receive(&mut buffer).map_err(failed)?;
            for answer in messages(&buffer[..length]).filter(|m| m.sequence == sequence) {
                interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
                if i32::from(answer.kind) == libc::NLMSG_DONE {
                    return Ok((!interrupted).then_some(found));
                }
                match refusal(&answer) {
                    Some((errno, detail)) => return Err(Failure { detail, ..failed(errno) }),
                    // A dump of RTM_GETx answers RTM_NEWx, which is two less.
                    None if answer.kind + 2 == kind => found.push(answer.payload.to_vec()),
                    None => {}
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), i32> {
        // SAFETY: pointer and length describe one live slice.
        let sent = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent == bytes.len() as isize {
            Ok(())
        } else {
            Err(last_errno())
        }
    }

    /// One datagram of the kernel's. A process in the namespace may send here as well: what it sends is dropped.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<usize, i32> {
        loop {
            // SAFETY: an all-zero sockaddr_nl is valid; pointers and lengths describe live memory.
            let mut from: libc::sockaddr_nl = unsafe { zeroed() };
            let mut from_length = size_of::<libc::sockaddr_nl>() as u32;
            let length = unsafe {
                libc::recvfrom(
                    self.raw(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_TRUNC,
                    (&raw mut from).cast(),
                    &mut from_length,
                )
            };
            match usize::try_from(length) {
                Err(_) if last_errno() == libc::EINTR => {}
                Err(_) => return Err(last_errno()),
                Ok(_) if from.nl_pid != 0 => {}
                Ok(length) if length > buffer.len() => return Err(libc::EMSGSIZE),
                Ok(length) => return Ok(length),
            }
        }
    }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// Errno and text of an NLMSG_ERROR; errno 0 is an acknowledgement. A cut one is EBADMSG.
fn refusal(answer: &Received<'_>) -> Option<(i32, Option<String>)> {
    if i32::from(answer.kind) != libc::NLMSG_ERROR {
        return None;
    }
    let Some(errno) = u32_at(answer.payload, 0).map(|e| (e as i32).saturating_neg()) else {
        return Some((libc::EBADMSG, None));
    };
    let has_text = answer.flags & NLM_F_ACK_TLVS != 0;
    let text = has_text.then(|| attributes(answer.payload.get(error_length(answer)..).unwrap_or_default()));
    let text = text.and_then(|mut all| all.find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG));
    Some((errno, text.map(|(_, value)| text_of(value))))
}

/// The error, the header of what it answers and, unless capped, that message's body too.
fn error_length(answer: &Received<'_>) -> usize {
    const NLM_F_CAPPED: u16 = 0x100;
    let header = u16_at(answer.payload, 4).map_or(16, usize::from);
    if answer.flags & NLM_F_CAPPED != 0 {
        20
    } else {
        4 + ((header + 3) & !3)
    }
}

pub fn set_option<T>(fd: RawFd, level: i32, name: i32, value: &T) -> Outcome<()> {
    // SAFETY: pointer and length describe the same live value.
    match unsafe { libc::setsockopt(fd, level, name, (&raw const *value).cast(), size_of::<T>() as u32) } {
        0 => Ok(()),
        _ => Err(Failure::last("setsockopt", format!("option {name} of level {level}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(flags: u16, payload: &[u8]) -> Option<(i32, Option<String>)> {
        refusal(&Received { kind: libc::NLMSG_ERROR as u16, flags, sequence: 1, payload })
    }

    #[test]
    fn reads_refusals_with_and_without_text() {
        let mut payload = (-libc::EEXIST).to_ne_bytes().to_vec();
        payload.extend_from_slice(&[16, 0, 0, 0]);
        payload.extend_from_slice(&[0; 12]);
        assert_eq!(answer(0x100, &payload), Some((libc::EEXIST, None)));
        payload.extend_from_slice(&[10, 0, 1, 0]);
        payload.extend_from_slice(b"taken\0");
        assert_eq!(answer(0x300, &payload), Some((libc::EEXIST, Some("taken".into()))));
        assert_eq!(answer(0x200, &payload), Some((libc::EEXIST, Some("taken".into()))));
        assert_eq!(answer(0x200, &[1]), Some((libc::EBADMSG, None)));
        assert_eq!(answer(0x200, &payload[..6]), Some((libc::EEXIST, None)));
        let other = Received { kind: 16, flags: 0, sequence: 1, payload: &payload };
        assert_eq!(refusal(&other), None);
    }

    #[test]
    fn finds_links_by_name_only_when_the_name_can_be_one() {
        let socket = Socket::open().unwrap();
        assert!(socket.index_of("lo").unwrap() > 0);
        for name in ["", "no-such-link", "sixteen-bytes-xx", "l\0o"] {
            assert_eq!(socket.index_of(name).unwrap_err().errno, libc::ENODEV, "{name:?}");
        }
    }
}
