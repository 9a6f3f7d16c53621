//! The I/O shell around [`dtap_tunnel`]: devices, UDP, routes, firewall, and
//! the driver that moves batches between them.
//!
//! This is the only crate that may contain `unsafe`. Every module has the same
//! types on each OS; what differs lies in `x/linux.rs` and `x/macos.rs`.

#![deny(unsafe_op_in_unsafe_fn)]

mod announcements;
#[cfg(target_os = "linux")]
pub mod bridge;
pub mod device;
pub mod driver;
#[cfg(target_os = "linux")]
pub mod firewall;
#[cfg(target_os = "linux")]
pub mod foothold;
pub mod namespace;
#[cfg(target_os = "linux")]
mod netlink;
pub mod router;
pub mod session;
#[cfg(target_os = "linux")]
pub mod stdio;
pub mod thread;
pub mod udp;
