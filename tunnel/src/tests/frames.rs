//! Frames through whole tunnels.

use std::net::Ipv6Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::link::{Route, Side};
use super::pair::{Pair, nets};
use crate::{Drop, Drops, SegmentId, TapConfig, TapEnds, TapId};

const MTU: u16 = 1420;
const OPEN: (&str, &str) = ("192.0.2.10:1000", "198.51.100.1:2000");
const STATIONS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

const fn address(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd75, 0, 0, 0, 0, 0, 0, host)
}

/// The tap at this end whose packets have these last words of addresses.
fn tap(pair: &mut Pair, side: Side, client: u16, server: u16) -> TapId {
    let segment = (side == Side::Server).then_some(SegmentId(7));
    let (local, remote) = match side {
        Side::Client => (address(client), address(server)),
        Side::Server => (address(server), address(client)),
    };
    let end = pair.end_mut(side);
    let allowed = match side {
        Side::Client => nets(&["10.75.0.1/32", "172.18.0.0/16", "fd75::1:0/112"]),
        Side::Server => nets(&["10.75.0.2/32", "fd75::2:0/112"]),
    };
    end.tunnel.set_allowed_ips(end.peer, &allowed);
    let config = TapConfig {
        peer: end.peer,
        ends: TapEnds {
            local: with(local, side),
            remote: with(remote, side.other()),
        },
        mtu: MTU,
        segment,
    };
    end.tunnel.add_tap(config).unwrap()
}

/// Addresses of the server are in `fd75::1:0/112`, the client's in the next.
fn with(address: Ipv6Addr, side: Side) -> Ipv6Addr {
    let [.., last] = address.segments();
    let of_side = match side {
        Side::Server => 1,
        Side::Client => 2,
    };
    Ipv6Addr::new(0xfd75, 0, 0, 0, 0, 0, of_side, last)
}

fn pair() -> (Pair, [TapId; 2]) {
    let mut pair = Pair::on_udp(vec![Route::open(OPEN.0, OPEN.1)]);
    let taps = Side::BOTH.map(|side| tap(&mut pair, side, 1, 1));
    (pair, taps)
}

fn frame(length: usize, seed: u8) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..length).map(|at| at.to_ne_bytes()[0] ^ seed).collect();
    let stations = STATIONS.len().min(length);
    frame[..stations].copy_from_slice(&STATIONS[..stations]);
    frame
}

fn drops(pair: &Pair, side: Side) -> &Drops {
    pair.end(side).tunnel.drops()
}

#[test]
fn frames_of_all_lengths_arrive_as_they_were() {
    let (mut pair, [client, server]) = pair();
    for length in [14, 60, 1378, 1379, 1514, 9000, 65_533] {
        let frame = frame(length, 1);
        pair.send_frame(Side::Client, client, &frame);
        pair.run(Duration::from_millis(5));
        assert_eq!(
            pair.end_mut(Side::Server).frames.pop(),
            Some((server, frame))
        );
    }
    for length in [0, 13, 65_534, 65_535] {
        pair.send_frame(Side::Client, client, &frame(length, 1));
    }
    assert_eq!(drops(&pair, Side::Client).of(Drop::MalformedFrame), 4);
    assert!(
        pair.end(Side::Server).received.is_empty(),
        "not for the device"
    );
}

#[test]
fn only_a_frame_that_fits_is_one_datagram_and_none_is_too_long() {
    let (mut pair, [client, _]) = pair();
    for (length, count) in [(1378, 1), (1379, 2), (1514, 2), (2734, 2), (2735, 3)] {
        let before = pair.network.seen.len();
        pair.send_frame(Side::Client, client, &frame(length, 1));
        let seen = &pair.network.seen[before..];
        assert_eq!(seen.len(), count);
        let longest = usize::from(MTU) + 32;
        assert!(seen.iter().all(|(_, datagram)| datagram.len() <= longest));
    }
    let fits = MTU - TapConfig::OVERHEAD + 14;
    assert_eq!(fits, 1378);
}

#[test]
fn each_tap_has_its_own_frames() {
    let (mut pair, taps) = pair();
    let others = Side::BOTH.map(|side| tap(&mut pair, side, 2, 1));
    for taps in [taps, others] {
        pair.send_frame(Side::Client, taps[0], &frame(100, 1));
        pair.run(Duration::from_millis(5));
        let (arrived, _) = pair.end_mut(Side::Server).frames.pop().unwrap();
        assert_eq!(arrived, taps[1]);
        // The guard would not have a station live behind both.
        pair.run(Duration::from_secs(2));
    }
    pair.end_mut(Side::Server).tunnel.remove_tap(others[1]);
    pair.send_frame(Side::Client, others[0], &frame(100, 1));
    pair.run(Duration::from_millis(5));
    assert!(pair.end(Side::Server).frames.is_empty());
    assert_eq!(drops(&pair, Side::Server).of(Drop::NoTap), 1);
}

#[test]
fn a_tap_goes_with_its_peer() {
    let (mut pair, [client, _]) = pair();
    let end = pair.end_mut(Side::Client);
    end.tunnel.remove_peer(end.peer);
    pair.send_frame(Side::Client, client, &frame(100, 1));
    assert_eq!(drops(&pair, Side::Client).of(Drop::NoTap), 1);
    let end = pair.end_mut(Side::Client);
    let config = TapConfig {
        peer: end.peer,
        ends: TapEnds {
            local: address(1),
            remote: address(2),
        },
        mtu: MTU,
        segment: None,
    };
    assert_eq!(end.tunnel.add_tap(config), None);
}

#[test]
fn nobody_else_speaks_for_a_tap() {
    let (mut pair, [client, _]) = pair();
    let before = pair.network.seen.len();
    pair.send_frame(Side::Client, client, &frame(100, 1));
    assert_eq!(pair.network.seen.len(), before + 1);
    pair.run(Duration::from_millis(5));
    let mut forged = vec![0; 40 + 2 + 100];
    forged[0] = 0x60;
    forged[5] = 102;
    forged[6] = 97;
    forged[8..24].copy_from_slice(&with(address(1), Side::Client).octets());
    forged[24..40].copy_from_slice(&with(address(1), Side::Server).octets());
    forged[40] = 0x30;
    pair.send_packet(Side::Client, &forged);
    forged[6] = 44;
    forged[40] = 97;
    pair.send_packet(Side::Client, &forged);
    assert_eq!(drops(&pair, Side::Client).of(Drop::NoTap), 2);
    assert_eq!(pair.end(Side::Server).frames.len(), 1);
}

#[test]
fn a_source_that_is_not_the_peers_is_refused() {
    let (mut pair, [client, _]) = pair();
    let end = pair.end_mut(Side::Server);
    end.tunnel
        .set_allowed_ips(end.peer, &nets(&["10.75.0.2/32"]));
    pair.send_frame(Side::Client, client, &frame(100, 1));
    pair.run(Duration::from_millis(5));
    assert!(pair.end(Side::Server).frames.is_empty());
    assert_eq!(drops(&pair, Side::Server).of(Drop::SourceNotAllowed), 1);
}

#[test]
fn a_lost_fragment_costs_its_frame_and_is_counted() {
    let (mut pair, [client, _]) = pair();
    pair.send_frame(Side::Client, client, &frame(1514, 1));
    pair.network.lose_one();
    pair.send_frame(Side::Client, client, &frame(1514, 2));
    pair.run(Duration::from_secs(4));
    let arrived: Vec<_> = pair
        .end(Side::Server)
        .frames
        .iter()
        .map(|it| &it.1)
        .collect();
    assert_eq!(arrived, [&frame(1514, 2)]);
    assert_eq!(drops(&pair, Side::Server).of(Drop::Unassembled), 1);
}

#[test]
fn a_frame_that_comes_back_is_dropped_at_the_bridge() {
    let (mut pair, [client, server]) = pair();
    pair.send_frame(Side::Server, server, &frame(100, 1));
    pair.run(Duration::from_millis(5));
    let (_, echo) = pair.end_mut(Side::Client).frames.pop().unwrap();
    pair.send_frame(Side::Client, client, &echo);
    pair.run(Duration::from_millis(5));
    assert!(pair.end(Side::Server).frames.is_empty());
    assert_eq!(drops(&pair, Side::Server).of(Drop::Looped), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_arrives_is_what_was_sent(
        lengths in prop::collection::vec(
            prop_oneof![4 => 14..3000usize, 1 => 14..=65_535usize],
            1..40,
        ),
        loss in prop_oneof![Just(0u64), 0..20u64],
        jitter in 0..20u64,
        duplicates in 0..30u64,
    ) {
        let (mut pair, [client, _]) = pair();
        let route = &mut pair.network.routes[0];
        route.loss = loss;
        route.jitter = Duration::from_millis(jitter);
        route.duplicates = duplicates;
        let mut sent = Vec::new();
        for (length, seed) in lengths.into_iter().zip(0..) {
            let frame = frame(length, seed);
            pair.send_frame(Side::Client, client, &frame);
            pair.run(Duration::from_millis(3));
            sent.push(frame);
        }
        pair.run(Duration::from_millis(50));
        let fits = sent.iter().filter(|frame| frame.len() <= 65_533).count();
        let arrived = &pair.end(Side::Server).frames;
        for (_, frame) in arrived {
            let position = sent.iter().position(|sent| sent == frame);
            prop_assert!(position.is_some(), "a frame of {} bytes was not sent", frame.len());
            sent.remove(position.unwrap_or_default());
        }
        if loss == 0 {
            prop_assert_eq!(arrived.len(), fits);
        }
    }
}
