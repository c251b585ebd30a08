//! A container's root file system: this machine's own, shown through an overlay that keeps what is written apart.

use crate::args::Bind;
use crate::sys::{self, mount};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Error};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Where the new root is put together; hidden from then on together with everything below it.
const STAGE: &str = "/tmp";
/// Made new for each container.
const REPLACED: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// Gives the calling process, alone in a new mount namespace, its root file system.
pub fn build(binds: &[Bind], read_only: bool) -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS, "mnt")?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    // By descriptor, since the stage hides whatever lies below it.
    let sources: Vec<File> = binds.iter().map(|entry| open_path(&entry.source)).collect::<Result<_, _>>()?;
    let others = other_mounts(&fs::read_to_string("/proc/self/mountinfo")?);

    let root = format!("{STAGE}/root");
    let old = format!("{root}/run/old");
    mount("tmpfs", STAGE, "tmpfs", 0, "mode=0755")?;
    for name in ["upper", "work", "root"] {
        fs::create_dir(format!("{STAGE}/{name}"))?;
    }
    let layers = format!("lowerdir=/,upperdir={STAGE}/upper,workdir={STAGE}/work");
    mount("overlay", &root, "overlay", 0, &layers)?;
    for path in &others {
        bind(path, &format!("{root}{path}"), true)?;
    }
    mount("proc", &format!("{root}/proc"), "proc", 0, "")?;
    mount("sysfs", &format!("{root}/sys"), "sysfs", libc::MS_RDONLY, "")?;
    mount("/dev", &format!("{root}/dev"), "", libc::MS_BIND | libc::MS_REC, "")?;
    mount("tmpfs", &format!("{root}/run"), "tmpfs", 0, "mode=0755")?;
    mount("tmpfs", &format!("{root}/tmp"), "tmpfs", 0, "mode=1777")?;
    fs::create_dir(&old)?;
    move_in(&root, &old)?;

    for (entry, source) in binds.iter().zip(&sources) {
        let source = format!("/proc/self/fd/{}", source.as_raw_fd());
        bind(&source, &entry.target, entry.read_only)
            .map_err(|error| Error::new(error.kind(), format!("--bind {}: {error}", entry.target)))?;
    }
    leave("/run/old")?;
    if read_only {
        mount("none", "/", "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "")?;
    }
    Ok(())
}

fn open_path(path: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH);
    options.open(path).map_err(|error| Error::new(error.kind(), format!("--bind {path}: {error}")))
}

fn move_in(root: &str, old: &str) -> io::Result<()> {
    let (root_text, old_text) = (sys::text(root)?, sys::text(old)?);
    let result = unsafe { libc::syscall(libc::SYS_pivot_root, root_text.as_ptr(), old_text.as_ptr()) };
    sys::check(result as libc::c_int, "pivot_root")?;
    std::env::set_current_dir("/")
}

fn leave(old: &str) -> io::Result<()> {
    let old_text = sys::text(old)?;
    sys::check(unsafe { libc::umount2(old_text.as_ptr(), libc::MNT_DETACH) }, &format!("umount {old}"))?;
    fs::remove_dir(old)
}

/// Makes the mount point too: a folder for a folder, an empty file for anything else.
fn bind(source: &str, target: &str, read_only: bool) -> io::Result<()> {
    let target_path = Path::new(target);
    if fs::metadata(source)?.is_dir() {
        fs::create_dir_all(target_path)?;
    } else if !target_path.exists() {
        if let Some(parent) = target_path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(target_path, b"")?;
        fs::set_permissions(target_path, fs::Permissions::from_mode(0o644))?;
    }
    mount(source, target, "", libc::MS_BIND, "")?;
    if read_only {
        mount("none", target, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY, "")?;
    }
    Ok(())
}

/// Mount points of other file systems that hold data, which an overlay of `/` does not show; outermost first.
fn other_mounts(mountinfo: &str) -> Vec<String> {
    let mut found: Vec<String> = mountinfo.lines().filter_map(data_mount).collect();
    found.sort();
    found.dedup();
    found
}

/// Line of /proc/self/mountinfo: fifth field the mount point, after ` - ` the kind.
fn data_mount(line: &str) -> Option<String> {
    let (head, tail) = line.split_once(" - ")?;
    let point = head.split(' ').nth(4)?;
    let kind = tail.split(' ').next()?;
    let under = |top: &str| point == top || point.starts_with(&format!("{top}/"));
    let pseudo = ["autofs", "cgroup", "cgroup2", "proc", "sysfs", "binfmt_misc", "nsfs", "squashfs"];
    // Blanks and the like come escaped; such mount points stay out.
    let usable = point != "/" && !point.contains('\\') && !pseudo.contains(&kind);
    (usable && !REPLACED.iter().any(|top| under(top))).then(|| point.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_mounts_are_found_and_others_left_out() {
        let text = "1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:3 / /proc rw shared:2 - proc proc rw
3 1 254:1 / /home rw - ext4 /dev/vdb rw
4 3 254:2 / /home/a rw - xfs /dev/vdc rw
5 1 0:5 / /run/user/0 rw - tmpfs tmpfs rw
6 1 0:6 / /runner rw - tmpfs tmpfs rw
7 1 0:7 / /mnt/a\\040b rw - ext4 /dev/vdd rw
8 1 7:1 / /snap/x rw - squashfs /dev/loop0 ro
broken line";
        assert_eq!(other_mounts(text), ["/home", "/home/a", "/runner"]);
    }
}
