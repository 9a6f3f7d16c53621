//! Asking whether somebody on a network has an address: ARP probes (RFC 5227, 2.1) and neighbour solicitations for duplicate
//! address detection (RFC 4862, 5.4), which speak for no address of one's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum;
use crate::hardware::HardwareAddress;

/// The frame that asks.
pub(super) fn question(own: HardwareAddress, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_probe(own, address),
        IpAddr::V6(address) => solicitation(own, address),
    }
}

/// Whether this frame says that somebody but `own` has the address, or is about to take it.
pub(super) fn is_claim(frame: &[u8], own: HardwareAddress, address: IpAddr) -> bool {
    let Some((head, packet)) = frame.split_first_chunk::<ETHERNET>() else {
        return false;
    };
    let [_, _, _, _, _, _, source @ .., a, b] = head;
    if *source == own.0 {
        return false;
    }
    match (u16::from_be_bytes([*a, *b]), address) {
        (ARP, IpAddr::V4(address)) => claims_v4(packet, address),
        (IPV6, IpAddr::V6(address)) => claims_v6(packet, address),
        _ => false,
    }
}

fn arp_probe(own: HardwareAddress, address: Ipv4Addr) -> Vec<u8> {
    [
        &BROADCAST[..],
        &own.0,
        &ARP.to_be_bytes(),
        &ARP_HEAD,
        &REQUEST.to_be_bytes(),
        &own.0,
        &Ipv4Addr::UNSPECIFIED.octets(),
        &[0; 6],
        &address.octets(),
    ]
    .concat()
}

fn claims_v4(packet: &[u8], address: Ipv4Addr) -> bool {
    let Some(packet) = packet.first_chunk::<ARP_LENGTH>() else {
        return false;
    };
    let field =
        |at: usize| Ipv4Addr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (sender, target) = (field(14), field(24));
    let is_probe = sender.is_unspecified() && packet[6..8] == REQUEST.to_be_bytes();
    packet[..6] == ARP_HEAD && (sender == address || is_probe && target == address)
}

fn solicitation(own: HardwareAddress, address: Ipv6Addr) -> Vec<u8> {
    let [.., x, y, z] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, x, y, z]);
    let mut message = [&[SOLICITATION, 0, 0, 0, 0, 0, 0, 0], &address.octets()[..]].concat();
    let length = u16::try_from(message.len()).unwrap_or_default();
    let pseudo_header = [
        &Ipv6Addr::UNSPECIFIED.octets()[..],
        &group.octets(),
        &u32::from(length).to_be_bytes(),
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let sum = !checksum::sum(&[&pseudo_header[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [
        &[0x33, 0x33, 0xff, x, y, z][..],
        &own.0,
        &IPV6.to_be_bytes(),
        &[0x60, 0, 0, 0],
        &length.to_be_bytes(),
        &[ICMPV6, HOP_LIMIT],
        &Ipv6Addr::UNSPECIFIED.octets(),
        &group.octets(),
        &message,
    ]
    .concat()
}

fn claims_v6(packet: &[u8], address: Ipv6Addr) -> bool {
    let Some((head, message)) = packet.split_first_chunk::<IPV6_HEAD>() else {
        return false;
    };
    let Some(about) = message.get(8..24) else {
        return false;
    };
    // Whoever solicits from the unspecified address is about to take the address itself.
    let is_probe = head[8..24] == Ipv6Addr::UNSPECIFIED.octets();
    let is_about = head[6] == ICMPV6
        && head[7] == HOP_LIMIT
        && (message[0] == ADVERTISEMENT || message[0] == SOLICITATION && is_probe);
    is_about && about == address.octets()
}

const ETHERNET: usize = 14;
const BROADCAST: [u8; 6] = [0xff; 6];
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_LENGTH: usize = 28;
const REQUEST: u16 = 1;
const IPV6_HEAD: usize = 40;
const ICMPV6: u8 = 58;
/// Of whatever has not been forwarded (RFC 4861, 7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 2]);

    fn addresses() -> [(IpAddr, IpAddr); 2] {
        ["172.18.0.9 172.18.0.8", "fd00::9 fd00::8"].map(|pair| {
            let (one, other) = pair.split_once(' ').unwrap();
            (one.parse().unwrap(), other.parse().unwrap())
        })
    }

    #[test]
    fn two_that_ask_for_one_address_hear_of_each_other() {
        for (address, other) in addresses() {
            let asked = question(OTHER, address);
            assert!(is_claim(&asked, OWN, address), "{address}");
            assert!(!is_claim(&asked, OWN, other), "{other}");
            assert!(!is_claim(&asked, OTHER, address), "one's own");
        }
    }

    #[test]
    fn an_answer_is_a_claim() {
        let address = Ipv4Addr::new(172, 18, 0, 9);
        let mut answer = arp_probe(OTHER, Ipv4Addr::UNSPECIFIED);
        answer[21] = 2;
        answer[28..32].copy_from_slice(&address.octets());
        assert!(is_claim(&answer, OWN, address.into()));

        let address: Ipv6Addr = "fd00::9".parse().unwrap();
        let mut advertisement = solicitation(OTHER, address);
        advertisement[22..38].copy_from_slice(&address.octets());
        assert!(
            !is_claim(&advertisement, OWN, address.into()),
            "who asks for a neighbour"
        );
        advertisement[54] = ADVERTISEMENT;
        assert!(is_claim(&advertisement, OWN, address.into()));
    }

    #[test]
    fn whoever_asks_for_a_neighbour_does_not_claim_it() {
        let mut request = arp_probe(OTHER, Ipv4Addr::new(172, 18, 0, 9));
        request[28..32].copy_from_slice(&[172, 18, 0, 2]);
        assert!(!is_claim(&request, OWN, IpAddr::from([172, 18, 0, 9])));
    }

    #[test]
    fn a_solicitation_has_the_checksum_that_a_receiver_expects() {
        let frame = solicitation(OWN, "fd00::9".parse().unwrap());
        let (head, message) = frame[ETHERNET..].split_at(IPV6_HEAD);
        let length = u32::try_from(message.len()).unwrap();
        let covered = [
            &head[8..],
            &length.to_be_bytes(),
            &[0, 0, 0, ICMPV6],
            message,
        ];
        assert_eq!(checksum::sum(&covered.concat()), 0xffff);
    }

    #[test]
    fn what_is_cut_short_claims_nothing() {
        for (address, _) in addresses() {
            let whole = question(OTHER, address);
            for length in 0..whole.len() {
                assert!(!is_claim(&whole[..length], OWN, address));
            }
        }
    }
}
