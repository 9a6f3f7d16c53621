use std::hash::Hash;

use super::Merge;
use super::protocol::{
    ACK, Family, PSH, Protocol, TCP_FLAGS, TCP_HEADER, TCP_OFFSET, UDP_CHECKSUM, UDP_HEADER,
    UDP_LENGTH, V4_DONT_FRAGMENT, V4_FRAGMENT, V4_LENGTH, V4_PROTOCOL, V6_LENGTH, V6_NEXT_HEADER,
    get,
};
use crate::checksum::{fold, sum};

/// What packets of one flow share, but for the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) family: Family,
    pub(super) protocol: Protocol,
    ports: [u8; 4],
}

/// What of a packet matters when it is merged. All in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Of all headers together.
    pub(super) headers: u16,
    pub(super) payload: u16,
    /// Nothing comes after it in a super-packet.
    pub(super) is_last: bool,
}

impl Flow {
    /// `None` for a packet that is not plainly one of TCP or UDP: a fragment,
    /// one with IP options or extension headers, or one of another length than
    /// it says.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let flow = Self::of_head(packet)?;
        let length = match flow.family {
            Family::V4 => get(packet, V4_LENGTH).into(),
            Family::V6 => {
                usize::from(get(packet, V6_LENGTH)) + usize::from(flow.family.header_length())
            }
        };
        (length == packet.len()).then_some(flow)
    }

    /// The same, but of a packet that may be cut short.
    fn of_head(packet: &[u8]) -> Option<Self> {
        let family = Family::of(packet)?;
        let ports = *packet.get(family.header_length().into()..)?.first_chunk()?;
        let number = match family {
            Family::V4 => {
                let is_plain =
                    packet[0] == 0x45 && get(packet, V4_FRAGMENT) & !V4_DONT_FRAGMENT == 0;
                is_plain.then_some(packet[V4_PROTOCOL])?
            }
            Family::V6 => packet[V6_NEXT_HEADER],
        };
        Some(Self {
            family,
            protocol: Protocol::of(number)?,
            ports,
        })
    }

    /// `None` if this packet of the flow is written alone.
    pub(super) fn segment(self, packet: &[u8], merge: Merge) -> Option<Segment> {
        let start = usize::from(self.family.header_length());
        let transport = &packet[start..];
        let length = match (self.protocol, merge) {
            (Protocol::Tcp, Merge::Tcp | Merge::TcpAndUdp) => tcp_header(transport)?,
            (Protocol::Udp, Merge::TcpAndUdp) => udp_header(transport)?,
            (_, Merge::Nothing) | (Protocol::Udp, Merge::Tcp) => return None,
        };
        let payload = transport.len().checked_sub(length).filter(|&n| n > 0)?;
        Some(Segment {
            headers: u16::try_from(start + length).ok()?,
            payload: u16::try_from(payload).ok()?,
            is_last: self.protocol == Protocol::Tcp && transport[TCP_FLAGS] & PSH != 0,
        })
    }

    /// Whether all checksums are right. In a super-packet the kernel trusts.
    pub(super) fn is_intact(self, packet: &[u8]) -> bool {
        let (network, transport) = packet.split_at(self.family.header_length().into());
        let Ok(length) = u16::try_from(transport.len()) else {
            return false;
        };
        let pseudo_header = self.family.pseudo_header(network, self.protocol, length);
        (self.family == Family::V6 || sum(network) == 0xffff)
            && fold(u64::from(pseudo_header) + u64::from(sum(transport))) == 0xffff
    }
}

/// What packets that must keep their order have in common: the addresses, and
/// the ports if they are plain to see. The head of a packet is enough.
pub(crate) fn flow_of(packet: &[u8]) -> impl Hash + use<'_> {
    let ports = Flow::of_head(packet).map(|flow| flow.ports);
    (addresses(packet), ports)
}

/// The two addresses; `None` if it is no IP packet.
pub(super) fn addresses(packet: &[u8]) -> Option<&[u8]> {
    packet.get(Family::of(packet)?.addresses())
}

/// Its length in bytes, if it tells of nothing but data.
fn tcp_header(transport: &[u8]) -> Option<usize> {
    let fixed: &[u8; TCP_HEADER] = transport.first_chunk()?;
    let length = usize::from(fixed[TCP_OFFSET] >> 4) * 4;
    let is_data =
        length >= TCP_HEADER && fixed[TCP_OFFSET] & 0x0f == 0 && fixed[TCP_FLAGS] & !PSH == ACK;
    is_data.then_some(length)
}

fn udp_header(transport: &[u8]) -> Option<usize> {
    let fixed: &[u8; UDP_HEADER] = transport.first_chunk()?;
    let is_whole = usize::from(get(fixed, UDP_LENGTH)) == transport.len();
    // As the kernel's udp_gro_receive: a segment has a checksum.
    (is_whole && get(fixed, UDP_CHECKSUM) != 0).then_some(UDP_HEADER)
}
