//! Node-API binding. Thin: values in, values out; a failure is an ordinary value that the TypeScript side throws.

mod mounts;
mod namespaces;
mod objects;
mod poller;
mod sockets;
mod work;
