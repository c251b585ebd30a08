//! Runs a command in a sandbox, or beside a process that runs in one.

use crate::args::EnterOptions;
use crate::rootfs;
use crate::sys::{self, Relay};
use std::io::{self, Error};

/// Answers the command's exit status; 128 + n when signal n ended it.
pub fn run(options: &EnterOptions) -> io::Result<i32> {
    let parent = unsafe { libc::getppid() };
    // Only children join a pid namespace, so this process stays outside and watches.
    sys::join(options.pid, "pid", libc::CLONE_NEWPID)?;
    sys::hold_signals();
    let child = sys::check(unsafe { libc::fork() }, "fork")?;
    if child > 0 {
        sys::die_with(parent)?;
        return sys::supervise(child, Relay::AsIs);
    }
    let error = become_command(options);
    eprintln!("nsm-run: {error}");
    let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
    unsafe { libc::_exit(status) }
}

fn become_command(options: &EnterOptions) -> Error {
    sys::release_signals();
    match prepare(options) {
        Ok(()) => sys::exec(&options.argv),
        Err(error) => error,
    }
}

fn prepare(options: &EnterOptions) -> io::Result<()> {
    sys::join(options.pid, "net", libc::CLONE_NEWNET)?;
    sys::join(options.pid, "uts", libc::CLONE_NEWUTS)?;
    sys::join(options.pid, "ipc", libc::CLONE_NEWIPC)?;
    sys::join(options.pid, "mnt", libc::CLONE_NEWNS)?;
    if options.fresh_root {
        rootfs::build(&options.binds, options.read_only)?;
    }
    let directory = options.chdir.as_deref().unwrap_or("/");
    std::env::set_current_dir(directory)
        .map_err(|error| Error::new(error.kind(), format!("chdir {directory}: {error}")))?;
    if let Some(gid) = options.gid {
        sys::check(unsafe { libc::setgroups(1, &gid) }, "setgroups")?;
        sys::check(unsafe { libc::setgid(gid) }, &format!("setgid {gid}"))?;
    }
    if let Some(uid) = options.uid {
        sys::check(unsafe { libc::setuid(uid) }, &format!("setuid {uid}"))?;
    }
    if options.no_new_privileges {
        sys::check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, "PR_SET_NO_NEW_PRIVS")?;
    }
    // The parent is outside this pid namespace.
    sys::die_with(0)
}
