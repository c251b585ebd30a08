//! Kernel settings below /proc/sys/net, of the calling thread's namespace.

use crate::{Failure, Outcome};
use std::io::Write;

const WRITE: &str = "write(/proc/sys)";
/// Containers see /proc/sys read-only; one that may change it has it here, writable.
const WRITABLE: &str = "/host";

/// A setting by its dotted name; a `/` inside a name stands for a dot inside a device name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    pub name: String,
    pub value: String,
    /// One that this kernel has not is then no error.
    pub if_present: bool,
}

pub fn write(wanted: &Sysctl) -> Outcome<()> {
    let path = path_of(&wanted.name)?;
    let failed =
        |e: std::io::Error| Failure::new(e.raw_os_error().unwrap_or(libc::EIO), WRITE, &*wanted.name);
    // One write call: the kernel takes the first as the whole value.
    let mut file = match open(&path) {
        Err(e) if wanted.if_present && e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    file.write(wanted.value.as_bytes()).map(|_| ()).map_err(failed)
}

fn open(path: &str) -> std::io::Result<std::fs::File> {
    let mut writing = std::fs::OpenOptions::new();
    writing.write(true);
    let read_only = match writing.open(path) {
        Err(e) if e.raw_os_error() == Some(libc::EROFS) => e,
        opened => return opened,
    };
    match writing.open(format!("{WRITABLE}{path}")) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Err(read_only),
        opened => opened,
    }
}

fn path_of(name: &str) -> Outcome<String> {
    let refuse = |detail| Err(Failure::invalid(WRITE, name.chars().take(64).collect::<String>(), detail));
    if !name.starts_with("net.") || name.len() > 128 {
        return refuse("is not a setting below net.");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._/-@:".contains(c);
    if !name.chars().all(allowed) {
        return refuse("has a character that no setting has");
    }
    let parts: Vec<String> = name.split('.').map(|part| part.replace('/', ".")).collect();
    if parts.iter().any(|part| part.is_empty() || part.chars().all(|c| c == '.')) {
        return refuse("has an empty part");
    }
    Ok(format!("/proc/sys/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_below_net_only() {
        assert_eq!(
            path_of("net.ipv6.conf.nsm-1.disable_ipv6").unwrap(),
            "/proc/sys/net/ipv6/conf/nsm-1/disable_ipv6"
        );
        assert_eq!(
            path_of("net.ipv4.conf.eth0/1.rp_filter").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"
        );
        for bad in [
            "kernel.hostname",
            "net",
            "net.",
            "net.//.x",
            "net./.x",
            "net..x",
            "net.a b",
            "net.\0",
            "net.x\n",
        ] {
            assert_eq!(path_of(bad).unwrap_err().errno, libc::EINVAL, "{bad:?}");
        }
        let absent = |if_present| Sysctl { name: "net.no.such".into(), value: "1".into(), if_present };
        assert_eq!(write(&absent(false)).unwrap_err().errno, libc::ENOENT);
        write(&absent(true)).unwrap();
        assert!(path_of(&format!("net.{}", "x".repeat(200))).is_err());
    }
}
