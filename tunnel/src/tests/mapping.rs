//! Prefixes reached under others, through whole tunnels.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use ipnet::IpNet;

use super::pair::{CONTAINER, HOST, nets, packet};
use crate::packet::Addresses;
use crate::{Drop, Output, PathPolicy, PeerConfig, PeerId, PrivateKey, Source, Tunnel};

/// A host and the engines it is connected to by sessions.
struct Star {
    host: Tunnel,
    engines: Vec<Engine>,
    now: Instant,
    /// What the host's device got.
    received: Vec<Addresses>,
}

struct Engine {
    tunnel: Tunnel,
    host: PeerId,
    /// What the host knows it by.
    name: PeerId,
    received: Vec<Addresses>,
}

const ALLOWED: [&str; 2] = ["10.75.0.1/32", "172.18.0.0/16"];
const MAPPED: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 254, 0, 2), Ipv4Addr::new(10, 253, 0, 2)];

impl Star {
    fn new(engines: usize) -> Self {
        let now = super::start();
        let key = PrivateKey::generate();
        let mut star = Self {
            host: Tunnel::new(key.clone()),
            engines: Vec::new(),
            now,
            received: Vec::new(),
        };
        for _ in 0..engines {
            star.add_engine(&key);
        }
        star.settle();
        star
    }

    /// Two engines with equal subnets, each mapped to a prefix of its own.
    fn of_twins() -> Self {
        let mut star = Self::new(2);
        star.map(0, &[("172.18.0.0/16", "10.254.0.0/16")]);
        star.map(1, &[("172.18.0.0/16", "10.253.0.0/16")]);
        star
    }

    fn add_engine(&mut self, key: &PrivateKey) {
        let own = PrivateKey::generate();
        let config = |public_key, allowed: &[&str], initiates| PeerConfig {
            public_key,
            allowed_ips: nets(allowed),
            policy: PathPolicy::Session,
            initiates,
        };
        let name = self
            .host
            .add_peer(config(own.public(), &ALLOWED, true), self.now);
        let mut tunnel = Tunnel::new(own);
        let host = tunnel.add_peer(config(key.public(), &["10.75.0.2/32"], false), self.now);
        tunnel.handle_session_up(host, self.now);
        self.host.handle_session_up(name, self.now);
        self.engines.push(Engine {
            tunnel,
            host,
            name,
            received: Vec::new(),
        });
    }

    fn map(&mut self, engine: usize, pairs: &[(&str, &str)]) {
        let pairs = pairs
            .iter()
            .map(|(truth, mapped)| (truth.parse().unwrap(), mapped.parse().unwrap()));
        let pairs: BTreeMap<IpNet, IpNet> = pairs.collect();
        self.host
            .set_translations(self.engines[engine].name, &pairs);
    }

    fn send(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        let mut packet = packet(from, to, 0);
        self.host.handle_packet(&mut packet, self.now);
        self.settle();
    }

    fn answer(&mut self, engine: usize, from: Ipv4Addr) {
        let mut packet = packet(from, HOST, 0);
        let tunnel = &mut self.engines[engine].tunnel;
        tunnel.handle_packet(&mut packet, self.now);
        self.settle();
    }

    /// Until no end has anything to say.
    fn settle(&mut self) {
        let mut output = Output::default();
        loop {
            self.host.poll_output(self.now, &mut output);
            self.received.extend(arrived(&output));
            let mut quiet = output.is_empty();
            for ((to, _), datagram) in output.datagrams.iter() {
                let engine = self.engines.iter_mut().find(|it| it.name == *to).unwrap();
                let source = Source::Session(engine.host);
                engine.tunnel.handle_datagram(source, datagram, self.now);
            }
            output.clear();
            for engine in &mut self.engines {
                engine.tunnel.poll_output(self.now, &mut output);
                engine.received.extend(arrived(&output));
                quiet &= output.is_empty();
                for (_, datagram) in output.datagrams.iter() {
                    let source = Source::Session(engine.name);
                    self.host.handle_datagram(source, datagram, self.now);
                }
                output.clear();
            }
            if quiet {
                return;
            }
        }
    }
}

fn arrived(output: &Output) -> impl Iterator<Item = Addresses> {
    let packets = output.packets.iter();
    packets.filter_map(|((), packet)| Addresses::of(packet))
}

fn addresses(source: Ipv4Addr, destination: Ipv4Addr) -> Addresses {
    Addresses {
        source: source.into(),
        destination: destination.into(),
    }
}

#[test]
fn the_peer_sees_true_addresses_and_this_end_mapped_ones() {
    let mut star = Star::new(1);
    star.map(0, &[("172.18.0.0/16", "10.254.0.0/16")]);
    star.send(HOST, MAPPED[0]);
    assert_eq!(star.engines[0].received, [addresses(HOST, CONTAINER)]);
    star.answer(0, CONTAINER);
    assert_eq!(star.received, [addresses(MAPPED[0], HOST)]);
    assert_eq!(star.host.drops().total(), 0);
}

#[test]
fn two_peers_with_one_subnet_are_told_apart() {
    let mut star = Star::of_twins();
    for (engine, mapped) in MAPPED.into_iter().enumerate() {
        star.send(HOST, mapped);
        star.answer(engine, CONTAINER);
        assert_eq!(star.engines[engine].received, [addresses(HOST, CONTAINER)]);
        assert_eq!(star.received.pop(), Some(addresses(mapped, HOST)));
    }
    assert!(star.received.is_empty());
    assert_eq!(star.host.drops().total(), 0);
}

#[test]
fn one_peer_may_keep_the_prefix_that_the_others_is_mapped_from() {
    let mut star = Star::new(2);
    star.map(1, &[("172.18.0.0/16", "10.253.0.0/16")]);
    star.send(HOST, CONTAINER);
    star.answer(0, CONTAINER);
    assert_eq!(star.engines[0].received, [addresses(HOST, CONTAINER)]);
    assert_eq!(star.received, [addresses(CONTAINER, HOST)]);
    star.answer(1, CONTAINER);
    assert_eq!(star.received[1..], [addresses(MAPPED[1], HOST)]);
    assert!(star.engines[1].received.is_empty());
}

#[test]
fn the_true_address_of_a_mapped_subnet_is_nobodys() {
    let mut star = Star::of_twins();
    star.send(HOST, CONTAINER);
    assert_eq!(star.host.drops().of(Drop::NoPeer), 1);
    assert!(star.engines.iter().all(|it| it.received.is_empty()));
}

#[test]
fn inside_a_broader_allowed_prefix_only_the_mapped_part_moves() {
    let mut star = Star::new(1);
    star.map(0, &[("172.18.0.0/24", "10.254.0.0/24")]);
    star.send(HOST, CONTAINER);
    assert_eq!(star.host.drops().of(Drop::NoPeer), 1);
    star.send(HOST, MAPPED[0]);
    star.send(HOST, [172, 18, 1, 2].into());
    let expected = [CONTAINER, [172, 18, 1, 2].into()].map(|it| addresses(HOST, it));
    assert_eq!(star.engines[0].received, expected);
}

#[test]
fn a_peer_cannot_pretend_to_be_a_mapped_address() {
    let mut star = Star::of_twins();
    for source in [MAPPED[0], MAPPED[1], Ipv4Addr::new(8, 8, 8, 8)] {
        star.answer(0, source);
    }
    assert!(star.received.is_empty());
    assert_eq!(star.host.drops().of(Drop::SourceNotAllowed), 3);
}

#[test]
fn a_pair_allows_nothing_that_allowed_ips_do_not() {
    let mut star = Star::new(1);
    star.map(0, &[("192.168.0.0/16", "10.254.0.0/16")]);
    star.answer(0, [192, 168, 0, 2].into());
    star.send(HOST, MAPPED[0]);
    assert!(star.received.is_empty() && star.engines[0].received.is_empty());
    assert_eq!(star.host.drops().of(Drop::SourceNotAllowed), 1);
    assert_eq!(star.host.drops().of(Drop::NoPeer), 1);
}

#[test]
fn translations_come_and_go_while_packets_flow() {
    let mut star = Star::of_twins();
    star.map(0, &[]);
    star.send(HOST, MAPPED[0]);
    assert_eq!(star.host.drops().of(Drop::NoPeer), 1);
    star.send(HOST, CONTAINER);
    assert_eq!(star.engines[0].received, [addresses(HOST, CONTAINER)]);
    let other = star.engines[1].name;
    star.host.remove_peer(other);
    star.send(HOST, MAPPED[1]);
    assert_eq!(star.host.drops().of(Drop::NoPeer), 2);
}

/// dtap's own other end would not send it.
#[test]
fn a_packet_whose_header_is_cut_short_is_dropped_and_counted() {
    let now = super::start();
    let (key, own) = (PrivateKey::generate(), PrivateKey::generate());
    let mut host = Tunnel::new(key.clone());
    let config = PeerConfig {
        public_key: own.public(),
        allowed_ips: nets(&ALLOWED),
        policy: PathPolicy::Session,
        initiates: true,
    };
    let name = host.add_peer(config, now);
    let pair = (
        "172.18.0.0/16".parse().unwrap(),
        "10.254.0.0/16".parse().unwrap(),
    );
    host.set_translations(name, &[pair].into());
    host.handle_session_up(name, now);
    let public = x25519::PublicKey::from(*key.public().as_bytes());
    let mut engine = Tunn::new(own.x25519().clone(), public, None, None, 0, None);
    let mut output = Output::default();
    host.poll_output(now, &mut output);
    let (_, initiation) = output.datagrams.iter().next().unwrap();
    let mut buffer = [0; 256];
    let TunnResult::WriteToNetwork(response) = engine.decapsulate(None, initiation, &mut buffer)
    else {
        panic!("no response");
    };
    host.handle_datagram(Source::Session(name), response, now);
    output.clear();
    host.poll_output(now, &mut output);
    let (_, keepalive) = output.datagrams.iter().next().unwrap();
    engine.decapsulate(None, keepalive, &mut buffer);
    let mut packet = packet(CONTAINER, HOST, 0);
    // Five words are the least.
    packet[0] = 0x44;
    let TunnResult::WriteToNetwork(sealed) = engine.encapsulate(&packet, &mut buffer) else {
        panic!("not sealed");
    };
    host.handle_datagram(Source::Session(name), sealed, now);
    assert_eq!(host.drops().of(Drop::Untranslatable), 1);
}

#[test]
fn an_address_of_this_end_is_never_translated() {
    let mut star = Star::of_twins();
    star.host.set_local([IpAddr::from(MAPPED[0])].into());
    star.send(HOST, MAPPED[0]);
    assert_eq!(star.received, [addresses(HOST, MAPPED[0])]);
}
