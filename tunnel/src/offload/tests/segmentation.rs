use proptest::collection::vec;
use proptest::prelude::*;

use super::packet::{ACK, Addresses, CWR, FIN, PSH, Packet, Tcp, Transport, V4, V6};
use super::segments;
use crate::offload::{Header, Malformed};

fn expected(packet: &Packet, segment_length: u16) -> Vec<Vec<u8>> {
    let length = packet.payload.len();
    (0..length)
        .step_by(segment_length.into())
        .enumerate()
        .map(|(index, start)| {
            let end = length.min(start + usize::from(segment_length));
            packet.segment(index, start..end).bytes()
        })
        .collect()
}

fn payload(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

#[test]
fn a_super_packet_becomes_the_packets_it_stands_for() {
    for addresses in [V4, V6] {
        let mut tcp = Packet::tcp(addresses, payload(4001));
        tcp.on_tcp(|tcp| tcp.flags = ACK | PSH | FIN | CWR);
        for packet in [tcp, Packet::udp(addresses, payload(4001))] {
            let (header, bytes) = packet.super_packet(1420);
            let segments = segments(header, &bytes).unwrap();
            assert_eq!(segments.len(), 3);
            assert_eq!(segments, expected(&packet, 1420));
        }
    }
}

#[test]
fn a_complete_packet_stays_as_it_is() {
    for packet in [vec![], vec![0x45], Packet::tcp(V4, payload(10)).bytes()] {
        let segments = segments(Header::default(), &packet).unwrap();
        assert_eq!(segments, [packet]);
    }
}

#[test]
fn a_partial_checksum_is_completed() {
    for packet in [Packet::tcp(V4, payload(11)), Packet::udp(V6, payload(0))] {
        let (header, bytes) = packet.super_packet(0);
        let single = Header {
            gso_type: 0,
            ..header
        };
        assert_eq!(segments(single, &bytes), Ok(vec![packet.bytes()]));
    }
}

#[test]
fn a_computed_checksum_of_zero_is_sent_as_ones_by_udp_alone() {
    let tcp = Packet::tcp(V4, vec![0; 2]);
    let udp = Packet::udp(V4, vec![0; 2]);
    for (mut packet, from_end, zero) in [(tcp, 2 + 12 + 4, 0), (udp, 2 + 2, 0xff)] {
        let bytes = packet.bytes();
        let at = bytes.len() - from_end;
        packet.payload = bytes[at..at + 2].to_vec();
        let (header, bytes) = packet.super_packet(2);
        let segments = segments(header, &bytes).unwrap();
        assert_eq!(segments, [packet.bytes()]);
        assert_eq!(segments[0][at..at + 2], [zero; 2]);
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let (header, bytes) = Packet::tcp(V4, payload(3000)).super_packet(1420);
    let lies = [
        Header { flags: 0, ..header },
        Header {
            gso_type: 2,
            ..header
        },
        Header {
            gso_type: 3,
            ..header
        },
        Header {
            gso_type: 4,
            ..header
        },
        Header {
            gso_type: 5,
            ..header
        },
        Header {
            gso_type: 0x80,
            ..header
        },
        Header {
            gso_type: 0x85,
            ..header
        },
        Header {
            segment_length: 0,
            ..header
        },
        Header {
            checksum_start: 24,
            ..header
        },
        Header {
            checksum_start: 60_000,
            ..header
        },
        Header {
            checksum_start: u16::MAX,
            ..header
        },
        Header {
            checksum_offset: 6,
            ..header
        },
        Header {
            checksum_offset: u16::MAX,
            ..header
        },
    ];
    for lie in lies {
        assert_eq!(segments(lie, &bytes), Err(Malformed), "{lie:?}");
    }
    for length in 0..header.header_length {
        let cut = &bytes[..length.into()];
        assert_eq!(segments(header, cut), Err(Malformed), "{length}");
    }
    // Version, length of the header, fragmentation, protocol, TCP's offset.
    for (at, lie) in [(0, 0x65), (0, 0x46), (6, 0x20), (7, 1), (9, 17), (32, 0x40)] {
        let mut bytes = bytes.clone();
        bytes[at] = lie;
        assert_eq!(segments(header, &bytes), Err(Malformed), "{at}");
    }
    for (start, offset) in [(u16::MAX, 0), (20, u16::MAX), (0, 3051)] {
        let outside = Header {
            gso_type: 0,
            checksum_start: start,
            checksum_offset: offset,
            ..header
        };
        assert_eq!(segments(outside, &bytes), Err(Malformed), "{start}");
    }
    let hint = Header {
        header_length: u16::MAX,
        ..header
    };
    assert_eq!(segments(hint, &bytes), segments(header, &bytes));
}

prop_compose! {
    fn packets()(
        is_v4 in any::<bool>(),
        is_tcp in any::<bool>(),
        v4 in any::<[u8; 8]>(),
        v6 in any::<[u8; 32]>(),
        ports in any::<(u16, u16)>(),
        (id, is_atomic, traffic_class, hop_limit) in any::<(u16, bool, u8, u8)>(),
        extra in 0..3usize,
        options in (0..=10usize).prop_flat_map(|words| vec(any::<u8>(), words * 4)),
        (sequence, acknowledgement, flags, window) in any::<(u32, u32, u16, u16)>(),
        payload in vec(any::<u8>(), 1..6000),
    ) -> Packet {
        let addresses = if is_v4 { Addresses::V4(v4) } else { Addresses::V6(v6) };
        let mut packet = if is_tcp {
            Packet::tcp(addresses, payload)
        } else {
            Packet::udp(addresses, payload)
        };
        packet.transport = match packet.transport {
            Transport::Tcp(_) => Transport::Tcp(Tcp { sequence, acknowledgement, flags, window, options }),
            Transport::Udp => Transport::Udp,
        };
        Packet { ports, id, is_atomic, traffic_class, hop_limit, extra: vec![1; extra * 8], ..packet }
    }
}

proptest! {
    #[test]
    fn segments_are_those_of_a_naive_builder(
        packet in packets(),
        segment_length in 1..3000u16,
    ) {
        let (header, bytes) = packet.super_packet(segment_length);
        prop_assert_eq!(segments(header, &bytes).unwrap(), expected(&packet, segment_length));
    }
}
