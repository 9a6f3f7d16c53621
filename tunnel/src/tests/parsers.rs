//! Whatever arrives, the parsers of packets and datagrams do not panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::datagram::Datagram;
use crate::packet::Addresses;
use crate::{PrivateKey, PublicKey};

fn v4(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    let total = u16::try_from(20 + payload.len()).unwrap();
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet.extend_from_slice(payload);
    packet
}

fn v6(from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    let length = u16::try_from(payload.len()).unwrap();
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[8..24].copy_from_slice(&from.octets());
    packet[24..40].copy_from_slice(&to.octets());
    packet.extend_from_slice(payload);
    packet
}

/// A message of the kind with its usual length, or any other.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![Just(148usize), Just(92), Just(64), 0..200usize];
    (0..6u8, lengths)
        .prop_flat_map(|(kind, length)| (Just(kind), vec(any::<u8>(), length)))
        .prop_map(|(kind, mut bytes)| {
            for (byte, value) in bytes.iter_mut().zip([kind, 0, 0, 0]) {
                *byte = value;
            }
            bytes
        })
}

proptest! {
    #[test]
    fn addresses_of_anything_never_panic(packet in vec(any::<u8>(), 0..200)) {
        let _ = Addresses::of(&packet);
    }

    #[test]
    fn addresses_are_read_from_whole_packets_only(
        (from4, to4) in any::<(u32, u32)>(),
        (from6, to6) in any::<(u128, u128)>(),
        payload in vec(any::<u8>(), 0..100),
        padding in 0..8usize,
    ) {
        let (from4, to4) = (Ipv4Addr::from(from4), Ipv4Addr::from(to4));
        let (from6, to6) = (Ipv6Addr::from(from6), Ipv6Addr::from(to6));
        let packets: [(Vec<u8>, IpAddr, IpAddr); 2] = [
            (v4(from4, to4, &payload), from4.into(), to4.into()),
            (v6(from6, to6, &payload), from6.into(), to6.into()),
        ];
        for (mut packet, source, destination) in packets {
            for length in 0..packet.len() {
                prop_assert_eq!(Addresses::of(&packet[..length]), None);
            }
            packet.extend(vec![0; padding]);
            prop_assert_eq!(Addresses::of(&packet), Some(Addresses { source, destination }));
        }
    }

    #[test]
    fn a_header_length_that_lies_is_refused(words in 0..16u8) {
        let mut packet = v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST, &[0; 12]);
        packet[0] = 0x40 | words;
        prop_assert_eq!(Addresses::of(&packet).is_some(), (5..=8).contains(&words));
    }

    #[test]
    fn heads_of_datagrams_are_read_by_kind_and_length(bytes in datagram()) {
        let at = |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        let expected = match (bytes.first(), bytes.len()) {
            (Some(1), 148) => Some(Datagram::Initiation),
            (Some(2), 92) => Some(Datagram::Response { receiver: at(8) }),
            (Some(3), 64) => Some(Datagram::CookieReply { receiver: at(4) }),
            (Some(4), 32..) => Some(Datagram::Data {
                receiver: at(4),
                counter: u64::from(at(8)) | u64::from(at(12)) << 32,
            }),
            _ => None,
        };
        prop_assert_eq!(Datagram::parse(&bytes), expected);
    }

    #[test]
    fn what_is_no_datagram_here_is_none_for_boringtun(bytes in datagram()) {
        let theirs = boringtun::noise::Tunn::parse_incoming_packet(&bytes);
        prop_assert_eq!(Datagram::parse(&bytes).is_some(), theirs.is_ok());
    }

    #[test]
    fn public_keys_survive_their_text_form(bytes in any::<[u8; 32]>()) {
        let key = PublicKey::from_bytes(bytes);
        prop_assert_eq!(key.to_string().parse(), Ok(key));
        let json = serde_json::to_string(&key).unwrap();
        prop_assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
    }

    #[test]
    fn any_text_is_a_key_or_an_error(text in ".{0,60}") {
        let public = text.parse::<PublicKey>();
        let private = text.parse::<PrivateKey>();
        prop_assert_eq!(public.is_ok(), private.is_ok());
    }
}
