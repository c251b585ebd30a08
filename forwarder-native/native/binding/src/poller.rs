//! Readiness of a descriptor, told by the event loop that runs JavaScript: libuv's uv_poll, which node exports.

use napi::bindgen_prelude::{Env, Function, JsValue};
use napi::{sys, Error};
use napi_derive::napi;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::rc::Rc;

const UV_POLL: c_int = 8;

/// A uv_poll_t, whose size only libuv knows.
type Handle = *mut c_void;
type OnReady = unsafe extern "C" fn(Handle, c_int, c_int);
type OnClosed = unsafe extern "C" fn(Handle);

extern "C" {
    fn uv_handle_size(kind: c_int) -> usize;
    fn uv_handle_set_data(handle: Handle, data: *mut c_void);
    fn uv_handle_get_data(handle: Handle) -> *mut c_void;
    fn uv_poll_init(uv_loop: *mut sys::uv_loop_s, handle: Handle, fd: c_int) -> c_int;
    fn uv_poll_start(handle: Handle, events: c_int, ready: OnReady) -> c_int;
    fn uv_poll_stop(handle: Handle) -> c_int;
    fn uv_close(handle: Handle, closed: OnClosed);
    fn uv_ref(handle: Handle);
    fn uv_unref(handle: Handle);
}

struct State {
    env: sys::napi_env,
    callback: sys::napi_ref,
    handle: Handle,
    closed: Cell<bool>,
}

/// Watches one descriptor. Calls back with the events that are there (1 readable, 2 writable), or a negative libuv error.
#[napi]
pub struct Poller {
    state: Rc<State>,
}

#[napi]
impl Poller {
    #[napi(constructor)]
    pub fn new(env: Env, fd: i32, callback: Function<'_, i32, ()>) -> napi::Result<Poller> {
        let mut uv_loop = null_mut();
        let mut reference = null_mut();
        // SAFETY: out-pointers to live locals; the handle's memory has the size that libuv asks for and lives until on_closed.
        unsafe {
            check(sys::napi_get_uv_event_loop(env.raw(), &mut uv_loop), "event loop")?;
            let handle = libc::calloc(1, uv_handle_size(UV_POLL));
            if handle.is_null() {
                return Err(Error::from_reason("no memory for a uv_poll_t"));
            }
            let failed = uv_poll_init(uv_loop, handle, fd);
            if failed != 0 {
                libc::free(handle);
                return Err(Error::from_reason(format!("descriptor {fd} cannot be polled: {failed}")));
            }
            let status = sys::napi_create_reference(env.raw(), callback.raw(), 1, &mut reference);
            let state =
                Rc::new(State { env: env.raw(), callback: reference, handle, closed: Cell::new(false) });
            let held = Rc::into_raw(Rc::clone(&state));
            uv_handle_set_data(handle, held.cast_mut().cast());
            sys::napi_add_env_cleanup_hook(env.raw(), Some(on_teardown), held.cast_mut().cast());
            let poller = Poller { state };
            check(status, "reference")?;
            Ok(poller)
        }
    }

    /// Watches for these events, 0 for none. Answers 0 or a negative libuv error.
    #[napi]
    pub fn watch(&self, events: i32) -> i32 {
        if self.state.closed.get() {
            return -libc::EBADF;
        }
        // SAFETY: the handle lives, since it was not closed.
        unsafe {
            if events == 0 {
                uv_poll_stop(self.state.handle)
            } else {
                uv_poll_start(self.state.handle, events, on_ready)
            }
        }
    }

    /// Whether the process stays alive for this alone.
    #[napi]
    pub fn keep_alive(&self, wanted: bool) {
        if self.state.closed.get() {
            return;
        }
        // SAFETY: the handle lives, since it was not closed.
        unsafe {
            if wanted {
                uv_ref(self.state.handle);
            } else {
                uv_unref(self.state.handle);
            }
        }
    }

    /// No more calls; the descriptor may be closed at once.
    #[napi]
    pub fn close(&self) {
        if self.state.closed.get() {
            return;
        }
        let held: *mut c_void = Rc::as_ptr(&self.state).cast_mut().cast();
        // SAFETY: hook and reference were made in `new`, and go only once.
        unsafe {
            sys::napi_remove_env_cleanup_hook(self.state.env, Some(on_teardown), held);
            sys::napi_delete_reference(self.state.env, self.state.callback);
            self.state.close();
        }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// SAFETY: on the event loop's thread.
    unsafe fn close(&self) {
        if !self.closed.replace(true) {
            uv_close(self.handle, on_closed);
        }
    }
}

/// The environment ends: libuv must not call into it any more.
unsafe extern "C" fn on_teardown(held: *mut c_void) {
    // SAFETY: the hook is removed before the handle's own count is given back.
    (*held.cast::<State>()).close();
}

unsafe extern "C" fn on_closed(handle: Handle) {
    // SAFETY: the count that `new` gave to the handle; nothing uses the handle after this.
    drop(Rc::from_raw(uv_handle_get_data(handle).cast::<State>()));
    libc::free(handle);
}

unsafe extern "C" fn on_ready(handle: Handle, status: c_int, events: c_int) {
    // SAFETY: the handle has a count of its own until on_closed.
    let state = &*uv_handle_get_data(handle).cast::<State>();
    let env = state.env;
    let mut scope = null_mut();
    if state.closed.get() || sys::napi_open_handle_scope(env, &mut scope) != sys::Status::napi_ok {
        return;
    }
    let (mut callback, mut global, mut argument, mut result) =
        (null_mut(), null_mut(), null_mut(), null_mut());
    sys::napi_get_reference_value(env, state.callback, &mut callback);
    sys::napi_get_global(env, &mut global);
    sys::napi_create_int32(env, if status < 0 { status } else { events }, &mut argument);
    // Runs ticks and microtasks afterwards, as every callback of node's own does.
    sys::napi_make_callback(env, null_mut(), global, callback, 1, &argument, &mut result);
    let mut thrown = false;
    sys::napi_is_exception_pending(env, &mut thrown);
    if thrown {
        sys::napi_get_and_clear_last_exception(env, &mut result);
        sys::napi_fatal_exception(env, result);
    }
    sys::napi_close_handle_scope(env, scope);
}

fn check(status: sys::napi_status, what: &str) -> napi::Result<()> {
    if status == sys::Status::napi_ok {
        Ok(())
    } else {
        Err(Error::from_reason(format!("no {what}: status {status}")))
    }
}
