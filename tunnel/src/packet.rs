//! The few fields of an IP packet that routing needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The two addresses of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

impl Addresses {
    /// Reads the addresses of an IPv4 (RFC 791) or IPv6 (RFC 8200) packet;
    /// `None` if it is neither, is cut short, or is shorter than it claims.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_v4(packet),
            6 => Self::of_v6(packet),
            _ => None,
        }
    }

    fn of_v4(packet: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let header_length = usize::from(header[0] & 0x0f) * 4;
        if header_length < 20 || total < header_length || packet.len() < total {
            return None;
        }
        let [.., a, b, c, d, e, f, g, h] = *header;
        Some(Self {
            source: Ipv4Addr::new(a, b, c, d).into(),
            destination: Ipv4Addr::new(e, f, g, h).into(),
        })
    }

    fn of_v6(packet: &[u8]) -> Option<Self> {
        let header: &[u8; 40] = packet.first_chunk()?;
        let payload = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if packet.len() < header.len() + payload {
            return None;
        }
        let source: &[u8; 16] = header[8..].first_chunk()?;
        let destination: &[u8; 16] = header[24..].first_chunk()?;
        Some(Self {
            source: Ipv6Addr::from(*source).into(),
            destination: Ipv6Addr::from(*destination).into(),
        })
    }
}
