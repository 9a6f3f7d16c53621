//! Cryptokey routing in both directions.

use std::time::Duration;

use super::link::{Route, Side};
use super::pair::{CONTAINER, HOST, Pair, nets, packet};
use crate::{Drop, PathPolicy, PeerConfig};

const SOON: Duration = Duration::from_millis(20);

#[test]
fn a_packet_whose_source_is_not_the_senders_own_is_dropped() {
    let mut pair = Pair::connected(Vec::new());
    pair.send_packet(Side::Client, &packet([10, 75, 0, 3].into(), CONTAINER, 1));
    pair.send_packet(Side::Server, &packet([8, 8, 8, 8].into(), HOST, 2));
    pair.run(SOON);
    for side in Side::BOTH {
        let end = pair.end(side);
        assert!(end.received.is_empty());
        assert_eq!(end.tunnel.drops().of(Drop::SourceNotAllowed), 1);
    }
}

#[test]
fn packets_with_a_strange_source_prove_a_path_like_any_other() {
    let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
    let stray = packet([10, 75, 0, 3].into(), CONTAINER, 1);
    pair.run(5 * SOON);
    let probes = pair.end(Side::Client).empties;
    for _ in 0..100 {
        pair.send_packet(Side::Client, &stray);
        pair.run(5 * SOON);
    }
    assert!(pair.is_on_udp(Side::Client));
    assert_eq!(pair.end(Side::Client).empties, probes, "it was in doubt");
}

#[test]
fn a_packet_to_nobodys_address_is_dropped() {
    let mut pair = Pair::connected(Vec::new());
    pair.send_packet(Side::Client, &packet(HOST, [10, 0, 0, 1].into(), 1));
    pair.send_packet(Side::Client, &[0x45, 0, 0]);
    pair.run(SOON);
    let drops = pair.end(Side::Client).tunnel.drops();
    assert_eq!(drops.of(Drop::NoPeer), 1);
    assert_eq!(drops.of(Drop::MalformedPacket), 1);
    assert!(pair.end(Side::Server).received.is_empty());
}

#[test]
fn allowed_ips_change_while_packets_flow() {
    let mut pair = Pair::connected(Vec::new());
    let server = pair.end(Side::Client).peer;
    let client = &mut pair.end_mut(Side::Client).tunnel;
    client.set_allowed_ips(server, &nets(&["172.19.0.0/16"]));
    pair.send(Side::Client, 1);
    pair.send(Side::Server, 2);
    pair.run(SOON);
    let drops = pair.end(Side::Client).tunnel.drops();
    assert_eq!(drops.of(Drop::NoPeer), 1);
    assert_eq!(drops.of(Drop::SourceNotAllowed), 1);
}

#[test]
fn a_packet_to_this_ends_own_address_goes_back_to_the_device() {
    let mut pair = Pair::connected(Vec::new());
    let client = &mut pair.end_mut(Side::Client).tunnel;
    client.set_local([HOST.into()].into());
    pair.send_packet(Side::Client, &packet(HOST, HOST, 5));
    pair.run(SOON);
    assert_eq!(pair.end(Side::Client).received, [5]);
}

#[test]
fn a_removed_peer_is_unknown() {
    let mut pair = Pair::connected(Vec::new());
    let client = pair.end(Side::Server).peer;
    pair.end_mut(Side::Server).tunnel.remove_peer(client);
    pair.send(Side::Client, 1);
    pair.send(Side::Server, 2);
    pair.run(SOON);
    let server = &pair.end(Side::Server).tunnel;
    assert!(server.status(client).is_none());
    assert!(server.drops().of(Drop::UnknownPeer) >= 1);
    assert_eq!(server.drops().of(Drop::NoPeer), 1);
    assert!(pair.end(Side::Server).received.is_empty());
}

#[test]
fn a_peer_that_is_added_again_begins_anew() {
    let mut pair = Pair::connected(Vec::new());
    let config = PeerConfig {
        public_key: pair.end(Side::Client).tunnel.public_key(),
        allowed_ips: nets(&["10.75.0.2/32"]),
        policy: PathPolicy::Auto,
        initiates: false,
    };
    let now = pair.now;
    let server = pair.end_mut(Side::Server);
    let old = server.peer;
    server.peer = server.tunnel.add_peer(config, now);
    assert_ne!(server.peer, old);
    assert!(server.tunnel.status(old).is_none());
    pair.connect();
    pair.run(SOON);
    pair.send(Side::Client, 1);
    pair.send(Side::Server, 2);
    pair.run(SOON);
    assert_eq!(pair.end(Side::Server).received, [1]);
    assert_eq!(pair.end(Side::Client).received, [2]);
}
