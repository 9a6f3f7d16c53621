//! IPv4 packets that carry UDP, as far as the gateway must understand them.

use std::net::{Ipv4Addr, SocketAddrV4};

/// What a packet carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddrV4,
    pub(super) to: SocketAddrV4,
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// None for anything but a whole UDP datagram over IPv4.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let (first, protocol) = (*packet.first()?, *packet.get(9)?);
        let fragment = u16_at(packet, 6)? & 0x3fff;
        if first >> 4 != 4 || protocol != UDP || fragment != 0 {
            return None;
        }
        let udp = packet.get(usize::from(first & 0x0f) * 4..)?;
        let length = usize::from(u16_at(udp, 4)?);
        Some(Self {
            from: SocketAddrV4::new(address_at(packet, 12)?, u16_at(udp, 0)?),
            to: SocketAddrV4::new(address_at(packet, 16)?, u16_at(udp, 2)?),
            payload: udp.get(UDP_HEADER..length)?,
        })
    }
}

/// The packet of a datagram. It has no UDP checksum, which IPv4 leaves to the sender; `payload` fits, because it came out
/// of a socket.
pub(super) fn build(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_length = UDP_HEADER + payload.len();
    let mut packet = vec![0; IP_HEADER];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&length_field(IP_HEADER + udp_length));
    packet[8] = 64;
    packet[9] = UDP;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(length_field(udp_length));
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// RFC 1071, of a header whose checksum field is zero.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

fn address_at(bytes: &[u8], offset: usize) -> Option<Ipv4Addr> {
    let field = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from(*field))
}

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 65, 254), 53);
    const TO: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 65, 3), 40_000);

    #[test]
    fn what_was_built_is_parsed_again() {
        let packet = build(FROM, TO, b"answer");
        let expected = Datagram {
            from: FROM,
            to: TO,
            payload: b"answer",
        };
        assert_eq!(Datagram::parse(&packet), Some(expected));
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() {
        let packet = build(FROM, TO, b"answer");
        assert_eq!(checksum(&packet[..IP_HEADER]), 0);
    }

    #[test]
    fn a_fragment_or_a_cut_packet_is_not_a_datagram() {
        let mut fragment = build(FROM, TO, b"answer");
        fragment[6] = 0x20;
        assert_eq!(Datagram::parse(&fragment), None);
        let whole = build(FROM, TO, b"answer");
        for length in 0..whole.len() {
            assert_eq!(Datagram::parse(&whole[..length]), None);
        }
    }
}
