//! Keys are agreed over the session, by the client, for any number of peers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::link::Side;
use super::pair::{Pair, nets, packet};
use super::start;
use crate::{Drop, Output, Path, PathPolicy, PeerConfig, PeerId, PrivateKey, Source, Tunnel};

#[test]
fn packets_pass_both_ways_over_the_session_alone() {
    let mut pair = Pair::connected(Vec::new());
    pair.talk(0, Duration::from_millis(5), Duration::from_millis(50));
    for side in Side::BOTH {
        assert_eq!(pair.end(side).received, (0..10).collect::<Vec<_>>());
        assert_eq!(pair.path(side), Some(Path::Session));
        let status = pair.end(side).tunnel.status(pair.end(side).peer).unwrap();
        assert_eq!((status.tx_bytes, status.rx_bytes), (1000, 1000));
    }
    assert!(pair.network.seen.is_empty());
}

#[test]
fn packets_wait_for_the_first_handshake_and_keep_their_order() {
    let mut pair = Pair::new(Vec::new());
    pair.connect();
    for number in 0..200 {
        pair.send(Side::Client, number);
    }
    pair.run(Duration::from_millis(50));
    assert_eq!(
        pair.end(Side::Server).received,
        (0..200).collect::<Vec<_>>()
    );
}

#[test]
fn a_server_without_keys_says_so_and_starts_no_handshake() {
    let mut pair = Pair::new(Vec::new());
    pair.connect();
    pair.session.stalled = true;
    for number in 0..10 {
        pair.send(Side::Server, number);
        pair.run(Duration::from_secs(2));
    }
    let server = pair.end(Side::Server);
    assert_eq!(server.initiations, 0);
    assert_eq!(server.tunnel.drops().of(Drop::NoKeys), 10);
}

#[test]
fn a_packet_without_a_session_is_dropped_and_counted() {
    let mut pair = Pair::new(Vec::new());
    pair.send(Side::Client, 1);
    assert_eq!(pair.end(Side::Client).tunnel.drops().of(Drop::NoPath), 1);
}

#[test]
fn hundreds_of_peers_are_told_apart_by_their_receiver_index() {
    let now = start();
    let mut server = Tunnel::new(PrivateKey::generate());
    let mut clients: Vec<_> = (0..300u16)
        .map(|n| Client::pair(&mut server, n, now))
        .collect();
    let mut output = Output::default();
    for (n, client) in clients.iter_mut().enumerate() {
        let inner = Client::address(u16::try_from(n).unwrap());
        let packet = packet(inner, [10, 75, 255, 1].into(), 7);
        let sealed = client.seal(&packet, now);
        let from = SocketAddr::from(([203, 0, 113, 1], 4000));
        server.handle_datagram(Source::Udp(from), &sealed, now);
        server.poll_output(now, &mut output);
        assert_eq!(output.packets.bytes(), packet, "client {n}");
        output.clear();
    }
    assert_eq!(server.drops().total(), 0);
}

struct Client {
    tunnel: Tunnel,
    server: PeerId,
}

impl Client {
    fn address(n: u16) -> std::net::Ipv4Addr {
        let [high, low] = n.to_be_bytes();
        [10, 75, high, low].into()
    }

    /// A client that has shaken hands over its session.
    fn pair(server: &mut Tunnel, n: u16, now: Instant) -> Self {
        let key = PrivateKey::generate();
        let id = server.add_peer(
            PeerConfig {
                public_key: key.public(),
                allowed_ips: nets(&[&format!("{}/32", Self::address(n))]),
                policy: PathPolicy::Auto,
                initiates: false,
            },
            now,
        );
        let mut tunnel = Tunnel::new(key);
        let peer = tunnel.add_peer(
            PeerConfig {
                public_key: server.public_key(),
                allowed_ips: nets(&["10.75.255.1/32"]),
                policy: PathPolicy::Auto,
                initiates: true,
            },
            now,
        );
        let mut client = Self {
            tunnel,
            server: peer,
        };
        client.tunnel.handle_session_up(peer, now);
        server.handle_session_up(id, now);
        let mut output = Output::default();
        for _ in 0..2 {
            client.tunnel.poll_output(now, &mut output);
            for (_, datagram) in output.datagrams.iter() {
                server.handle_datagram(Source::Session(id), datagram, now);
            }
            output.clear();
            server.poll_output(now, &mut output);
            for (_, datagram) in output.datagrams.iter() {
                let source = Source::Session(client.server);
                client.tunnel.handle_datagram(source, datagram, now);
            }
            output.clear();
        }
        client
    }

    fn seal(&mut self, packet: &[u8], now: Instant) -> Vec<u8> {
        let mut output = Output::default();
        self.tunnel.poll_output(now, &mut output);
        output.clear();
        self.tunnel.handle_packet(&mut packet.to_vec(), now);
        self.tunnel.poll_output(now, &mut output);
        output.datagrams.bytes().to_vec()
    }
}
