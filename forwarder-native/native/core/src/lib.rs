//! rtnetlink, network namespaces, unix sockets that carry descriptors and echo sockets, on libc alone.
//!
//! Nothing here keeps a descriptor of a foreign namespace, or a socket opened inside one, beyond the call it serves:
//! a held one keeps a dead pod's interfaces up.

pub mod decode;
pub mod delete;
pub mod describe;
pub mod encode;
pub mod error;
pub mod fib_rule;
pub mod message;
pub mod mount;
pub mod netns;
pub mod peer;
pub mod ping;
pub mod pool;
pub mod rtnetlink;
pub mod state;
pub mod sysctl;
pub mod unix;
pub mod wiring;

pub use error::{Failure, Outcome};
