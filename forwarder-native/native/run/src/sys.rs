//! System calls with errors that say what was tried on what.

use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::{self, Error};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// `RTM_NEWLINK x: No such device`-like: the operation and its object before the kernel's own words.
pub fn check(result: libc::c_int, operation: &str) -> io::Result<libc::c_int> {
    if result >= 0 {
        return Ok(result);
    }
    let error = Error::last_os_error();
    Err(Error::new(error.kind(), format!("{operation}: {error}")))
}

pub fn text(value: &str) -> io::Result<CString> {
    CString::new(value).map_err(|error: NulError| Error::new(io::ErrorKind::InvalidInput, error))
}

pub fn unshare(flags: libc::c_int, what: &str) -> io::Result<()> {
    check(unsafe { libc::unshare(flags) }, &format!("unshare {what}")).map(drop)
}

/// Joins one namespace of a process, `kind` as in /proc/PID/ns.
pub fn join(pid: i32, kind: &str, flag: libc::c_int) -> io::Result<()> {
    let path = format!("/proc/{pid}/ns/{kind}");
    let file = File::open(&path).map_err(|error| Error::new(error.kind(), format!("{path}: {error}")))?;
    check(unsafe { libc::setns(file.as_raw_fd(), flag) }, &format!("setns {path}")).map(drop)
}

pub fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (source_text, target_text) = (text(source)?, text(target)?);
    let (kind_text, data_text) = (text(kind)?, text(data)?);
    let result = unsafe {
        libc::mount(
            source_text.as_ptr(),
            target_text.as_ptr(),
            kind_text.as_ptr(),
            flags,
            data_text.as_ptr().cast(),
        )
    };
    check(result, &format!("mount {kind} {source} on {target}")).map(drop)
}

pub fn set_hostname(name: &str) -> io::Result<()> {
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    check(result, &format!("sethostname {name}")).map(drop)
}

/// SIGKILL when `parent` dies, also when it has died already. To be called after the last change of user.
pub fn die_with(parent: libc::pid_t) -> io::Result<()> {
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }, "PR_SET_PDEATHSIG")?;
    let seen = unsafe { libc::getppid() };
    // A parent outside this pid namespace shows as 0.
    if seen != parent && seen != 0 {
        unsafe { libc::_exit(128 + libc::SIGKILL) };
    }
    Ok(())
}

/// Brings `lo` of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }, "socket")?;
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    let result = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &request) };
    let outcome = check(result, "SIOCSIFFLAGS lo").map(drop);
    unsafe { libc::close(socket) };
    outcome
}

static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn relay(signal: libc::c_int) {
    let child = CHILD.load(Ordering::Relaxed);
    if child > 0 {
        unsafe { libc::kill(child, signal) };
    }
}

/// For a child that is process 1 of its namespace: such a one ignores what it has no handler for.
extern "C" fn relay_as_kill(_signal: libc::c_int) {
    relay(libc::SIGKILL);
}

/// The signals that ask a process to do something.
const RELAYED: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Holds these signals back: one that comes between fork and the first handler would end the wrong process.
pub fn hold_signals() {
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &relayed_set(), std::ptr::null_mut()) };
}

/// Lets them come, together with those that have waited.
pub fn release_signals() {
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &relayed_set(), std::ptr::null_mut()) };
}

fn relayed_set() -> libc::sigset_t {
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in RELAYED {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// What becomes of a signal that this process gets while it waits for its child.
pub enum Relay {
    AsIs,
    AsKill,
}

/// Hands the signals that ask a process to do something on to `child`, whose exit status this answers. To be called with signals held since before the fork.
pub fn supervise(child: libc::pid_t, signals: Relay) -> io::Result<i32> {
    CHILD.store(child, Ordering::Relaxed);
    let handler: extern "C" fn(libc::c_int) = match signals {
        Relay::AsIs => relay,
        Relay::AsKill => relay_as_kill,
    };
    for signal in RELAYED {
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
    release_signals();
    let mut status = 0;
    loop {
        let result = unsafe { libc::waitpid(child, &mut status, 0) };
        if result == child {
            break;
        }
        let error = Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
    // From here on there is nobody to hand signals to, and the pid may be given to another process.
    CHILD.store(0, Ordering::Relaxed);
    if libc::WIFSIGNALED(status) {
        return Ok(128 + libc::WTERMSIG(status));
    }
    Ok(libc::WEXITSTATUS(status))
}

/// Replaces the process; comes back only with the reason why not.
pub fn exec(argv: &[String]) -> Error {
    let words: Result<Vec<CString>, Error> = argv.iter().map(|word| text(word)).collect();
    let words = match words {
        Ok(words) => words,
        Err(error) => return error,
    };
    let mut pointers: Vec<*const libc::c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(ptr::null());
    unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
    let error = Error::last_os_error();
    Error::new(error.kind(), format!("exec {}: {error}", argv[0]))
}
