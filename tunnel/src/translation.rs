//! Other addresses for packets: a peer's prefix, taken on this end, is reached
//! under another.
//!
//! ```text
//!              to 10.254.0.2              to 172.18.0.2
//!   this end  ───────────────▶ outbound ───────────────▶  the peer
//!             ◀─────────────── inbound  ◀───────────────
//!             from 10.254.0.2             from 172.18.0.2
//! ```
//!
//! One to one and without state: each host keeps its offset in the prefix, and
//! what must be known is in the packet. Checksums are carried along by the
//! difference (RFC 1624), so that a wrong one stays wrong. An ICMP error
//! quotes a packet that went the other way, so there the other address is
//! translated (RFC 7915, §4.2). The gateway of a redirect is left alone: there
//! is no next hop inside a tunnel.
//!
//! Checksums are taken to be complete. A partial one (`VIRTIO_NET_HDR_F_NEEDS_CSUM`:
//! the plain sum of the pseudo header) is not complemented and moves the other
//! way, by [`checksum::Difference::of_sum`]; offloads complete it before a
//! packet gets here.

mod checksum;
mod layout;
mod pairs;

use std::net::IpAddr;

use checksum::Difference;
use layout::{Checksum, Extent, Family, Layout};
pub(crate) use pairs::Pairs;

use crate::drops::Drop;

/// Which way a packet goes through the translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From this end to the peer: its destination is translated.
    Outbound,
    /// From the peer to this end: its source is translated.
    Inbound,
}

/// One of the two addresses in an IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Source,
    Destination,
}

/// Gives the packet the address that `other` knows for its own, if any.
///
/// # Errors
/// When its IP header is not whole; nothing is changed then.
pub(crate) fn translate(
    packet: &mut [u8],
    direction: Direction,
    other: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Result<(), Drop> {
    let layout = Layout::of(packet, Extent::Whole).ok_or(Drop::Untranslatable)?;
    let packet = &mut packet[..layout.end];
    let (own, quoted) = match direction {
        Direction::Outbound => (Field::Destination, Field::Source),
        Direction::Inbound => (Field::Source, Field::Destination),
    };
    if let Some(error) = layout.icmp_error(packet) {
        let change = translate_header(&mut packet[error.quote..], quoted, &other);
        checksum::adjust(packet, error.checksum, Checksum::Always, change);
    }
    translate_header(packet, own, &other);
    Ok(())
}

/// Translates one header and what its transport covers of it; returns by how
/// much the sum over the packet's bytes changed.
fn translate_header(
    packet: &mut [u8],
    field: Field,
    other: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Difference {
    let mut change = Difference::default();
    let Some(layout) = Layout::of(packet, Extent::Quote) else {
        return change;
    };
    let Some(to) = other(layout.address(packet, field)) else {
        return change;
    };
    let moved = layout.replace(packet, field, to);
    change += moved;
    if layout.family == Family::V4 {
        change += checksum::adjust(packet, layout::V4_CHECKSUM, Checksum::Always, moved);
    }
    if let Some((at, kind)) = layout.transport_checksum(packet)
        && (field == Field::Source || layout.is_final)
    {
        change += checksum::adjust(packet, at, kind, moved);
    }
    change
}

#[cfg(test)]
mod tests;
