//! Answers under the address that was asked.
//!
//! A program that listens by UDP on all of a machine's addresses answers from the address of the interface that leads to
//! the asker, which may not be the one it was asked at. Where it is known which one that was, it is put right here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::translation::{Direction, translate};

/// Gives an IPv4 packet of UDP the source that belongs in place of its own, if one does.
pub(crate) fn correct(packet: &mut [u8], sources: &BTreeMap<Ipv4Addr, Ipv4Addr>) {
    if sources.is_empty() || packet.get(PROTOCOL) != Some(&UDP) {
        return;
    }
    let right = |address| match address {
        IpAddr::V4(address) => sources.get(&address).copied().map(IpAddr::from),
        IpAddr::V6(_) => None,
    };
    // One that is malformed goes on as it is: whoever reads it drops it.
    let _ = translate(packet, Direction::Inbound, right);
}

/// Of the IPv4 header; what stands there in one of IPv6 is a part of an address, and no such address has another source.
const PROTOCOL: usize = 9;
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of UDP with right checksums.
    fn packet(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let length = 28 + payload.len() as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, UDP, 0, 0];
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet.extend(source);
        packet.extend([10, 75, 0, 2, 0, 53, 0x30, 0x39]);
        packet.extend((length - 20).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let sum = sum(&packet[..20]);
        packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        let sum = udp_sum(&packet);
        packet[26..28].copy_from_slice(&(!sum).to_be_bytes());
        packet
    }

    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2);
        let words = words.map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn udp_sum(packet: &[u8]) -> u16 {
        let mut covered = packet[12..].to_vec();
        covered.extend([0, UDP]);
        covered.extend(&packet[24..26]);
        if covered.len() % 2 == 1 {
            // The payload's padding comes before the pseudo-header here.
            let at = packet.len() - 12;
            covered.insert(at, 0);
        }
        sum(&covered)
    }

    fn sources() -> BTreeMap<Ipv4Addr, Ipv4Addr> {
        BTreeMap::from([([172, 18, 0, 3].into(), [10, 0, 1, 2].into())])
    }

    fn corrected(packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        correct(&mut packet, &sources());
        packet
    }

    #[test]
    fn an_answer_gets_the_address_that_was_asked_and_right_checksums() {
        for payload in [&b"answer"[..], b"odd", b""] {
            let right = corrected(&packet([172, 18, 0, 3], payload));
            assert_eq!(right[12..16], [10, 0, 1, 2]);
            assert_eq!(sum(&right[..20]), 0xffff);
            assert_eq!(udp_sum(&right), 0xffff);
            assert_eq!(&right[28..], payload);
        }
    }

    #[test]
    fn a_checksum_that_was_not_computed_stays_so() {
        let mut without = packet([172, 18, 0, 3], b"answer");
        without[26..28].fill(0);
        let right = corrected(&without);
        assert_eq!(right[26..28], [0, 0]);
        assert_eq!(sum(&right[..20]), 0xffff);
    }

    #[test]
    fn later_fragments_have_no_checksum_of_their_own() {
        let mut fragment = packet([172, 18, 0, 3], b"answer");
        fragment[7] = 0xb9;
        let right = corrected(&fragment);
        assert_eq!(right[16..], fragment[16..]);
    }

    #[test]
    fn nothing_else_is_touched() {
        let other = packet([172, 18, 0, 4], b"other");
        assert_eq!(corrected(&other), other);
        let mut tcp = packet([172, 18, 0, 3], b"tcp");
        tcp[9] = 6;
        assert_eq!(corrected(&tcp), tcp);
        let whole = packet([172, 18, 0, 3], b"");
        for length in 0..whole.len() {
            corrected(&whole[..length]);
        }
        for byte in 0..=255 {
            let mut strange = whole.clone();
            strange[0] = byte;
            corrected(&strange);
        }
    }
}
