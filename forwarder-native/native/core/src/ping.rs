//! ICMP and ICMPv6 echo over datagram sockets, which need no privilege where `net.ipv4.ping_group_range` allows.

use crate::netns::own;
use crate::{Failure, Outcome};
use std::mem::{size_of, zeroed};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
const REPLIES: [u8; 2] = [0, 129];

/// Sends one echo request that carries `mark`, from a new non-blocking socket.
pub fn send(source: &str, destination: &str, mark: u64) -> Outcome<OwnedFd> {
    let object = format!("{destination} from {source}");
    let parsed = source.parse().ok().zip(destination.parse().ok());
    let Some((from, to)) = parsed.filter(|(a, b): &(IpAddr, IpAddr)| a.is_ipv4() == b.is_ipv4()) else {
        return Err(Failure::invalid("ping", object, "are not two IP addresses of one family"));
    };
    let (family, protocol, echo) = match from {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, ECHO_V4),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, ECHO_V6),
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain integers.
    let socket =
        own(unsafe { libc::socket(family, kind, protocol) }, "socket(IPPROTO_ICMP)", || object.clone())?;
    with_address(from, |address, length| {
        // SAFETY: the address lives through the call and its length is right.
        unsafe { libc::bind(socket.as_raw_fd(), address, length) }
    })
    .map_err(|e| e("bind", &object))?;
    with_address(to, |address, length| {
        // SAFETY: as above.
        unsafe { libc::connect(socket.as_raw_fd(), address, length) }
    })
    .map_err(|e| e("connect", &object))?;
    let mut packet = [0_u8; 16];
    packet[0] = echo;
    packet[8..].copy_from_slice(&mark.to_ne_bytes());
    // SAFETY: pointer and length describe one live array.
    match unsafe { libc::send(socket.as_raw_fd(), packet.as_ptr().cast(), packet.len(), libc::MSG_DONTWAIT) }
    {
        -1 => Err(Failure::last("send", object)),
        _ => Ok(socket),
    }
}

/// Whether the reply with this mark is there now.
pub fn replied(socket: RawFd, mark: u64) -> Outcome<bool> {
    let mut packet = [0_u8; 128];
    loop {
        // SAFETY: pointer and length describe one live array.
        let length =
            unsafe { libc::recv(socket, packet.as_mut_ptr().cast(), packet.len(), libc::MSG_DONTWAIT) };
        match usize::try_from(length) {
            Ok(16) if REPLIES.contains(&packet[0]) && packet[8..16] == mark.to_ne_bytes() => return Ok(true),
            Ok(_) => {}
            Err(_) => {
                let failure = Failure::last("recv", format!("descriptor {socket}"));
                match failure.errno {
                    libc::EINTR => {}
                    libc::EAGAIN => return Ok(false),
                    _ => return Err(failure),
                }
            }
        }
    }
}

type Explain = fn(&'static str, &str) -> Failure;

fn with_address(ip: IpAddr, call: impl FnOnce(*const libc::sockaddr, u32) -> i32) -> Result<(), Explain> {
    // SAFETY: all-zero socket addresses are valid.
    let result = match ip {
        IpAddr::V4(ip) => {
            let mut address: libc::sockaddr_in = unsafe { zeroed() };
            address.sin_family = libc::AF_INET as u16;
            address.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            call((&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32)
        }
        IpAddr::V6(ip) => {
            let mut address: libc::sockaddr_in6 = unsafe { zeroed() };
            address.sin6_family = libc::AF_INET6 as u16;
            address.sin6_addr.s6_addr = ip.octets();
            call((&raw const address).cast(), size_of::<libc::sockaddr_in6>() as u32)
        }
    };
    if result == 0 {
        Ok(())
    } else {
        Err(|operation, object| Failure::last(operation, object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_or_broken_addresses_are_refused() {
        for (from, to) in [("127.0.0.1", "::1"), ("x", "127.0.0.1"), ("127.0.0.1", "127.0.0.1/8")] {
            assert_eq!(send(from, to, 1).unwrap_err().errno, libc::EINVAL);
        }
    }
}
