//! Endpoints follow what is authentic, and only that.

use std::net::SocketAddr;
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};

use super::link::{Item, Route, Side};
use super::pair::{CONTAINER, HOST, Pair, packet};
use crate::{Output, Path, PathPolicy, Source};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_nat_that_gives_another_port_is_followed() {
    let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
    pair.talk(0, Duration::from_millis(10), SECOND);
    assert_eq!(pair.path(Side::Client), udp("127.0.0.1:50001"));
    pair.network.routes[0].forget_flow();
    pair.talk(1000, Duration::from_millis(10), SECOND);
    pair.run(SECOND);
    assert_eq!(pair.path(Side::Client), udp("127.0.0.1:50002"));
    let received = &pair.end(Side::Server).received;
    assert!(received.ends_with(&[1098, 1099]));
}

#[test]
fn a_nat_that_forgets_many_times_is_still_followed() {
    let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
    for round in 0..100 {
        pair.network.routes[0].forget_flow();
        pair.send(Side::Server, round);
        pair.send(Side::Client, round);
        pair.run(SECOND);
    }
    assert_eq!(pair.path(Side::Client), udp("127.0.0.1:50101"));
    assert!(pair.is_on_udp(Side::Server));
}

#[test]
fn a_datagram_from_the_session_never_moves_the_endpoint() {
    let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
    let path = pair.path(Side::Server);
    for number in 0..10 {
        let now = pair.now;
        let mut output = Output::default();
        let client = &mut pair.end_mut(Side::Client).tunnel;
        client.handle_packet(&mut packet(HOST, CONTAINER, number), now);
        client.poll_output(now, &mut output);
        let sealed = Item::Datagram(output.datagrams.bytes().to_vec());
        pair.session.send(Side::Client, sealed, now);
        pair.run(SECOND / 10);
    }
    assert_eq!(pair.end(Side::Server).received, (0..10).collect::<Vec<_>>());
    assert_eq!(pair.path(Side::Server), path);
}

#[test]
fn an_end_that_may_use_the_session_only_follows_nobody() {
    let mut pair = Pair::with_policy(Vec::new(), PathPolicy::Session);
    pair.connect();
    pair.run(SECOND);
    let now = pair.now;
    let mut output = Output::default();
    let client = &mut pair.end_mut(Side::Client).tunnel;
    client.handle_packet(&mut packet(HOST, CONTAINER, 5), now);
    client.poll_output(now, &mut output);
    pair.cut_session();
    let from = "203.0.113.5:5000".parse().unwrap();
    pair.inject(Side::Server, from, output.datagrams.bytes());
    assert_eq!(pair.end(Side::Server).received, [5]);
    assert_eq!(pair.path(Side::Server), None);
}

#[test]
fn a_standard_peer_without_a_session_shakes_hands_and_roams() {
    let mut pair = Pair::new(Vec::new());
    let mut guest = Guest::new(&pair);
    let home: SocketAddr = "203.0.113.5:5000".parse().unwrap();
    guest.shake_hands(&mut pair, home);
    assert_eq!(pair.path(Side::Server), Some(Path::Udp(home)));
    assert_eq!(guest.packet_through(&mut pair), home);

    let away: SocketAddr = "198.18.0.7:7000".parse().unwrap();
    let sealed = guest.seal(&packet(HOST, CONTAINER, 1));
    pair.inject(Side::Server, away, &sealed);
    assert_eq!(pair.end(Side::Server).received, [1]);
    assert_eq!(guest.packet_through(&mut pair), away);

    pair.inject(Side::Server, home, &sealed);
    assert_eq!(guest.packet_through(&mut pair), away, "a replay moved it");
    let before = pair.end(Side::Server).wakeups;
    pair.run(60 * SECOND);
    let server = pair.end(Side::Server);
    assert_eq!(server.reports, 0, "nobody would read them");
    assert!(server.wakeups - before <= 61);
}

/// A WireGuard implementation that knows nothing of sessions.
struct Guest {
    tunn: Tunn,
}

impl Guest {
    fn new(pair: &Pair) -> Self {
        let key = pair.end(Side::Client).key.x25519().clone();
        let server = pair.end(Side::Server).key.public().x25519();
        Self {
            tunn: Tunn::new(key, server, None, None, 7, None),
        }
    }

    fn shake_hands(&mut self, pair: &mut Pair, from: SocketAddr) {
        let mut buffer = [0; 256];
        let TunnResult::WriteToNetwork(initiation) =
            self.tunn.format_handshake_initiation(&mut buffer, false)
        else {
            panic!("no initiation");
        };
        let (to, response) = ask(pair, from, initiation);
        assert_eq!(to, from);
        let result = self.tunn.decapsulate(None, &response, &mut buffer);
        let TunnResult::WriteToNetwork(keepalive) = result else {
            panic!("no keepalive: {result:?}");
        };
        pair.inject(Side::Server, from, keepalive);
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 256];
        let TunnResult::WriteToNetwork(datagram) = self.tunn.encapsulate(packet, &mut buffer)
        else {
            panic!("no keys");
        };
        datagram.to_vec()
    }

    /// Where the server sends a packet for the guest, which can open it.
    fn packet_through(&mut self, pair: &mut Pair) -> SocketAddr {
        let now = pair.now;
        let server = &mut pair.end_mut(Side::Server).tunnel;
        server.handle_packet(&mut packet(CONTAINER, HOST, 9), now);
        let (to, datagram) = answer(pair);
        let mut buffer = [0; 256];
        let result = self.tunn.decapsulate(None, &datagram, &mut buffer);
        assert!(matches!(result, TunnResult::WriteToTunnelV4(..)));
        to
    }
}

fn ask(pair: &mut Pair, from: SocketAddr, datagram: &[u8]) -> (SocketAddr, Vec<u8>) {
    let now = pair.now;
    let server = &mut pair.end_mut(Side::Server).tunnel;
    server.handle_datagram(Source::Udp(from), datagram, now);
    answer(pair)
}

fn answer(pair: &mut Pair) -> (SocketAddr, Vec<u8>) {
    let now = pair.now;
    let mut output = Output::default();
    let server = &mut pair.end_mut(Side::Server).tunnel;
    server.poll_output(now, &mut output);
    let to_udp = output.datagrams.iter().find_map(|((_, path), datagram)| {
        let Path::Udp(to) = path else { return None };
        Some((*to, datagram.to_vec()))
    });
    to_udp.unwrap()
}

fn udp(address: &str) -> Option<Path> {
    Some(Path::Udp(address.parse().unwrap()))
}
