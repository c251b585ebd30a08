//! Who is at the other end of a unix socket, and where.

use crate::netns::{own, through_pidfd, Netns};
use crate::{Failure, Outcome};
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const SO_PEERPIDFD: i32 = 77;
/// `_IO(PIDFS_IOCTL_MAGIC, 4)`.
const PIDFD_GET_NET_NAMESPACE: libc::c_ulong = 0xff04;

/// SO_PEERCRED.
pub fn credentials(socket: RawFd) -> Outcome<libc::ucred> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    option(socket, libc::SO_PEERCRED, "SO_PEERCRED", &mut found)?;
    Ok(found)
}

/// How far back to pretend the kernel is; for tests of the older ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// All that the running kernel offers.
    Present,
    /// No PIDFD_GET_NET_NAMESPACE: before 6.11.
    Before6_11,
    /// No SO_PEERPIDFD either: before 6.5.
    Before6_5,
}

/// Network namespace of the process at the other end; `kernel` leaves out what an older one has not.
pub fn netns(socket: RawFd, kernel: Kernel) -> Outcome<OwnedFd> {
    let pidfd = match peer_pidfd(socket) {
        Ok(pidfd) if kernel != Kernel::Before6_5 => pidfd,
        Err(failure) if failure.errno != libc::ENOPROTOOPT => return Err(failure),
        _ => pidfd_of_credentials(socket)?,
    };
    if kernel == Kernel::Present {
        // SAFETY: the request takes no argument and answers a new descriptor.
        let fd = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_NET_NAMESPACE) };
        match own(fd, "PIDFD_GET_NET_NAMESPACE", || "peer".into()) {
            Ok(found) => return Netns::acquire(found.as_raw_fd()).map(Netns::into_fd),
            Err(failure) if ![libc::ENOTTY, libc::EINVAL].contains(&failure.errno) => return Err(failure),
            Err(_) => {}
        }
    }
    through_pidfd(pidfd.as_raw_fd())
}

/// Whether the process that opened the other end has not ended. Whoever got its number later is not taken for it; before kernel 6.5
/// that holds only from the moment of asking on.
pub fn is_alive(socket: RawFd, kernel: Kernel) -> Outcome<bool> {
    let ended = |failure: &Failure| [libc::ESRCH, libc::EINVAL].contains(&failure.errno);
    let pidfd = match peer_pidfd(socket) {
        Ok(pidfd) if kernel != Kernel::Before6_5 => Ok(pidfd),
        Err(failure) if failure.errno != libc::ENOPROTOOPT => Err(failure),
        _ => pidfd_of_credentials(socket),
    };
    let pidfd = match pidfd {
        Ok(pidfd) => pidfd,
        Err(failure) if ended(&failure) => return Ok(false),
        Err(failure) => return Err(failure),
    };
    let mut end = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live value, and no wait.
    match unsafe { libc::poll(&raw mut end, 1, 0) } {
        0 => Ok(true),
        1 => Ok(false),
        _ => Err(Failure::last("poll", "process of the peer")),
    }
}

fn peer_pidfd(socket: RawFd) -> Outcome<OwnedFd> {
    let mut fd: RawFd = -1;
    option(socket, SO_PEERPIDFD, "SO_PEERPIDFD", &mut fd)?;
    own(fd, "SO_PEERPIDFD", || "peer".into())
}

fn pidfd_of_credentials(socket: RawFd) -> Outcome<OwnedFd> {
    let pid = credentials(socket)?.pid;
    if pid <= 0 {
        let detail = "the peer lives in a pid namespace that cannot be seen from here";
        return Err(Failure::new(libc::ESRCH, "SO_PEERCRED", "peer").with_detail(detail));
    }
    // SAFETY: plain integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    own(fd as RawFd, "pidfd_open", || format!("process {pid}"))
}

fn option<T>(socket: RawFd, name: i32, operation: &'static str, value: &mut T) -> Outcome<()> {
    let mut length = size_of::<T>() as u32;
    // SAFETY: pointer and length describe one live value of plain integers.
    let result =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut *value).cast(), &mut length) };
    if result == 0 {
        Ok(())
    } else {
        Err(Failure::last(operation, format!("descriptor {socket}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn every_way_leads_to_the_same_namespace() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mine = Netns::current().unwrap().key().unwrap();
        for kernel in [Kernel::Present, Kernel::Before6_11, Kernel::Before6_5] {
            let found = netns(one.as_raw_fd(), kernel).unwrap();
            assert_eq!(Netns::acquire(found.as_raw_fd()).unwrap().key().unwrap(), mine, "{kernel:?}");
        }
        assert_eq!(credentials(one.as_raw_fd()).unwrap().pid, std::process::id() as i32);
        for kernel in [Kernel::Present, Kernel::Before6_5] {
            assert!(is_alive(one.as_raw_fd(), kernel).unwrap(), "{kernel:?}");
            assert_eq!(is_alive(-1, kernel).unwrap_err().errno, libc::EBADF);
        }
        assert_eq!(credentials(-1).unwrap_err().errno, libc::EBADF);
    }
}
