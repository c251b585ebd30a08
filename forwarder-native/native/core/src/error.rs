//! The one error type: which system call or message failed, on what, and why.

use std::ffi::CStr;
use std::fmt;

/// What every function of this crate answers.
pub type Outcome<T> = Result<T, Failure>;

/// A refusal by the kernel, or by a check of ours that came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Linux errno, positive.
    pub errno: i32,
    /// What was being done: a message type or a system call.
    pub operation: &'static str,
    /// The interface, address, route or path that it was done to.
    pub object: String,
    /// The kernel's own words, or ours.
    pub detail: Option<String>,
    /// All failures of a batch by position; empty for a single operation.
    pub failures: Vec<(usize, Failure)>,
}

impl Failure {
    pub fn new(errno: i32, operation: &'static str, object: impl Into<String>) -> Failure {
        Failure { errno, operation, object: object.into(), detail: None, failures: Vec::new() }
    }

    /// The calling thread's errno, as left by the system call that just failed.
    pub fn last(operation: &'static str, object: impl Into<String>) -> Failure {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        Failure::new(errno, operation, object)
    }

    pub fn invalid(operation: &'static str, object: impl Into<String>, detail: impl Into<String>) -> Failure {
        Failure::new(libc::EINVAL, operation, object).with_detail(detail)
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Failure {
        self.detail = Some(detail.into());
        self
    }

    /// The failure of a batch: its first one, which lists them all.
    pub fn of_batch(failures: Vec<(usize, Failure)>) -> Option<Failure> {
        let (_, first) = failures.first()?;
        Some(Failure { failures: failures.clone(), ..first.clone() })
    }

    /// `EEXIST` and the like; `E<number>` for those that no call of ours answers.
    pub fn code(&self) -> String {
        name_of(self.errno).map_or_else(|| format!("E{}", self.errno), str::to_owned)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.object, self.code())?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => write!(f, ": {}", text_of(self.errno)),
        }
    }
}

fn text_of(errno: i32) -> String {
    let mut text = [0_u8; 128];
    // SAFETY: the buffer's length is passed along; the POSIX variant always ends it with a zero byte.
    unsafe { libc::strerror_r(errno, text.as_mut_ptr().cast(), text.len()) };
    CStr::from_bytes_until_nul(&text).map_or_else(|_| String::new(), |t| t.to_string_lossy().to_lowercase())
}

macro_rules! names {
    ($($name:ident)*) => {
        fn name_of(errno: i32) -> Option<&'static str> {
            match errno { $(libc::$name => Some(stringify!($name)),)* _ => None }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV
    ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
    ENAMETOOLONG ENOSYS ENOTEMPTY ELOOP ENODATA EOVERFLOW EBADMSG ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE
    ENOPROTOOPT EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED
    ECONNRESET ENOBUFS EISCONN ENOTCONN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY
    EINPROGRESS ESTALE ECANCELED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_failed_on_what_and_why() {
        let failure = Failure::new(libc::EEXIST, "RTM_NEWLINK", "nsm-1");
        assert_eq!(failure.to_string(), "RTM_NEWLINK nsm-1: EEXIST: file exists");
        assert_eq!(failure.with_detail("taken").to_string(), "RTM_NEWLINK nsm-1: EEXIST: taken");
        assert_eq!(Failure::new(4000, "x", "y").code(), "E4000");
    }

    #[test]
    fn a_batch_fails_with_its_first_failure_and_lists_all() {
        let a = Failure::new(libc::EEXIST, "RTM_NEWADDR", "a");
        let b = Failure::new(libc::EINVAL, "RTM_NEWROUTE", "b");
        let whole = Failure::of_batch(vec![(1, a.clone()), (3, b)]).unwrap();
        assert_eq!((whole.errno, whole.object.as_str(), whole.failures.len()), (libc::EEXIST, "a", 2));
        assert!(Failure::of_batch(Vec::new()).is_none());
    }
}
