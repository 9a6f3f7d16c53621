//! Answers by UDP that come from another address than the one that was asked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::link::Side;
use super::pair::{CONTAINER, HOST, Pair, packet};

const SOON: Duration = Duration::from_millis(20);
const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 19, 0, 3);

#[test]
fn a_container_is_answered_at_the_address_it_sent_from_and_answers_from_the_one_that_was_asked() {
    let mut pair = Pair::connected(Vec::new());
    let server = &mut pair.end_mut(Side::Server).tunnel;
    server.set_sources(BTreeMap::from([(BRIDGE, CONTAINER)]));
    let (peer, nets) = (pair.end(Side::Client).peer, ["172.16.0.0/12"]);
    let client = &mut pair.end_mut(Side::Client).tunnel;
    client.set_allowed_ips(peer, &super::pair::nets(&nets));

    let from_bridge = udp(BRIDGE, HOST, [53, 40_000]);
    assert_eq!(arriving(&mut pair, Side::Server, &from_bridge), BRIDGE);
    let question = udp(HOST, CONTAINER, [40_000, 53]);
    assert_eq!(arriving(&mut pair, Side::Client, &question), HOST);
    assert_eq!(arriving(&mut pair, Side::Server, &from_bridge), CONTAINER);
    let unasked = udp(BRIDGE, HOST, [40_001, 53]);
    assert_eq!(arriving(&mut pair, Side::Server, &unasked), BRIDGE);
    let reply = udp(HOST, BRIDGE, [53, 40_001]);
    assert_eq!(arriving(&mut pair, Side::Client, &reply), HOST);
    assert_eq!(arriving(&mut pair, Side::Server, &unasked), BRIDGE);
}

/// The source with which a packet sent at one end gets to the device of the other.
fn arriving(pair: &mut Pair, from: Side, packet: &[u8]) -> Ipv4Addr {
    pair.end_mut(from.other()).sources.clear();
    pair.send_packet(from, packet);
    pair.run(SOON);
    let [source] = pair.end(from.other()).sources[..] else {
        panic!("not one packet");
    };
    source
}

fn udp(from: Ipv4Addr, to: Ipv4Addr, ports: [u16; 2]) -> Vec<u8> {
    let mut packet = packet(from, to, 0);
    packet[9] = 17;
    let [source, destination] = ports.map(u16::to_be_bytes);
    packet[20..24].copy_from_slice(&[source, destination].concat());
    packet
}
