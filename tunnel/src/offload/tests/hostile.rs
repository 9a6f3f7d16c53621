//! Bytes that mean no good.

use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{Packet, V4, V6};
use super::{segments, writes};
use crate::offload::{Coalescer, Header, Link, Merge};

fn super_packets() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let kinds = [
        Packet::tcp(V4, vec![5; 300]),
        Packet::tcp(V6, vec![5; 300]),
        Packet::udp(V4, vec![5; 300]),
        Packet::udp(V6, vec![5; 300]),
    ];
    (prop::sample::select(kinds.to_vec()), 0..400u16)
        .prop_map(|(packet, segment_length)| packet.super_packet(segment_length))
}

fn flipped(bytes: &mut [u8], flips: &[(usize, u8)]) {
    for (at, by) in flips {
        let at = at % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= by;
        }
    }
}

proptest! {
    #[test]
    fn a_header_and_a_packet_that_lie_lose_nothing(
        (header, mut packet) in super_packets(),
        in_header in vec((any::<usize>(), any::<u8>()), 0..3),
        in_packet in vec((0..80usize, any::<u8>()), 0..3),
        length in 0..500usize,
    ) {
        let mut header = header.to_bytes();
        flipped(&mut header, &in_header);
        flipped(&mut packet, &in_packet);
        packet.truncate(length);
        let header = Header::parse(&header);
        if let Ok(segments) = segments(header, &packet) {
            let rest: usize = segments.iter().map(Vec::len).sum();
            let headers = match segments.as_slice() {
                [] | [_] => 0,
                [first, ..] => first.len() - usize::from(header.segment_length),
            };
            prop_assert_eq!(rest - headers * segments.len(), packet.len() - headers);
        }
    }

    #[test]
    fn noise_is_split_without_harm(
        header in any::<[u8; Header::LENGTH]>(),
        packet in vec(any::<u8>(), 0..200),
    ) {
        if let Ok(segments) = segments(Header::parse(&header), &packet) {
            prop_assert!(segments.concat().len() >= packet.len());
        }
    }

    #[test]
    fn noise_is_written_as_it_is(
        packets in vec((0..2u8, vec(any::<u8>(), 0..100)), 0..40),
        udp in any::<bool>(),
    ) {
        let packets: Vec<_> = packets
            .into_iter()
            .map(|(plausible, mut packet)| {
                if plausible > 0 {
                    let start = [0x45, 0, 0, u8::try_from(packet.len()).unwrap(), 0, 0, 0, 0, 64, 6];
                    let length = start.len().min(packet.len());
                    packet[..length].copy_from_slice(&start[..length]);
                }
                packet
            })
            .collect();
        let merge = if udp { Merge::TcpAndUdp } else { Merge::Tcp };
        let alone: Vec<_> = packets.iter().map(|packet| (Header::default(), packet.clone())).collect();
        prop_assert_eq!(writes(&mut Coalescer::new(Link::Ip, merge), &packets), alone);
    }
}
