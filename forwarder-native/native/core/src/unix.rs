//! Unix stream sockets that carry descriptors beside their bytes. Everything here answers at once, or says EAGAIN.

use crate::netns::{open_path, own};
use crate::{Failure, Outcome};
use std::ffi::CString;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Descriptors that one recvmsg has room for; the kernel closes the surplus.
pub const DESCRIPTORS: usize = 64;
const CONTROL: usize = 2 * DESCRIPTORS * size_of::<RawFd>();

/// What one recvmsg brought; no bytes is the end of the stream.
#[derive(Debug)]
pub struct Read {
    pub bytes: usize,
    pub descriptors: Vec<OwnedFd>,
    /// More descriptors came than there was room or there were free numbers for; they are closed.
    pub truncated: bool,
}

/// A non-blocking socket, connected. EAGAIN when the listener's queue is full: try again later.
pub fn connect(path: &str) -> Outcome<OwnedFd> {
    let socket = new_socket()?;
    let near = Near::of_file(path)?;
    let (address, length) = address("connect", &near.path)?;
    loop {
        // SAFETY: the address lives through the call and its length is right.
        if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } == 0 {
            return Ok(socket);
        }
        let failure = Failure::last("connect", path);
        if failure.errno != libc::EINTR {
            return Err(failure);
        }
    }
}

/// A non-blocking listener. `mode` is in force from the first moment.
pub fn listen(path: &str, mode: u32, backlog: i32) -> Outcome<OwnedFd> {
    let socket = new_socket()?;
    let near = Near::of_new(path)?;
    let (address, length) = address("bind", &near.path)?;
    // SAFETY: plain integers, live address of the right length; `file` ends with a zero byte.
    unsafe {
        // bind takes the mode of the socket's own inode, so there is no moment with a wider one; umask may narrow it.
        if libc::fchmod(socket.as_raw_fd(), mode) != 0 {
            return Err(Failure::last("fchmod", path));
        }
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) != 0 {
            return Err(Failure::last("bind", path));
        }
        let file = CString::new(near.path.as_str()).unwrap_or_default();
        if libc::chmod(file.as_ptr(), mode) != 0 {
            return Err(Failure::last("chmod", path));
        }
        if libc::listen(socket.as_raw_fd(), backlog) != 0 {
            return Err(Failure::last("listen", path));
        }
    }
    Ok(socket)
}

/// The next connection, non-blocking; none when nobody waits.
pub fn accept(listener: RawFd) -> Outcome<Option<OwnedFd>> {
    loop {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: null addresses are allowed.
        let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        match own(fd, "accept", || format!("descriptor {listener}")) {
            Ok(connection) => return Ok(Some(connection)),
            Err(failure) if failure.errno == libc::EAGAIN => return Ok(None),
            Err(failure) if [libc::EINTR, libc::ECONNABORTED].contains(&failure.errno) => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Bytes, and the descriptors that rode on them. EAGAIN when there is nothing yet.
pub fn receive(socket: RawFd, buffer: &mut [u8]) -> Outcome<Read> {
    let mut control = [0_u64; CONTROL / 8];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid; it is pointed at live memory of the lengths given.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: plain arithmetic.
    header.msg_controllen = unsafe { libc::CMSG_SPACE((DESCRIPTORS * size_of::<RawFd>()) as u32) } as usize;
    loop {
        // SAFETY: the header describes live memory.
        let length =
            unsafe { libc::recvmsg(socket, &mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
        match usize::try_from(length) {
            Ok(bytes) => {
                let descriptors = descriptors_of(&header);
                return Ok(Read { bytes, descriptors, truncated: header.msg_flags & libc::MSG_CTRUNC != 0 });
            }
            Err(_) => {
                let failure = Failure::last("recvmsg", format!("descriptor {socket}"));
                if failure.errno != libc::EINTR {
                    return Err(failure);
                }
            }
        }
    }
}

/// Owns every descriptor of the control messages, whatever else is there.
fn descriptors_of(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: the kernel just filled the control buffer; the macros stay inside its length.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            if ((*at).cmsg_level, (*at).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let bytes = (*at).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(at).cast::<RawFd>();
                for n in 0..bytes / size_of::<RawFd>() {
                    found.push(OwnedFd::from_raw_fd(data.add(n).read_unaligned()));
                }
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
    found
}

/// Sends what fits, with one descriptor on it when there is one. EAGAIN when nothing fits.
pub fn send(socket: RawFd, bytes: &[u8], descriptor: Option<RawFd>) -> Outcome<usize> {
    let mut control = [0_u64; 4];
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is valid; it is pointed at live memory of the lengths given, which sendmsg only reads.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    if let Some(fd) = descriptor {
        header.msg_control = control.as_mut_ptr().cast();
        // SAFETY: the control buffer has room for one descriptor, and is aligned for its header.
        unsafe {
            header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
            let first = libc::CMSG_FIRSTHDR(&header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
            libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(fd);
        }
    }
    loop {
        // SAFETY: the header describes live memory.
        let length = unsafe { libc::sendmsg(socket, &header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
        if let Ok(sent) = usize::try_from(length) {
            return Ok(sent);
        }
        let failure = Failure::last("sendmsg", format!("descriptor {socket}"));
        if failure.errno != libc::EINTR {
            return Err(failure);
        }
    }
}

/// No more bytes from this side.
pub fn shutdown_write(socket: RawFd) -> Outcome<()> {
    // SAFETY: plain integers.
    match unsafe { libc::shutdown(socket, libc::SHUT_WR) } {
        0 => Ok(()),
        _ => Err(Failure::last("shutdown", format!("descriptor {socket}"))),
    }
}

fn new_socket() -> Outcome<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain integers.
    own(unsafe { libc::socket(libc::AF_UNIX, kind, 0) }, "socket(AF_UNIX)", || "unix".into())
}

/// A path that fits a socket address, and the descriptor that a shortened one goes through.
struct Near {
    path: String,
    _through: Option<OwnedFd>,
}

const LONGEST: usize = size_of::<libc::sockaddr_un>() - offset_of!(libc::sockaddr_un, sun_path) - 1;

impl Near {
    fn of_file(path: &str) -> Outcome<Near> {
        if path.len() <= LONGEST {
            return Ok(Near { path: path.into(), _through: None });
        }
        let through = open_path(&c_path("connect", Path::new(path))?, libc::O_PATH)?;
        Ok(Near { path: format!("/proc/self/fd/{}", through.as_raw_fd()), _through: Some(through) })
    }

    /// For a file that is not there yet: through its folder.
    fn of_new(path: &str) -> Outcome<Near> {
        if path.len() <= LONGEST {
            return Ok(Near { path: path.into(), _through: None });
        }
        let file = Path::new(path);
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(Failure::invalid("bind", path, "has no file name"));
        };
        let through = open_path(&c_path("bind", folder)?, libc::O_PATH | libc::O_DIRECTORY)?;
        let short = format!("/proc/self/fd/{}/{}", through.as_raw_fd(), name.to_string_lossy());
        Ok(Near { path: short, _through: Some(through) })
    }
}

fn c_path(operation: &'static str, path: &Path) -> Outcome<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::invalid(operation, path.to_string_lossy(), "has a zero byte"))
}

fn address(operation: &'static str, path: &str) -> Outcome<(libc::sockaddr_un, u32)> {
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    if path.is_empty() || path.len() > LONGEST || path.contains('\0') {
        return Err(Failure::invalid(operation, path, format!("is no socket path of 1 to {LONGEST} bytes")));
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    Ok((address, (offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::stat_of;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_rides_on_one_byte_and_the_bytes_stay() {
        let (a, b) = UnixStream::pair().unwrap();
        let file = open_path(c"/proc/self/status", libc::O_PATH).unwrap();
        assert_eq!(send(a.as_raw_fd(), b"x", Some(file.as_raw_fd())).unwrap(), 1);
        assert_eq!(send(a.as_raw_fd(), b"yz", None).unwrap(), 2);
        let mut buffer = [0; 16];
        let first = receive(b.as_raw_fd(), &mut buffer).unwrap();
        assert_eq!((first.bytes, first.descriptors.len(), first.truncated), (1, 1, false));
        let (sent, got) =
            (stat_of(file.as_raw_fd()).unwrap(), stat_of(first.descriptors[0].as_raw_fd()).unwrap());
        assert_eq!((sent.st_dev, sent.st_ino), (got.st_dev, got.st_ino));
        assert_eq!(receive(b.as_raw_fd(), &mut buffer).unwrap().bytes, 2);
        assert_eq!(receive(b.as_raw_fd(), &mut buffer).unwrap_err().errno, libc::EAGAIN);
        shutdown_write(a.as_raw_fd()).unwrap();
        assert_eq!(receive(b.as_raw_fd(), &mut buffer).unwrap().bytes, 0);
    }

    #[test]
    fn long_paths_work_and_bad_ones_are_refused() {
        let folder =
            std::env::temp_dir().join(format!("nsm-unix-{}-{}", std::process::id(), "x".repeat(120)));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("s").to_string_lossy().into_owned();
        let listener = listen(&path, 0o600, 4).unwrap();
        let _client = connect(&path).unwrap();
        assert!(accept(listener.as_raw_fd()).unwrap().is_some());
        assert!(accept(listener.as_raw_fd()).unwrap().is_none());
        assert_eq!(listen(&path, 0o600, 4).unwrap_err().errno, libc::EADDRINUSE);
        std::fs::remove_dir_all(&folder).unwrap();
        for bad in ["", "a\0b", "/no/such/socket"] {
            assert!(connect(bad).is_err(), "{bad:?}");
        }
    }
}
