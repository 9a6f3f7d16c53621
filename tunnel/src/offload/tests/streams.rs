//! Whatever is merged, segmentation gives it back.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::packet::{ACK, CWR, FIN, PSH, Packet, V4, V6, is_sound};
use super::{segments, writes};
use crate::offload::{Coalescer, Header, Link, Merge};

/// The next packet of one of some flows.
#[derive(Debug, Clone)]
struct Step {
    flow: usize,
    payload: usize,
    /// How many such payloads the flow moves on; one is as it should be.
    advance: usize,
    lasting: Option<fn(&mut Packet, usize)>,
    passing: Option<fn(&mut Packet, usize)>,
    damage: Option<fn(&mut Vec<u8>, usize)>,
    by: usize,
}

struct Sent {
    flow: usize,
    bytes: Vec<u8>,
    /// Beyond doubt of this flow.
    is_genuine: bool,
}

const LASTING: [fn(&mut Packet, usize); 4] = [
    |packet, by| packet.on_tcp(|tcp| tcp.acknowledgement = u32::try_from(by).unwrap()),
    |packet, by| packet.on_tcp(|tcp| tcp.window = u16::try_from(by).unwrap()),
    |packet, by| packet.on_tcp(|tcp| tcp.options = vec![1; by % 11 * 4]),
    |packet, by| packet.hop_limit = by.to_le_bytes()[0],
];

const PASSING: [fn(&mut Packet, usize); 9] = [
    |packet, _| packet.on_tcp(|tcp| tcp.flags = ACK | PSH),
    |packet, _| packet.on_tcp(|tcp| tcp.flags = ACK | PSH),
    |packet, _| packet.on_tcp(|tcp| tcp.flags = ACK | FIN),
    |packet, _| packet.on_tcp(|tcp| tcp.flags = ACK | CWR),
    |packet, by| packet.on_tcp(|tcp| tcp.flags = u16::try_from(by).unwrap()),
    |packet, by| packet.id = u16::try_from(by).unwrap(),
    |packet, _| packet.is_atomic = false,
    |packet, by| packet.traffic_class = by.to_le_bytes()[0],
    |packet, _| packet.extra = vec![1; 8],
];

const DAMAGE: [fn(&mut Vec<u8>, usize); 3] = [
    |bytes, by| {
        let at = by % bytes.len();
        bytes[at] ^= 1 << (by % 8);
    },
    |bytes, by| bytes.truncate(by % bytes.len()),
    |bytes, _| {
        if bytes[0] >> 4 == 4 {
            bytes[6] |= 0x20;
        }
    },
];

prop_compose! {
    fn steps()(
        flow in 0..6usize,
        payload in prop_oneof![8 => Just(101), 1 => 0..150usize],
        advance in prop_oneof![20 => Just(1), 1 => 0..3usize],
        lasting in weighted(0.05, select(&LASTING[..])),
        passing in weighted(0.1, select(&PASSING[..])),
        damage in weighted(0.05, select(&DAMAGE[..])),
        by in 0..=0xffffusize,
    ) -> Step {
        Step { flow, payload, advance, lasting, passing, damage, by }
    }
}

fn flows() -> Vec<Packet> {
    let mut other = Packet::tcp(V4, vec![]);
    other.ports.0 += 1;
    other.is_atomic = false;
    let mut datagrams = Packet::udp(V4, vec![]);
    datagrams.ports.0 += 1;
    datagrams.is_atomic = false;
    vec![
        Packet::tcp(V4, vec![]),
        Packet::tcp(V6, vec![]),
        Packet::udp(V4, vec![]),
        Packet::udp(V6, vec![]),
        other,
        datagrams,
    ]
}

fn send(flow: &mut Packet, number: usize, step: &Step) -> Sent {
    if let Some(change) = step.lasting {
        change(flow, step.by);
    }
    let mut packet = flow.clone();
    packet.payload = (number..)
        .map(|byte| byte.to_le_bytes()[0])
        .take(step.payload)
        .collect();
    flow.advance(step.payload * step.advance);
    flow.id = flow.id.wrapping_add(1);
    if let Some(change) = step.passing {
        change(&mut packet, step.by);
    }
    let mut bytes = packet.bytes();
    if let Some(damage) = step.damage {
        damage(&mut bytes, step.by);
    }
    Sent {
        flow: step.flow,
        bytes,
        is_genuine: step.damage.is_none(),
    }
}

/// But for an IPv4 identification that nobody reads.
fn is_same(sent: &[u8], got: &[u8]) -> bool {
    let blank = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        packet
    };
    sent == got
        || sent.len() >= 28
            && sent[0] == 0x45
            && sent[6] & 0x40 != 0
            && sent.len() == got.len()
            && blank(sent) == blank(got)
            && is_sound(sent)
            && is_sound(got)
}

proptest! {
    #[test]
    fn streams_come_out_as_they_went_in(steps in vec(steps(), 0..150), merge in any::<bool>()) {
        let merge = if merge { Merge::TcpAndUdp } else { Merge::Tcp };
        let mut flows = flows();
        let sent: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(number, step)| send(&mut flows[step.flow], number, step))
            .collect();
        let packets: Vec<_> = sent.iter().map(|packet| packet.bytes.clone()).collect();
        let mut missing: Vec<_> = (0..sent.len()).collect();
        let mut latest = vec![0; flows.len()];
        for (header, packet) in writes(&mut Coalescer::new(Link::Ip, merge), &packets) {
            if header != Header::default() {
                let single = Header { gso_type: 0, ..header };
                prop_assert!(is_sound(&segments(single, &packet).unwrap()[0]));
            }
            for got in segments(header, &packet).unwrap() {
                let position = missing.iter().position(|&index| is_same(&packets[index], &got));
                let index = missing.remove(position.expect("nothing is made up"));
                let Sent { flow, is_genuine, .. } = sent[index];
                if is_genuine {
                    prop_assert!(latest[flow] <= index, "a flow keeps its order");
                    latest[flow] = index;
                }
            }
        }
        prop_assert!(missing.is_empty(), "nothing is lost");
    }
}
