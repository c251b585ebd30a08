//! Network namespaces as descriptors, and threads that step into one.

use crate::describe::{is_path_only, on_nsfs};
use crate::{Failure, Outcome};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

/// A descriptor that was checked to be a network namespace, and is ours to close.
pub struct Netns(OwnedFd);

impl Netns {
    /// A descriptor of our own for the namespace behind `fd`, which may be an O_PATH one.
    ///
    /// Anything but a network namespace is refused before it is opened: opening a FIFO would wait, a device would act.
    pub fn acquire(fd: RawFd) -> Outcome<Netns> {
        let object = format!("descriptor {fd}");
        if !on_nsfs(fd)? {
            return Err(Failure::invalid(
                "netns",
                object,
                "is not a namespace, let alone a network namespace",
            ));
        }
        let own = if is_path_only(fd)? { reopen(fd)? } else { duplicate(fd)? };
        match namespace_type(&own) {
            Some(libc::CLONE_NEWNET) => Ok(Netns(own)),
            _ => Err(Failure::invalid("netns", object, "is a namespace, but not a network namespace")),
        }
    }

    /// The calling thread's own.
    pub fn current() -> Outcome<Netns> {
        open_path(c"/proc/thread-self/ns/net", libc::O_RDONLY).map(Netns)
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Device and inode: what tells one namespace from another.
    pub fn key(&self) -> Outcome<(u64, u64)> {
        let stat = crate::describe::stat_of(self.raw())?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Runs `body` on this thread inside the namespace, then steps back.
    ///
    /// A thread that cannot step back would do the next caller's work in a stranger's namespace: the process ends instead.
    pub fn inside<T>(&self, body: impl FnOnce() -> T) -> Outcome<T> {
        let home = Netns::current()?;
        enter(self.raw())?;
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        if enter(home.raw()).is_err() {
            std::process::abort();
        }
        result.map_err(|_| {
            Failure::new(libc::EIO, "netns", "thread").with_detail("panicked inside the namespace")
        })
    }
}

/// The kind of a namespace descriptor (CLONE_NEWNET, …); none when it is not one or is O_PATH.
pub fn namespace_type(fd: &impl AsRawFd) -> Option<i32> {
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    (kind >= 0).then_some(kind)
}

/// Opens what an O_PATH descriptor stands for, read-only.
pub fn reopen(fd: RawFd) -> Outcome<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    open_path(&path, libc::O_RDONLY)
}

pub fn duplicate(fd: RawFd) -> Outcome<OwnedFd> {
    // SAFETY: plain integers; the answer is checked before it is owned.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    own(copy, "fcntl(F_DUPFD_CLOEXEC)", || format!("descriptor {fd}"))
}

/// Owns the descriptor that a system call answered, or tells why there is none.
pub fn own(fd: RawFd, operation: &'static str, object: impl FnOnce() -> String) -> Outcome<OwnedFd> {
    if fd < 0 {
        return Err(Failure::last(operation, object()));
    }
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn open_path(path: &std::ffi::CStr, flags: i32) -> Outcome<OwnedFd> {
    // SAFETY: `path` ends with a zero byte.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) };
    own(fd, "open", || path.to_string_lossy().into_owned())
}

/// A new namespace with loopback up, held by its descriptor alone. Made on a thread that ends with it.
pub fn create() -> Outcome<OwnedFd> {
    on_own_thread("unshare(CLONE_NEWNET)", || {
        // SAFETY: plain flag; it concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Err(Failure::last("unshare(CLONE_NEWNET)", "thread"));
        }
        let socket = crate::rtnetlink::Socket::open()?;
        socket.transact(vec![crate::encode::link_up("lo")])?;
        Netns::current().map(Netns::into_fd)
    })
}

/// Steps into whatever namespace `fd` (of a namespace or a process) stands for, on a thread that ends with the call.
pub fn through_pidfd(pidfd: RawFd) -> Outcome<OwnedFd> {
    on_own_thread("setns(pidfd)", || {
        enter(pidfd)?;
        Netns::current().map(Netns::into_fd)
    })
}

fn enter(fd: RawFd) -> Outcome<()> {
    // SAFETY: plain integers; it concerns this thread alone.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(Failure::last("setns", format!("descriptor {fd}"))),
    }
}

fn on_own_thread<T: Send>(operation: &'static str, body: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("nsm-netns".into())
            .stack_size(crate::pool::STACK)
            .spawn_scoped(scope, body)
            .map_err(|e| Failure::new(e.raw_os_error().unwrap_or(libc::EAGAIN), "clone", operation))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Failure::new(libc::EIO, operation, "thread").with_detail("panicked")))
    })
}
