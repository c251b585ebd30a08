//! How results and promises reach JavaScript.

use crate::objects::Refusal;
use napi::bindgen_prelude::{Either, Object, ToNapiValue};
use napi::Env;
use nsm_native_core::pool::Pool;
use nsm_native_core::{Failure, Outcome};
use std::sync::LazyLock;
use std::time::Duration;

/// How long a thread waits for more work before it ends.
pub const LINGER: Duration = Duration::from_secs(10);

/// Everything but deletions: calls that block for less than a millisecond.
static WIRING: LazyLock<Pool> = LazyLock::new(|| Pool::new("nsm-wiring", 4, LINGER));

/// A value, or why there is none.
pub type Answer<T> = Either<T, Refusal>;

pub fn answer<T>(outcome: Outcome<T>) -> Answer<T> {
    match outcome {
        Ok(value) => Either::A(value),
        Err(failure) => Either::B(failure.into()),
    }
}

/// A promise, and what settles it from any thread; it is settled even when that is dropped unused.
pub fn promise<'e, T: ToNapiValue + Send + 'static>(
    env: &'e Env,
) -> napi::Result<(impl FnOnce(Outcome<T>) + Send + 'static, Object<'e>)> {
    let (deferred, object) =
        env.create_deferred::<Answer<T>, Box<dyn FnOnce(Env) -> napi::Result<Answer<T>>>>()?;
    let settle = Settle(Some(Box::new(move |outcome| deferred.resolve(Box::new(|_| Ok(answer(outcome)))))));
    Ok((move |outcome| settle.with(outcome), object))
}

type Settler<T> = Box<dyn FnOnce(Outcome<T>) + Send>;

struct Settle<T>(Option<Settler<T>>);

impl<T> Settle<T> {
    fn with(mut self, outcome: Outcome<T>) {
        if let Some(settle) = self.0.take() {
            settle(outcome);
        }
    }
}

impl<T> Drop for Settle<T> {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle(Err(Failure::new(libc::EIO, "thread", "addon").with_detail("ended before its work did")));
        }
    }
}

/// Runs `job` on a wiring thread; its answer settles the promise.
pub fn on_wiring_thread<T: ToNapiValue + Send + 'static>(
    env: &Env,
    job: impl FnOnce() -> Outcome<T> + Send + 'static,
) -> napi::Result<Object<'_>> {
    let (settle, object) = promise(env)?;
    // A refused job settles the promise by being dropped.
    let _ = WIRING.run(move || settle(job()));
    Ok(object)
}
