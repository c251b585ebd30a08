//! Unix sockets and echo sockets. All of it non-blocking, called on the event loop.

use crate::work::{answer, Answer};
use napi::bindgen_prelude::{Buffer, Int32ArraySlice, Uint8ArraySlice};
use napi_derive::napi;
use nsm_native_core::unix::DESCRIPTORS;
use nsm_native_core::{ping, unix, Failure};
use std::os::fd::IntoRawFd;

#[napi(catch_unwind)]
pub fn connect_unix(path: String) -> Answer<i32> {
    answer(unix::connect(&path).map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind)]
pub fn listen_unix(path: String, mode: u32, backlog: i32) -> Answer<i32> {
    answer(unix::listen(&path, mode, backlog).map(IntoRawFd::into_raw_fd))
}

/// −1 when nobody waits.
#[napi(catch_unwind)]
pub fn accept_unix(listener: i32) -> Answer<i32> {
    answer(unix::accept(listener).map(|found| found.map_or(-1, IntoRawFd::into_raw_fd)))
}

/// Bytes received, 0 at the end, −1 when there is nothing yet. Descriptors land in `found`, which has room for 64;
/// after them their count, and 1 when some were lost.
#[napi(catch_unwind)]
pub fn receive(socket: i32, mut buffer: Buffer, mut found: Int32ArraySlice<'_>) -> Answer<i32> {
    // SAFETY: JavaScript hands both over for this call alone, on its own thread.
    let slots = unsafe { found.as_mut() };
    if slots.len() < DESCRIPTORS + 2 {
        return answer(Err(Failure::invalid("recvmsg", "found", "has no room for 64 descriptors")));
    }
    slots[DESCRIPTORS] = 0;
    slots[DESCRIPTORS + 1] = 0;
    let read = match unix::receive(socket, &mut buffer) {
        Ok(read) => read,
        Err(failure) if failure.errno == libc::EAGAIN => return answer(Ok(-1)),
        Err(failure) => return answer(Err(failure)),
    };
    slots[DESCRIPTORS] = read.descriptors.len().min(DESCRIPTORS) as i32;
    slots[DESCRIPTORS + 1] = read.truncated.into();
    for (slot, fd) in slots.iter_mut().zip(read.descriptors).take(DESCRIPTORS) {
        *slot = fd.into_raw_fd();
    }
    answer(Ok(read.bytes as i32))
}

/// Bytes sent, −1 when nothing fits now. With a descriptor, which is −1 for none, at most one byte goes.
#[napi(catch_unwind)]
pub fn send(socket: i32, bytes: Uint8ArraySlice<'_>, from: u32, descriptor: i32) -> Answer<i32> {
    let rest = bytes.get(from as usize..).unwrap_or_default();
    let sent = if descriptor < 0 {
        unix::send(socket, rest, None)
    } else {
        unix::send(socket, rest.get(..1).unwrap_or_default(), Some(descriptor))
    };
    match sent {
        Err(failure) if failure.errno == libc::EAGAIN => answer(Ok(-1)),
        other => answer(other.map(|n| n as i32)),
    }
}

#[napi(catch_unwind)]
pub fn shutdown_write(socket: i32) -> Answer<bool> {
    answer(unix::shutdown_write(socket).map(|()| true))
}

/// Sends an echo request; answers the socket that its reply comes to.
#[napi(catch_unwind)]
pub fn ping_send(source: String, destination: String, mark: f64) -> Answer<i32> {
    answer(ping::send(&source, &destination, mark.to_bits()).map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind)]
pub fn ping_replied(socket: i32, mark: f64) -> Answer<bool> {
    answer(ping::replied(socket, mark.to_bits()))
}
