//! Whoever sits on the wire can neither speak nor move anything.

use std::net::SocketAddr;
use std::time::Duration;

use super::link::{Route, Side};
use super::pair::Pair;
use crate::{Drop, Output, Path, Source};

const OPEN: (&str, &str) = ("192.0.2.10:1000", "198.51.100.1:2000");

fn attacker() -> SocketAddr {
    "203.0.113.66:6666".parse().unwrap()
}

fn on_udp() -> Pair {
    let mut pair = Pair::on_udp(vec![Route::open(OPEN.0, OPEN.1)]);
    pair.talk(0, Duration::from_millis(1), Duration::from_millis(20));
    pair.run(Duration::from_millis(20));
    pair
}

#[test]
fn a_replayed_datagram_changes_nothing_and_is_counted() {
    let mut pair = on_udp();
    let seen = pair.network.seen.clone();
    let before = pair.end(Side::Server).received.clone();
    let path = pair.path(Side::Server);
    let mut replayed = 0;
    for (_, datagram) in seen.iter().filter(|(side, _)| *side == Side::Client) {
        pair.inject(Side::Server, attacker(), datagram);
        replayed += 1;
    }
    assert!(replayed >= 20);
    let server = pair.end(Side::Server);
    assert_eq!(server.received, before);
    assert_eq!(server.tunnel.drops().of(Drop::NotAuthentic), replayed);
    assert_eq!(pair.path(Side::Server), path);
}

#[test]
fn a_forged_or_truncated_datagram_changes_nothing_and_is_counted() {
    let mut pair = on_udp();
    let (_, genuine) = pair.network.seen.last().unwrap().clone();
    let victim = pair.network.seen.last().unwrap().0.other();
    let before = pair.end(victim).received.clone();
    let mut fresh = genuine.clone();
    fresh[8..16].copy_from_slice(&1_000_000u64.to_le_bytes());
    pair.inject(victim, attacker(), &fresh);
    for length in 0..genuine.len() {
        pair.inject(victim, attacker(), &genuine[..length]);
    }
    let mut stranger = fresh;
    stranger[4..8].copy_from_slice(&[0xff; 4]);
    pair.inject(victim, attacker(), &stranger);
    let end = pair.end(victim);
    assert_eq!(end.received, before);
    let drops = end.tunnel.drops();
    assert_eq!(drops.of(Drop::MalformedDatagram), 32);
    assert_eq!(drops.of(Drop::UnknownPeer), 1);
    assert_eq!(drops.total(), genuine.len() as u64 + 2);
    pair.run(Duration::from_secs(1));
    assert!(pair.is_on_udp(victim));
}

#[test]
fn a_replayed_initiation_does_not_take_the_endpoint() {
    let mut pair = on_udp();
    let initiation = initiation(&mut pair);
    let honest = "192.0.2.10:1000".parse().unwrap();
    pair.inject(Side::Server, honest, &initiation);
    pair.cut_session();
    let path = pair.path(Side::Server);
    pair.inject(Side::Server, attacker(), &initiation);
    assert_eq!(pair.path(Side::Server), path);
    assert_eq!(
        pair.end(Side::Server).tunnel.drops().of(Drop::NotAuthentic),
        1
    );
}

#[test]
fn a_cookie_reply_does_not_take_the_endpoint() {
    let mut pair = on_udp();
    let initiation = initiation(&mut pair);
    let cookie = cookie(&mut pair, &initiation);
    pair.cut_session();
    let path = pair.path(Side::Client);
    let before = pair.end(Side::Client).tunnel.drops().clone();
    pair.inject(Side::Client, attacker(), &cookie);
    assert_eq!(
        *pair.end(Side::Client).tunnel.drops(),
        before,
        "it is genuine"
    );
    assert_eq!(pair.path(Side::Client), path);
}

#[test]
fn a_flood_of_initiations_is_answered_with_cookies_to_its_source() {
    let mut pair = on_udp();
    let initiation = initiation(&mut pair);
    let cookie = cookie(&mut pair, &initiation);
    assert_eq!(cookie.len(), 64);
    pair.talk(1000, Duration::from_millis(1), Duration::from_millis(5));
    pair.run(Duration::from_millis(20));
    assert!(pair.end(Side::Client).received.contains(&1004));
}

/// A genuine initiation that has reached nobody yet.
fn initiation(pair: &mut Pair) -> Vec<u8> {
    let now = pair.now;
    let end = pair.end_mut(Side::Client);
    let mut output = Output::default();
    end.tunnel.handle_session_up(end.peer, now);
    end.tunnel.poll_output(now, &mut output);
    let mut sent = output.datagrams.iter().map(|(_, datagram)| datagram);
    sent.find(|datagram| datagram[0] == 1).unwrap().to_vec()
}

/// The cookie a server under load answers the initiation with.
fn cookie(pair: &mut Pair, initiation: &[u8]) -> Vec<u8> {
    let now = pair.now;
    let end = pair.end_mut(Side::Server);
    let mut output = Output::default();
    for _ in 0..200 {
        end.tunnel
            .handle_datagram(Source::Udp(attacker()), initiation, now);
    }
    end.tunnel.poll_output(now, &mut output);
    let mut sent = output.datagrams.iter();
    let is_cookie = |((_, path), datagram): &(&(_, Path), &[u8])| {
        *path == Path::Udp(attacker()) && datagram[0] == 3
    };
    sent.find(is_cookie).unwrap().1.to_vec()
}
