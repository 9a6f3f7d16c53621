//! What a peer is made of, and what is known of it.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;

use crate::key::PublicKey;
use crate::path::{Path, PathPolicy};

/// Names a peer of one [`Tunnel`](crate::Tunnel); never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u32);

impl PeerId {
    pub(crate) const fn from_slot(slot: u32) -> Self {
        Self(slot)
    }
}

/// What a peer is made of.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    pub public_key: PublicKey,
    pub allowed_ips: BTreeSet<IpNet>,
    pub policy: PathPolicy,
    /// Whether this end starts handshakes; only the client does, so that a
    /// restarted server never races it.
    pub initiates: bool,
}

/// What is known of a peer at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStatus {
    /// Where its datagrams are sent.
    pub path: Option<Path>,
    /// Time since the keys in use were agreed.
    pub last_handshake: Option<Duration>,
    /// Bytes of packets, not of datagrams.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

/// What became of a packet that was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Accepted {
    /// It is for the device.
    Packet,
    /// It was some of a frame.
    Frame,
}
