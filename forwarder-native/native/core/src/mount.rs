//! Folders shown at a second place, read-only: how a pod gets to see a folder of its node.

use crate::netns::own;
use crate::{Failure, Outcome};
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

/// What may be done with what a pod sees: no writing, no setuid programs, no devices, no programs at all.
const LIMITS: u64 =
    libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
const OLD_LIMITS: libc::c_ulong = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
/// Mounts on top of each other that are taken off at one path; nobody stacks as many by repeating a call.
const MOST_STACKED: usize = 64;

/// Shows the folder `source` at the existing folder `target`, which appears there with its limits already set: mounts that
/// the kernel spreads to other namespaces keep those that they were attached with. `old_kernel`: the way before 5.12.
pub fn bind(source: &str, target: &str, old_kernel: bool) -> Outcome<()> {
    let (from, to) = (text("mount", source)?, text("mount", target)?);
    if old_kernel {
        return bind_then_limit(&from, &to, target);
    }
    match detached_copy(&from, source) {
        Err(failure) if failure.errno == libc::ENOSYS => bind_then_limit(&from, &to, target),
        tree => attach(&tree?, &to, target),
    }
}

/// A copy of the mount below `source`, with its limits, that is attached nowhere yet.
fn detached_copy(from: &CString, source: &str) -> Outcome<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a live zero-terminated text.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags) };
    let tree = own(fd as RawFd, "open_tree", || source.into())?;
    let wanted =
        libc::mount_attr { attr_set: LIMITS, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: pointer and size describe one live structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    done(result as libc::c_int, "mount_setattr", source)?;
    Ok(tree)
}

fn attach(tree: &OwnedFd, to: &CString, target: &str) -> Outcome<()> {
    // SAFETY: both paths are live zero-terminated texts. A link as the last part of the target is not followed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    done(result as libc::c_int, "move_mount", target)
}

fn bind_then_limit(from: &CString, to: &CString, target: &str) -> Outcome<()> {
    old_mount(Some(from), to, libc::MS_BIND, target)?;
    let limited = old_mount(None, to, libc::MS_BIND | libc::MS_REMOUNT | OLD_LIMITS, target);
    if limited.is_err() {
        // SAFETY: the path is a live zero-terminated text.
        unsafe { libc::umount2(to.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    }
    limited
}

fn old_mount(from: Option<&CString>, to: &CString, flags: libc::c_ulong, target: &str) -> Outcome<()> {
    let source = from.map_or(ptr::null(), |path| path.as_ptr());
    // SAFETY: paths are live zero-terminated texts or absent; a bind mount has neither kind nor data.
    let result = unsafe { libc::mount(source, to.as_ptr(), ptr::null(), flags, ptr::null()) };
    done(result, "mount", target)
}

/// Takes everything off that is mounted at `target` itself, at once even when somebody has files open in it.
/// False when nothing was mounted there, or nothing is there.
pub fn unmount(target: &str) -> Outcome<bool> {
    let to = text("umount2", target)?;
    for taken in 0..MOST_STACKED {
        // SAFETY: the path is a live zero-terminated text.
        let result = unsafe { libc::umount2(to.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
        match done(result, "umount2", target) {
            // EINVAL: no mount point (any more).
            Err(failure) if [libc::EINVAL, libc::ENOENT].contains(&failure.errno) => return Ok(taken > 0),
            outcome => outcome?,
        }
    }
    Err(Failure::new(libc::EBUSY, "umount2", target)
        .with_detail("mounts are made there as fast as they are taken off"))
}

fn text(operation: &'static str, path: &str) -> Outcome<CString> {
    CString::new(path).map_err(|_| Failure::invalid(operation, path, "has a zero byte"))
}

fn done(result: libc::c_int, operation: &'static str, object: &str) -> Outcome<()> {
    if result < 0 {
        return Err(Failure::last(operation, object));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    /// Runs `body` on a thread with a mount namespace of its own, or not at all where that is not allowed.
    fn in_own_namespace(name: &str, body: impl FnOnce(&str, &str) + Send) {
        let folder = std::env::temp_dir().join(format!("nsm-mount-{name}-{}", std::process::id()));
        let (source, target) = (folder.join("source"), folder.join("target"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&target).unwrap();
        fs::write(source.join("file"), "x").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: concerns this thread alone, which ends with the test.
                if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                    return;
                }
                let flags = libc::MS_REC | libc::MS_PRIVATE;
                // SAFETY: as above.
                unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) };
                body(source.to_str().unwrap(), target.to_str().unwrap());
            });
        });
        fs::remove_dir_all(folder).unwrap();
    }

    fn options_of(target: &str) -> String {
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(target)).unwrap_or_default();
        line.split(' ').nth(5).unwrap_or_default().into()
    }

    #[test]
    fn a_folder_is_shown_with_limits_both_ways() {
        for (old_kernel, name) in [(false, "new"), (true, "old")] {
            in_own_namespace(name, |source, target| {
                bind(source, target, old_kernel).unwrap();
                let options = options_of(target);
                for limit in ["ro", "nosuid", "nodev", "noexec"] {
                    assert!(options.split(',').any(|option| option == limit), "{options}");
                }
                assert_eq!(fs::read_to_string(format!("{target}/file")).unwrap(), "x");
                let written = fs::write(format!("{target}/new"), "").unwrap_err();
                assert_eq!(written.raw_os_error(), Some(libc::EROFS));
                fs::write(format!("{source}/later"), "y").unwrap();
                assert_eq!(fs::read_to_string(format!("{target}/later")).unwrap(), "y");
                assert!(unmount(target).unwrap());
                assert_eq!(options_of(target), "");
            });
        }
    }

    #[test]
    fn unmounting_takes_all_off_also_when_in_use() {
        in_own_namespace("busy", |source, target| {
            bind(source, target, false).unwrap();
            bind(source, target, false).unwrap();
            let held = fs::File::open(format!("{target}/file")).unwrap();
            assert!(unmount(target).unwrap());
            assert_eq!(options_of(target), "");
            assert!(!unmount(target).unwrap());
            assert!(!unmount(&format!("{target}/no-such")).unwrap());
            drop(held);
        });
    }

    #[test]
    fn what_is_not_there_is_named() {
        in_own_namespace("absent", |source, target| {
            for old_kernel in [false, true] {
                let failure = bind("/no/such", target, old_kernel).unwrap_err();
                assert_eq!(failure.errno, libc::ENOENT);
                let failure = bind(source, "/no/such", old_kernel).unwrap_err();
                assert_eq!((failure.errno, failure.object.as_str()), (libc::ENOENT, "/no/such"));
            }
            assert_eq!(bind("a\0b", target, false).unwrap_err().errno, libc::EINVAL);
        });
    }
}
