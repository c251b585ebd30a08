//! What stands for a node or a pod: namespaces, held by a process that does nothing.

use crate::args::SandboxOptions;
use crate::sys::{self, Relay};
use std::io::{self, Read, Write};
use std::os::fd::FromRawFd;

/// Replaces this process by `argv` in an empty network namespace with its loopback up.
pub fn exec_in_new_netns(argv: &[String]) -> io::Result<i32> {
    sys::unshare(libc::CLONE_NEWNET, "net")?;
    sys::loopback_up()?;
    Err(sys::exec(argv))
}

/// Makes the namespaces, prints `ready PID`, and holds them until killed.
///
/// The holder is process 1 of a pid namespace: with it the kernel kills every process that was started inside.
pub fn hold(options: &SandboxOptions) -> io::Result<i32> {
    sys::die_with(unsafe { libc::getppid() })?;
    let net = if options.share_net { 0 } else { libc::CLONE_NEWNET };
    let flags = net | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;
    sys::unshare(flags, "namespaces")?;
    if !options.share_net {
        sys::loopback_up()?;
    }
    if let Some(name) = &options.hostname {
        sys::set_hostname(name)?;
    }
    sys::mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;

    let mut ends = [0; 2];
    sys::check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, "pipe2")?;
    sys::hold_signals();
    let child = sys::check(unsafe { libc::fork() }, "fork")?;
    if child == 0 {
        let mut writer = unsafe { std::fs::File::from_raw_fd(ends[1]) };
        sleep_as_init(&mut writer);
    }
    unsafe { libc::close(ends[1]) };
    let mut reader = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    if reader.read(&mut [0; 1])? == 1 {
        println!("ready {child}");
        io::stdout().flush()?;
    }
    sys::supervise(child, Relay::AsKill).map(|_| 0)
}

fn sleep_as_init(ready: &mut std::fs::File) -> ! {
    let failed = |error: io::Error| -> ! {
        eprintln!("nsm-run: {error}");
        unsafe { libc::_exit(125) }
    };
    if let Err(error) = sys::die_with(0) {
        failed(error);
    }
    // Orphans of the containers' processes end up here; the kernel reaps them.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if let Err(error) = ready.write_all(b"1") {
        failed(error);
    }
    sys::release_signals();
    loop {
        unsafe { libc::pause() };
    }
}
