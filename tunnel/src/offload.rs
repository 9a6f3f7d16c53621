//! Several packets of one flow in one read or write of the device.
//!
//! ```text
//!  device ── read ──▶ Header, super-packet ── segment ──▶ packets ──▶ Tunnel
//!  device ◀─ write ── Header, super-packet ◀─ Coalescer ── packets ◀── Tunnel
//! ```
//!
//! A device with `IFF_VNET_HDR` puts a [`Header`] before what it reads and
//! expects one before what is written. Of a tap device both are Ethernet frames
//! ([`Link`]). Nothing here panics, whatever the bytes.

mod coalesce;
mod flow;
mod group;
mod header;
mod link;
mod protocol;
mod segment;

pub use coalesce::{Coalescer, Merge};
pub(crate) use flow::flow_of;
pub use header::Header;
pub use link::Link;
pub use segment::{Malformed, segment};

#[cfg(test)]
mod tests;
