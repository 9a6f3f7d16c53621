//! The pure half of dtap: WireGuard peers, cryptokey routing, the paths
//! datagrams take, and the messages of the session.
//!
//! Nothing here opens a socket, reads a clock or blocks. Inputs are
//! `handle_*(…, now)`, outputs are collected by [`Tunnel::poll_output`]:
//!
//! ```text
//!            handle_packet                    handle_datagram
//!  device ──────────────────▶ ┌──────────┐ ◀────────────────── udp, session
//!                             │  Tunnel  │ ◀── handle_message ── session
//!  timer ── handle_timeout ─▶ └────┬─────┘
//!                                  ▼ poll_output
//!              packets ▶ device, datagrams ▶ udp or session, messages ▶ session
//! ```
//!
//! Frames of taps go the way of packets: in by [`Tunnel::handle_frame`], and
//! out to their own devices ([`Frames`]).
//!
//! A bad packet is dropped and counted ([`Drops`]); it never is an error that
//! could end a loop. boringtun reads the monotonic clock by itself; the
//! feature `mock-time` puts that clock under the control of tests.

#![forbid(unsafe_code)]

mod allowed_ips;
mod batch;
mod checksum;
mod datagram;
mod drops;
mod frames;
mod hardware;
mod key;
mod lanes;
pub mod offload;
mod packet;
mod path;
mod peer;
pub mod session;
mod source;
mod tap;
mod translation;
mod tunnel;

pub use batch::Batch;
pub use drops::{Drop, Drops};
pub use frames::Frames;
pub use hardware::{HardwareAddress, MalformedHardwareAddress};
pub use key::{KeyError, PrivateKey, PublicKey};
pub use lanes::{Lanes, Ticket};
pub use path::{Path, PathMessage, PathPolicy, Seal};
pub use peer::{PeerConfig, PeerId, PeerStatus};
pub use tap::{SegmentId, TapConfig, TapEnds, TapId};
pub use tunnel::{Output, Source, Tunnel};

#[cfg(test)]
mod tests;
