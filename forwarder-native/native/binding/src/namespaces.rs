//! Descriptors, namespaces and what is wired inside them.

use crate::objects::{changes_of, ChangeObject, DescriptorInfo, PeerCredentials, StateObject, VethPair};
use crate::work::{answer, on_wiring_thread, promise, Answer, LINGER};
use napi::bindgen_prelude::Object;
use napi::Env;
use napi_derive::napi;
use nsm_native_core::delete::Deleter;
use nsm_native_core::netns::{self, Netns};
use nsm_native_core::peer::{self, Kernel};
use nsm_native_core::state::Parts;
use nsm_native_core::wiring::{apply, create_bridge, wire, NewEnd};
use nsm_native_core::{describe, state, Failure, Outcome};
use std::ffi::CString;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::LazyLock;

/// Deletions at once; each keeps a thread asleep for 16–20 ms.
static DELETER: LazyLock<Deleter> = LazyLock::new(|| Deleter::new(32, LINGER));

#[napi(catch_unwind)]
pub fn open(path: String, path_only: bool) -> Answer<i32> {
    // Without O_NONBLOCK a FIFO would hold the event loop.
    let flags = if path_only { libc::O_PATH } else { libc::O_RDONLY | libc::O_NONBLOCK };
    let name = CString::new(path.as_str()).map_err(|_| Failure::invalid("open", path, "has a zero byte"));
    answer(name.and_then(|name| netns::open_path(&name, flags)).map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind)]
pub fn close(fd: i32) -> Answer<bool> {
    // SAFETY: the caller gives up the descriptor, as the surface demands.
    answer(match unsafe { libc::close(fd) } {
        0 => Ok(true),
        _ => Err(Failure::last("close", format!("descriptor {fd}"))),
    })
}

#[napi(catch_unwind)]
pub fn duplicate(fd: i32) -> Answer<i32> {
    answer(netns::duplicate(fd).map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind)]
pub fn describe_descriptor(fd: i32) -> Answer<DescriptorInfo> {
    answer(describe::describe(fd).map(Into::into))
}

#[napi(catch_unwind)]
pub fn own_netns() -> Answer<i32> {
    answer(Netns::current().map(|own| own.into_fd().into_raw_fd()))
}

#[napi(catch_unwind)]
pub fn create_netns(env: &Env) -> napi::Result<Object<'_>> {
    on_wiring_thread(env, || netns::create().map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind)]
pub fn peer_credentials(socket: i32) -> Answer<PeerCredentials> {
    answer(peer::credentials(socket).map(|found| PeerCredentials {
        pid: found.pid,
        uid: found.uid,
        gid: found.gid,
    }))
}

/// `kernel`: 0 = as it is, 2 = as before 6.5.
#[napi(catch_unwind)]
pub fn peer_is_alive(socket: i32, kernel: u32) -> Answer<bool> {
    let kernel = if kernel == 0 { Kernel::Present } else { Kernel::Before6_5 };
    answer(peer::is_alive(socket, kernel))
}

/// `kernel`: 0 = as it is, 1 = as before 6.11, 2 = as before 6.5.
#[napi(catch_unwind)]
pub fn peer_netns(env: &Env, socket: i32, kernel: u32) -> napi::Result<Object<'_>> {
    let kernel = match kernel {
        0 => Kernel::Present,
        1 => Kernel::Before6_11,
        _ => Kernel::Before6_5,
    };
    let socket: Outcome<OwnedFd> = netns::duplicate(socket);
    on_wiring_thread(env, move || peer::netns(socket?.as_raw_fd(), kernel).map(IntoRawFd::into_raw_fd))
}

#[napi(catch_unwind, js_name = "createVeth")]
pub fn create_veth_pair(env: &Env, pair: VethPair) -> napi::Result<Object<'_>> {
    let netns = (Netns::acquire(pair.a.netns_fd), Netns::acquire(pair.b.netns_fd));
    let (mtu, group) = (pair.mtu, pair.group);
    let ends = (pair.a.parts(), pair.b.parts());
    on_wiring_thread(env, move || {
        let (a_netns, b_netns) = (netns.0?, netns.1?);
        let ((a_name, a_changes), (b_name, b_changes)) = (ends.0?, ends.1?);
        let a = NewEnd { netns: &a_netns, name: &a_name, changes: &a_changes };
        let b = NewEnd { netns: &b_netns, name: &b_name, changes: &b_changes };
        wire(&a, &b, mtu, group).map(|()| true)
    })
}

#[napi(catch_unwind, js_name = "createBridge")]
pub fn create_bridge_in(env: &Env, netns_fd: i32, name: String) -> napi::Result<Object<'_>> {
    let netns = Netns::acquire(netns_fd);
    on_wiring_thread(env, move || create_bridge(&netns?, &name).map(|()| true))
}

#[napi(catch_unwind, js_name = "apply")]
pub fn apply_changes(env: &Env, netns_fd: i32, changes: Vec<ChangeObject>) -> napi::Result<Object<'_>> {
    let netns = Netns::acquire(netns_fd);
    let changes = changes_of(changes);
    on_wiring_thread(env, move || apply(&netns?, &changes?).map(|()| true))
}

#[napi(catch_unwind)]
pub fn read(env: &Env, netns_fd: i32, parts: Vec<String>) -> napi::Result<Object<'_>> {
    let netns = Netns::acquire(netns_fd);
    let wants = |part: &str| parts.iter().any(|p| p == part);
    let parts = Parts {
        links: wants("links"),
        addresses: wants("addresses"),
        routes: wants("routes"),
        rules: wants("rules"),
        neighbours: wants("neighbours"),
    };
    on_wiring_thread(env, move || state::read(&netns?, parts).map(StateObject::from))
}

#[napi(catch_unwind)]
pub fn delete_links(env: &Env, netns_fd: i32, names: Vec<String>) -> napi::Result<Object<'_>> {
    let (settle, object) = promise::<bool>(env)?;
    match Netns::acquire(netns_fd) {
        Ok(netns) => DELETER.delete(netns, names, Box::new(move |result| settle(result.map(|()| true)))),
        Err(failure) => settle(Err(failure)),
    }
    Ok(object)
}
