use super::packet::{ACK, Addresses, CWR, FIN, PSH, Packet, SYN, V4, V6};
use super::{segments, writes};
use crate::offload::{Coalescer, Header, Link, Merge};

const NONE: Header = Header {
    flags: 0,
    gso_type: 0,
    header_length: 0,
    segment_length: 0,
    checksum_start: 0,
    checksum_offset: 0,
};

/// The segments of a packet, one of its own each.
fn cut(packet: &Packet, lengths: &[usize]) -> Vec<Packet> {
    let mut start = 0;
    lengths
        .iter()
        .enumerate()
        .map(|(index, length)| {
            start += length;
            packet.segment(index, start - length..start)
        })
        .collect()
}

fn bytes(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(Packet::bytes).collect()
}

fn both() -> Coalescer {
    Coalescer::new(Link::Ip, Merge::TcpAndUdp)
}

/// How many packets each write is of.
fn counts(packets: &[Packet]) -> Vec<usize> {
    writes(&mut both(), &bytes(packets))
        .iter()
        .map(|(header, packet)| segments(*header, packet).unwrap().len())
        .collect()
}

fn stream(length: usize) -> Packet {
    Packet::tcp(V4, (0..=255).cycle().take(length).collect())
}

#[test]
fn segments_become_the_super_packet_they_are_of() {
    for addresses in [V4, V6] {
        let payload: Vec<u8> = (0..=255).cycle().take(3333).collect();
        let mut tcp = Packet::tcp(addresses, payload.clone());
        tcp.on_tcp(|tcp| tcp.flags = ACK | PSH);
        for packet in [tcp, Packet::udp(addresses, payload)] {
            let parts = bytes(&cut(&packet, &[1420, 1420, 493]));
            let written = writes(&mut both(), &parts);
            assert_eq!(written, [packet.super_packet(1420)]);
        }
    }
}

#[test]
fn a_lone_packet_is_written_as_it_is() {
    let packet = stream(1000);
    assert_eq!(writes(&mut both(), &[]), []);
    assert_eq!(
        writes(&mut both(), &[packet.bytes()]),
        [(NONE, packet.bytes())]
    );
}

#[test]
fn datagrams_are_merged_only_where_the_device_takes_them() {
    let parts = bytes(&cut(&Packet::udp(V4, vec![7; 300]), &[100, 100, 100]));
    let written = writes(&mut Coalescer::default(), &parts);
    assert_eq!(written.len(), 3);
}

#[test]
fn flows_may_pass_each_other() {
    let mut flows = Vec::new();
    for port in 0..3 {
        let mut flow = stream(3000);
        flow.ports.1 = port;
        flows.push(cut(&flow, &[1000, 1000, 1000]));
    }
    let mut other = Packet::udp(V6, vec![1; 30]);
    other.ports.1 = 0;
    flows.push(cut(&other, &[10, 10, 10]));
    let interleaved: Vec<_> = (0..3)
        .flat_map(|index| flows.iter().map(move |flow| flow[index].clone()))
        .collect();
    assert_eq!(counts(&interleaved), [3, 3, 3, 3]);
}

#[test]
fn a_shorter_or_pushed_packet_is_the_last() {
    assert_eq!(
        counts(&cut(&stream(500), &[100, 100, 99, 100, 100, 1])),
        [3, 3]
    );
    assert_eq!(
        counts(&cut(&stream(500), &[100, 101, 101, 100, 98])),
        [1, 3, 1]
    );
    let mut pushed = cut(&stream(500), &[100; 5]);
    pushed[0].on_tcp(|tcp| tcp.flags |= PSH);
    pushed[2].on_tcp(|tcp| tcp.flags |= PSH);
    assert_eq!(counts(&pushed), [1, 2, 2]);
}

#[test]
fn a_super_packet_has_an_end() {
    assert_eq!(counts(&cut(&stream(70), &[1; 70])), [64, 6]);
    assert_eq!(counts(&cut(&stream(70_000), &[1400; 50])), [46, 4]);
    let long = Packet::udp(V6, vec![0; 65_535 - 8]);
    assert_eq!(counts(&cut(&long, &[65_527])), [1]);
}

#[test]
fn what_differs_from_the_rest_parts_a_stream() {
    let differences: [fn(&mut Packet); 12] = [
        |packet| packet.traffic_class = 1,
        |packet| packet.hop_limit = 63,
        |packet| packet.is_atomic = false,
        |packet| packet.ports.0 += 1,
        |packet| packet.addresses = Addresses::V4([1; 8]),
        |packet| packet.addresses = V6,
        |packet| packet.on_tcp(|tcp| tcp.acknowledgement += 1),
        |packet| packet.on_tcp(|tcp| tcp.sequence += 1),
        |packet| packet.on_tcp(|tcp| tcp.window += 1),
        |packet| packet.on_tcp(|tcp| tcp.options[11] += 1),
        |packet| packet.on_tcp(|tcp| tcp.options.extend([1; 4])),
        |packet| packet.transport = Packet::udp(V4, vec![]).transport,
    ];
    for (index, difference) in differences.iter().enumerate() {
        let mut parts = cut(&stream(300), &[100; 3]);
        parts[1..].iter_mut().for_each(difference);
        assert_eq!(counts(&parts), [1, 2], "{index}");
    }
}

#[test]
fn what_is_more_than_data_is_written_alone() {
    let differences: [fn(&mut Packet); 9] = [
        |packet| packet.on_tcp(|tcp| tcp.flags = 0),
        |packet| packet.on_tcp(|tcp| tcp.flags |= FIN),
        |packet| packet.on_tcp(|tcp| tcp.flags |= SYN),
        |packet| packet.on_tcp(|tcp| tcp.flags |= CWR),
        |packet| packet.on_tcp(|tcp| tcp.flags |= 0x04),
        |packet| packet.on_tcp(|tcp| tcp.flags |= 0x20),
        |packet| packet.on_tcp(|tcp| tcp.flags |= 0x40),
        |packet| packet.on_tcp(|tcp| tcp.flags |= 0x100),
        |packet| packet.extra = vec![1; 8],
    ];
    for addresses in [V4, V6] {
        let packet = Packet::tcp(addresses, vec![9; 500]);
        for (index, difference) in differences.iter().enumerate() {
            let mut parts = cut(&packet, &[100; 5]);
            difference(&mut parts[2]);
            assert_eq!(counts(&parts), [2, 1, 2], "{index}");
        }
    }
}

#[test]
fn an_acknowledgement_parts_a_stream() {
    let parts = cut(&stream(300), &[100, 100, 0, 100]);
    assert_eq!(counts(&parts), [2, 1, 1]);
}

#[test]
fn only_ids_that_nobody_reads_may_jump() {
    let mut parts = cut(&stream(400), &[100; 4]);
    parts[1].id = parts[0].id;
    parts[2].id = 9;
    assert_eq!(counts(&parts), [4]);
    for part in &mut parts {
        part.is_atomic = false;
    }
    assert_eq!(counts(&parts), [1, 1, 1, 1]);
    assert_eq!(counts(&parts[2..3]), [1]);
    parts[1].id = parts[0].id.wrapping_add(1);
    parts[2].id = parts[0].id.wrapping_add(2);
    assert_eq!(counts(&parts[..3]), [3]);
}

#[test]
fn corruption_is_not_blessed() {
    for addresses in [V4, V6] {
        for packet in [
            Packet::tcp(addresses, vec![3; 500]),
            Packet::udp(addresses, vec![3; 500]),
        ] {
            for corrupt in 0..5 {
                let mut parts = bytes(&cut(&packet, &[100; 5]));
                *parts[corrupt].last_mut().unwrap() ^= 1;
                let written = writes(&mut both(), &parts);
                let alone = (NONE, parts[corrupt].clone());
                assert!(written.contains(&alone), "{corrupt}");
                let out: Vec<_> = written
                    .iter()
                    .flat_map(|(header, packet)| segments(*header, packet).unwrap())
                    .collect();
                assert_eq!(out, parts);
            }
        }
    }
}

#[test]
fn a_datagram_without_checksum_is_written_alone() {
    let mut parts = bytes(&cut(&Packet::udp(V4, vec![0; 300]), &[100; 3]));
    // It would be right, were it one.
    let checksum = parts[1][26..28].to_vec();
    parts[1][28..30].copy_from_slice(&checksum);
    parts[1][26..28].fill(0);
    assert_alone(&parts);
}

#[test]
fn a_packet_that_lies_about_its_length_is_written_alone() {
    // IPv4, IPv6, UDP: a field, and the checksum over it.
    for (addresses, at, checksum) in [(V4, 2, Some(10)), (V6, 4, None), (V4, 24, Some(26))] {
        let mut parts = bytes(&cut(&Packet::udp(addresses, vec![1; 300]), &[100; 3]));
        parts[1][at] += 1;
        if let Some(checksum) = checksum {
            parts[1][checksum] -= 1;
        }
        assert_alone(&parts);
    }
}

fn assert_alone(packets: &[Vec<u8>]) {
    let alone: Vec<_> = packets
        .iter()
        .map(|packet| (NONE, packet.clone()))
        .collect();
    assert_eq!(writes(&mut both(), packets), alone);
}

#[test]
fn a_fragment_stays_between_the_packets_of_its_flow() {
    let mut parts = bytes(&cut(&stream(400), &[100; 4]));
    parts[1][6] = 0x20;
    parts[1][7] = 1;
    let written = writes(&mut both(), &parts);
    assert_eq!(written.len(), 3);
    assert_eq!(written[0], (NONE, parts[0].clone()));
    assert_eq!(written[1], (NONE, parts[1].clone()));
}

#[test]
fn of_many_flows_the_oldest_is_let_go() {
    let flows: Vec<_> = (0..17)
        .map(|port| {
            let mut flow = stream(200);
            flow.ports.0 = port;
            cut(&flow, &[100, 100])
        })
        .collect();
    let firsts = flows.iter().map(|flow| flow[0].clone());
    let seconds = flows[1..].iter().map(|flow| flow[1].clone());
    let late = flows[0][1].clone();
    let packets: Vec<_> = firsts.chain(seconds).chain([late]).collect();
    let mut expected = vec![2; 18];
    expected[0] = 1;
    expected[17] = 1;
    assert_eq!(counts(&packets), expected);
}
