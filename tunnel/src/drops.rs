//! Why packets and datagrams were dropped, and how many.

use std::collections::BTreeMap;

/// The reason a packet or datagram went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drop {
    /// Not an IPv4 or IPv6 packet, or its length field lies.
    MalformedPacket,
    /// Not a WireGuard message.
    MalformedDatagram,
    /// No peer's allowed IPs hold the destination.
    NoPeer,
    /// No peer has this receiver index or this public key.
    UnknownPeer,
    /// The seal, the handshake or the replay window refused it.
    NotAuthentic,
    /// The inner source address is not among the sender's allowed IPs.
    SourceNotAllowed,
    /// Its IP header is cut short, so that no other address can be given to it.
    Untranslatable,
    /// There is no path to the peer at the moment.
    NoPath,
    /// The queue that holds packets while the path changes is full.
    QueueFull,
    /// A frame or packet of a tap that there is not, or not for this peer.
    NoTap,
    /// Not a frame, too long a one, or none behind an EtherIP header.
    MalformedFrame,
    /// No part of a frame, wherever it is to be.
    MalformedFragment,
    /// It overlaps others of its frame, or there are too many of them.
    OverlappingFragment,
    /// Other fragments of a frame did not come in time.
    Unassembled,
    /// A frame that went round a ring, or came by a tap that closes one.
    Looped,
    /// More frames to groups than a tap may send.
    Flood,
    /// More stations behind a tap than there may be.
    TooManyStations,
    /// There are no keys, and this side must not start a handshake.
    NoKeys,
}

/// A counter for each [`Drop`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<Drop, u64>);

impl Drops {
    /// Counts one drop and traces it.
    pub fn count(&mut self, reason: Drop) {
        tracing::trace!(?reason, "drop");
        *self.0.entry(reason).or_default() += 1;
    }

    /// How often something was dropped for `reason`.
    pub fn of(&self, reason: Drop) -> u64 {
        self.0.get(&reason).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
