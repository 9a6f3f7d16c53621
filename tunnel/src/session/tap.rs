//! What a plan asks of the server beside attachments: taps, by which the host is in
//! a network's Ethernet.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};

use crate::hardware::HardwareAddress;
use crate::tap::TapEnds;

/// A network that the host is a part of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tap {
    /// The network's ID, by which a [`Problem`](super::Problem) names it.
    pub id: String,
    /// The network's name, for messages to people.
    pub network: String,
    /// The bridge it becomes a port of; none for a NIC that is the parent of other interfaces.
    pub bridge: Option<String>,
    pub carrier: Carrier,
}

/// What carries frames between the host and the bridge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Carrier {
    /// The tunnel. The number tells a client's taps apart.
    Tunnel { number: u16 },
    /// A NIC that HyperKit has given the machine.
    Nic { address: HardwareAddress },
    /// Something a newer version knows.
    #[serde(other)]
    Unknown,
}

/// The ends, as the server sees them, of the packets that carry the frames of a client's tap of this number; `tunnel` is
/// that client's IPv6 prefix.
pub fn tap_ends(tunnel: Ipv6Net, number: u16) -> TapEnds {
    let numbered = |end: u16| {
        let within = u128::from(end) << 16 | u128::from(number);
        Ipv6Addr::from(u128::from(tunnel.network()) | within)
    };
    TapEnds {
        local: numbered(SERVER),
        remote: numbered(HOST),
    }
}

/// Above all addresses of interfaces.
const SERVER: u16 = 0xd7a0;
const HOST: u16 = 0xd7a1;
