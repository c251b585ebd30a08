//! What a descriptor is, without opening or acting on what it stands for.

use crate::netns::{namespace_type, reopen, Netns};
use crate::{Failure, Outcome};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

const NSFS_MAGIC: i64 = 0x6e73_6673;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    pub dev: u64,
    pub inode: u64,
    /// `netns`, `namespace`, `socket`, `fifo`, `file`, `directory` or `other`.
    pub kind: &'static str,
    pub is_own_netns: bool,
    pub is_path_only: bool,
}

pub fn describe(fd: RawFd) -> Outcome<Description> {
    let stat = stat_of(fd)?;
    let is_path_only = is_path_only(fd)?;
    let kind = if on_nsfs(fd)? { namespace_kind(fd, is_path_only)? } else { file_kind(stat.st_mode) };
    let is_own_netns = kind == "netns" && Netns::current()?.key()? == (stat.st_dev, stat.st_ino);
    Ok(Description { dev: stat.st_dev, inode: stat.st_ino, kind, is_own_netns, is_path_only })
}

pub fn stat_of(fd: RawFd) -> Outcome<libc::stat> {
    // SAFETY: an all-zero stat is valid, and the kernel fills it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    match unsafe { libc::fstat(fd, &mut stat) } {
        0 => Ok(stat),
        _ => Err(Failure::last("fstat", format!("descriptor {fd}"))),
    }
}

/// Whether `fd` lies on the kernel's namespace file system; O_PATH descriptors too.
pub fn on_nsfs(fd: RawFd) -> Outcome<bool> {
    // SAFETY: an all-zero statfs is valid, and the kernel fills it.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    match unsafe { libc::fstatfs(fd, &mut info) } {
        0 => Ok(info.f_type == NSFS_MAGIC),
        _ => Err(Failure::last("fstatfs", format!("descriptor {fd}"))),
    }
}

pub fn is_path_only(fd: RawFd) -> Outcome<bool> {
    // SAFETY: plain integers.
    match unsafe { libc::fcntl(fd, libc::F_GETFL) } {
        -1 => Err(Failure::last("fcntl(F_GETFL)", format!("descriptor {fd}"))),
        flags => Ok(flags & libc::O_PATH != 0),
    }
}

fn namespace_kind(fd: RawFd, is_path_only: bool) -> Outcome<&'static str> {
    let kind = if is_path_only {
        namespace_type(&reopen(fd)?)
    } else {
        // SAFETY: `fd` was just seen open by fstat, and is only looked at during this call.
        namespace_type(&unsafe { BorrowedFd::borrow_raw(fd) }.as_raw_fd())
    };
    Ok(if kind == Some(libc::CLONE_NEWNET) { "netns" } else { "namespace" })
}

fn file_kind(mode: libc::mode_t) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFSOCK => "socket",
        libc::S_IFIFO => "fifo",
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::open_path;

    #[test]
    fn tells_namespaces_from_files() {
        let own = Netns::current().unwrap();
        let seen = describe(own.raw()).unwrap();
        assert_eq!((seen.kind, seen.is_own_netns, seen.is_path_only), ("netns", true, false));
        let path = open_path(c"/proc/thread-self/ns/net", libc::O_PATH).unwrap();
        let seen = describe(path.as_raw_fd()).unwrap();
        assert_eq!((seen.kind, seen.is_own_netns, seen.is_path_only), ("netns", true, true));
        let mount = open_path(c"/proc/thread-self/ns/mnt", libc::O_PATH).unwrap();
        assert_eq!(describe(mount.as_raw_fd()).unwrap().kind, "namespace");
        let root = open_path(c"/", libc::O_RDONLY).unwrap();
        assert_eq!(describe(root.as_raw_fd()).unwrap().kind, "directory");
        assert_eq!(describe(-1).unwrap_err().errno, libc::EBADF);
    }

    #[test]
    fn only_network_namespaces_are_acquired() {
        let path = open_path(c"/proc/thread-self/ns/net", libc::O_PATH).unwrap();
        let own = Netns::acquire(path.as_raw_fd()).unwrap();
        assert_eq!(own.key().unwrap(), Netns::current().unwrap().key().unwrap());
        let mount = open_path(c"/proc/thread-self/ns/mnt", libc::O_RDONLY).unwrap();
        assert!(Netns::acquire(mount.as_raw_fd())
            .err()
            .unwrap()
            .to_string()
            .contains("not a network namespace"));
        let file = open_path(c"/proc/self/status", libc::O_RDONLY).unwrap();
        assert_eq!(Netns::acquire(file.as_raw_fd()).err().unwrap().errno, libc::EINVAL);
    }
}
