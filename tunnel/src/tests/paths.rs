//! How a peer's datagrams find UDP, and what keeps them from it.

use std::time::Duration;

use super::link::{Route, Side};
use super::pair::{Pair, nets};
use crate::{Drop, Path, PathPolicy};

const SECOND: Duration = Duration::from_secs(1);

fn open() -> Route {
    Route::open("192.0.2.10:1000", "198.51.100.1:2000")
}

fn other() -> Route {
    Route::open("192.0.2.20:1000", "198.51.100.2:2000")
}

fn udp(address: &str) -> Option<Path> {
    Some(Path::Udp(address.parse().unwrap()))
}

#[test]
fn a_proven_path_is_used_within_one_round_trip() {
    let mut route = open();
    route.delay = Duration::from_millis(10);
    let mut pair = Pair::new(vec![route]);
    pair.session.delay = Duration::from_millis(20);
    pair.connect();
    // A handshake, a probe and its report, a switch and its acknowledgement.
    let handshake = Duration::from_millis(40);
    let report = Duration::from_millis(10 + 20);
    let switch = Duration::from_millis(40);
    let took = pair.run_until(SECOND, |pair| pair.is_on_udp(Side::Client));
    assert!(took <= handshake + report + switch, "{took:?}");
    let took = pair.run_until(SECOND, |pair| pair.is_on_udp(Side::Server));
    assert!(took <= Duration::from_millis(20), "{took:?}");
    assert_eq!(pair.path(Side::Client), udp("198.51.100.1:2000"));
    assert_eq!(pair.path(Side::Server), udp("192.0.2.10:1000"));
}

#[test]
fn where_only_the_server_can_dial_both_directions_take_udp() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.connect();
    let both = |pair: &Pair| Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
    let took = pair.run_until(2 * SECOND, both);
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!(pair.path(Side::Client), udp("127.0.0.1:50001"));
    assert_eq!(pair.path(Side::Server), udp("192.168.65.254:41641"));
    let next = pair.talk(0, Duration::from_millis(10), SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        assert_eq!(pair.end(side).received, (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn where_only_the_client_can_dial_both_directions_take_udp() {
    let nat = Route::nat(Side::Client, "203.0.113.7:3000", "198.51.100.1:2000");
    let mut pair = Pair::on_udp(vec![nat]);
    pair.talk(0, Duration::from_millis(10), SECOND);
    assert_eq!(pair.path(Side::Server), udp("203.0.113.7:3001"));
}

#[test]
fn a_long_round_trip_does_not_keep_udp_from_being_proven() {
    for delay in [150, 250, 450] {
        let mut route = open();
        route.delay = Duration::from_millis(delay);
        let mut pair = Pair::new(vec![route]);
        pair.session.delay = Duration::from_millis(delay);
        pair.connect();
        let both = |pair: &Pair| Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
        pair.run_until(10 * SECOND, both);
        let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
        pair.talk(0, Duration::from_millis(50), 20 * SECOND);
        let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
        assert_eq!(after, before, "at {delay} ms");
    }
}

#[test]
fn without_udp_everything_stays_on_the_session() {
    let mut route = open();
    route.blocked = Side::BOTH.to_vec();
    let mut pair = Pair::connected(vec![route]);
    let next = pair.talk(0, Duration::from_millis(20), 30 * SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        assert_eq!(pair.path(side), Some(Path::Session));
        assert_eq!(pair.end(side).received, (0..next).collect::<Vec<_>>());
    }
    assert!(pair.network.seen.len() < 40, "{}", pair.network.seen.len());
}

#[test]
fn one_direction_may_use_udp_while_the_other_cannot() {
    let mut route = open();
    route.blocked = vec![Side::Server];
    let mut pair = Pair::connected(vec![route]);
    let next = pair.talk(0, Duration::from_millis(20), 10 * SECOND);
    pair.run(SECOND);
    assert!(pair.is_on_udp(Side::Client));
    assert_eq!(pair.path(Side::Server), Some(Path::Session));
    for side in Side::BOTH {
        assert_eq!(pair.end(side).received, (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn two_proven_paths_do_not_flap() {
    let mut pair = Pair::new(vec![open(), other()]);
    // The client hears of the first route first, the server of the second.
    pair.network.routes[0].blocked = vec![Side::Server];
    pair.network.routes[1].blocked = vec![Side::Client];
    pair.connect();
    pair.run(SECOND);
    for route in &mut pair.network.routes {
        route.blocked.clear();
    }
    assert_eq!(pair.path(Side::Client), udp("198.51.100.1:2000"));
    assert_eq!(pair.path(Side::Server), udp("192.0.2.20:1000"));
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.clone()).collect();
    pair.talk(0, Duration::from_millis(10), 60 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.clone()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_second_path_takes_over_when_the_first_dies() {
    let mut pair = Pair::on_udp(vec![open(), other()]);
    pair.talk(0, Duration::from_millis(10), 5 * SECOND);
    let Some(Path::Udp(used)) = pair.path(Side::Client) else {
        panic!("not on UDP");
    };
    let dead = pair.network.routes.iter_mut();
    for route in dead.filter(|route| route.addresses[1] == used) {
        route.blocked = Side::BOTH.to_vec();
    }
    let next = pair.talk(10_000, Duration::from_millis(10), 4 * SECOND);
    pair.run(SECOND);
    assert!(pair.is_on_udp(Side::Client) && pair.path(Side::Client) != Some(Path::Udp(used)));
    let received = &pair.end(Side::Server).received;
    let missing = (10_000..next)
        .filter(|number| !received.contains(number))
        .count();
    assert!(missing < 200, "{missing} of 10 ms each");
}

#[test]
fn two_flows_from_one_address_do_not_flap() {
    let mut gateway = Route::docker_desktop();
    gateway.addresses[0] = "192.168.65.1:41641".parse().unwrap();
    gateway.addresses[1].set_port(60_000);
    let mut pair = Pair::on_udp(vec![Route::docker_desktop(), gateway]);
    pair.run(SECOND);
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    pair.talk(0, Duration::from_millis(10), 60 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert!(after[0] <= before[0] + 1 && after[1] == before[1]);
}

#[test]
fn the_session_policy_sends_nothing_by_udp() {
    let mut pair = Pair::with_policy(vec![open()], PathPolicy::Session);
    pair.connect();
    let next = pair.talk(0, Duration::from_millis(20), 10 * SECOND);
    pair.run(SECOND);
    assert!(pair.network.seen.is_empty());
    assert_eq!(
        pair.end(Side::Server).received,
        (0..next).collect::<Vec<_>>()
    );
}

#[test]
fn the_udp_policy_sends_no_packet_over_the_session() {
    let mut route = open();
    route.blocked = Side::BOTH.to_vec();
    let mut pair = Pair::with_policy(vec![route], PathPolicy::Udp);
    pair.connect();
    pair.talk(0, Duration::from_millis(20), SECOND);
    for side in Side::BOTH {
        assert_eq!(pair.path(side), None);
        assert!(pair.end(side).received.is_empty());
        assert_eq!(pair.end(side).tunnel.drops().of(Drop::NoPath), 50);
    }
    pair.network.routes[0].blocked.clear();
    let both = |pair: &Pair| Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
    pair.run_until(10 * SECOND, both);
    pair.talk(100, Duration::from_millis(20), SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        assert_eq!(pair.end(side).received, (100..150).collect::<Vec<_>>());
    }
}

#[test]
fn a_tunnel_does_not_carry_itself() {
    let mut pair = Pair::new(vec![open()]);
    for side in Side::BOTH {
        let inner = nets(&["192.0.2.0/24", "198.51.100.0/24"]);
        pair.end_mut(side).tunnel.set_inner(inner);
    }
    pair.connect();
    pair.talk(0, Duration::from_millis(20), 5 * SECOND);
    assert!(pair.network.seen.is_empty());
    for side in Side::BOTH {
        assert_eq!(pair.path(side), Some(Path::Session));
    }
}

#[test]
fn a_path_that_a_new_network_swallows_is_left_at_once() {
    let mut pair = Pair::on_udp(vec![open()]);
    for side in Side::BOTH {
        let inner = nets(&["192.0.2.0/24", "198.51.100.0/24"]);
        pair.end_mut(side).tunnel.set_inner(inner);
        assert_eq!(pair.path(side), Some(Path::Session));
    }
    let seen = pair.network.seen.len();
    let next = pair.talk(0, Duration::from_millis(20), 5 * SECOND);
    pair.run(SECOND);
    assert_eq!(pair.network.seen.len(), seen);
    assert_eq!(
        pair.end(Side::Server).received,
        (0..next).collect::<Vec<_>>()
    );
}

#[test]
fn datagrams_from_within_a_tunnel_are_ignored() {
    let mut pair = Pair::on_udp(vec![open()]);
    let client = &mut pair.end_mut(Side::Client).tunnel;
    client.set_inner(nets(&["198.51.100.0/24"]));
    pair.talk(0, Duration::from_millis(20), 4 * SECOND);
    assert!(pair.end(Side::Client).tunnel.drops().of(Drop::NoPath) > 0);
    assert_eq!(pair.path(Side::Server), Some(Path::Session));
}

#[test]
fn an_idle_pair_hardly_ever_wakes_and_hardly_ever_reports() {
    let mut pair = Pair::on_udp(vec![open()]);
    pair.run(3 * SECOND);
    let counts = |pair: &Pair| Side::BOTH.map(|s| (pair.end(s).wakeups, pair.end(s).reports));
    let before = counts(&pair);
    pair.run(60 * SECOND);
    let after = counts(&pair);
    for (before, after) in before.into_iter().zip(after) {
        assert!(after.0 - before.0 <= 120, "{} wake-ups", after.0 - before.0);
        assert!(after.1 - before.1 <= 10, "{} reports", after.1 - before.1);
    }
}

#[test]
fn a_busy_pair_reports_once_a_second() {
    let mut pair = Pair::on_udp(vec![open()]);
    pair.run(3 * SECOND);
    let before = pair.end(Side::Client).reports;
    pair.talk(0, Duration::from_millis(2), 60 * SECOND);
    let reports = pair.end(Side::Client).reports - before;
    assert!((55..=65).contains(&reports), "{reports}");
}
