//! Answers under the address that was asked.
//!
//! A program that listens by UDP on all of a machine's addresses answers from the address of the interface that leads to
//! the asker, which may not be the one it was asked at. Where it is known which one that was, it is put right here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Gives an IPv4 packet of UDP the source that belongs in place of its own, if one does.
pub(crate) fn correct(packet: &mut [u8], sources: &BTreeMap<Ipv4Addr, Ipv4Addr>) {
    if sources.is_empty() {
        return;
    }
    let Some(header) = packet.first_chunk::<20>() else {
        return;
    };
    if header[0] >> 4 != 4 || header[PROTOCOL] != UDP {
        return;
    }
    let [.., a, b, c, d, _, _, _, _] = *header;
    let Some(right) = sources
        .get(&Ipv4Addr::new(a, b, c, d))
        .map(Ipv4Addr::octets)
    else {
        return;
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    let udp = usize::from(header[0] & 0x0f) * 4 + UDP_CHECKSUM;
    if fragment == 0
        && let Some(field) = packet.get_mut(udp..udp + 2)
        && *field != [0, 0]
    {
        let sum = updated(field, &[a, b, c, d], &right);
        // None is written as zero (RFC 768).
        let sum = if sum == 0 { 0xffff } else { sum };
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let sum = updated(&packet[CHECKSUM..], &[a, b, c, d], &right);
    packet[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    packet[SOURCE..SOURCE + 4].copy_from_slice(&right);
}

/// The checksum at the beginning of `field` for data in which `old` has become `new` (RFC 1624, equation 3).
fn updated(field: &[u8], old: &[u8; 4], new: &[u8; 4]) -> u16 {
    let word = |bytes: &[u8], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let mut sum = !word(field, 0) & 0xffff;
    for at in [0, 2] {
        sum += (!word(old, at) & 0xffff) + word(new, at);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const PROTOCOL: usize = 9;
const CHECKSUM: usize = 10;
const SOURCE: usize = 12;
const UDP: u8 = 17;
/// Of the UDP header.
const UDP_CHECKSUM: usize = 6;

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
