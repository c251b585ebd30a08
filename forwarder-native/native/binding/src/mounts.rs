//! Folders shown at a second place.

use crate::work::on_wiring_thread;
use napi::bindgen_prelude::Object;
use napi::Env;
use napi_derive::napi;
use nsm_native_core::mount;

/// `kernel`: 0 = as it is, 1 = as before 5.12.
#[napi(catch_unwind)]
pub fn bind_mount(env: &Env, source: String, target: String, kernel: u32) -> napi::Result<Object<'_>> {
    on_wiring_thread(env, move || mount::bind(&source, &target, kernel > 0).map(|()| true))
}

#[napi(catch_unwind)]
pub fn unmount(env: &Env, target: String) -> napi::Result<Object<'_>> {
    on_wiring_thread(env, move || mount::unmount(&target))
}
