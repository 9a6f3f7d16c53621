//! The move from the session to UDP: nothing lost, nothing overtaken.

use std::time::Duration;

use super::link::{Route, Side};
use super::pair::Pair;
use crate::{Drop, Path, PathMessage};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn blocked() -> Route {
    let mut route = Route::open("192.0.2.10:1000", "198.51.100.1:2000");
    route.blocked = Side::BOTH.to_vec();
    route
}

#[test]
fn a_backlog_of_5000_packets_is_not_overtaken() {
    let mut pair = Pair::connected(vec![blocked()]);
    pair.session.pace = Duration::from_micros(100);
    for number in 0..5000 {
        pair.send(Side::Client, number);
    }
    assert!(pair.session.backlog(Side::Client) >= 5000);
    pair.network.routes[0].blocked.clear();
    let both = |pair: &Pair| Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
    let mut next = 5000;
    while !both(&pair) {
        pair.send(Side::Client, next);
        next += 1;
        pair.run(MILLISECOND);
        assert!(next < 15_000, "it never switched");
    }
    let next = pair.talk(next, MILLISECOND, SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        let drops = pair.end(side).tunnel.drops();
        assert_eq!(drops.total(), 0, "{side:?}: {drops:?}");
    }
    let received = &pair.end(Side::Server).received;
    let lost: Vec<_> = (0..next)
        .filter(|number| !received.contains(number))
        .collect();
    assert!(lost.is_empty() && received.is_sorted(), "{lost:?}");
}

#[test]
fn packets_keep_their_order_through_the_switch() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.session.delay = Duration::from_millis(30);
    pair.connect();
    pair.run(100 * MILLISECOND);
    let next = pair.talk(0, Duration::from_micros(100), SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        assert!(pair.is_on_udp(side));
        assert_eq!(pair.end(side).received, (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn a_packet_that_comes_with_the_acknowledgement_does_not_overtake_the_held() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.session.delay = Duration::from_millis(200);
    pair.connect();
    pair.run_until(5 * SECOND, |pair| pair.end(Side::Server).reports > 0);
    pair.run(pair.session.delay);
    for number in 0..10 {
        pair.send(Side::Client, number);
    }
    let now = pair.now;
    let client = pair.end_mut(Side::Client);
    let acknowledged = PathMessage::SwitchAck { attempt: 1 };
    client
        .tunnel
        .handle_message(client.peer, &acknowledged, now);
    pair.send(Side::Client, 10);
    pair.run(SECOND);
    let server = pair.end(Side::Server);
    assert_eq!(server.received, (0..11).collect::<Vec<_>>());
}

#[test]
fn a_switch_that_nobody_acknowledges_ends_on_udp_if_the_session_is_silent() {
    let mut pair = Pair::connected(vec![blocked()]);
    pair.run(5 * SECOND);
    pair.network.routes[0].blocked.clear();
    let reports = pair.end(Side::Server).reports;
    pair.run_until(20 * SECOND, |pair| pair.end(Side::Server).reports > reports);
    // Let the report arrive, and nothing after it.
    pair.run(pair.session.delay);
    pair.session.stalled = true;
    assert_eq!(pair.path(Side::Client), Some(Path::Session));
    let next = pair.talk(0, 20 * MILLISECOND, 5 * SECOND);
    pair.run(SECOND);
    assert!(pair.is_on_udp(Side::Client));
    assert_eq!(
        pair.end(Side::Server).received,
        (0..next).collect::<Vec<_>>()
    );
}

#[test]
fn a_session_that_ends_during_the_switch_leaves_udp() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.session.delay = Duration::from_millis(50);
    pair.connect();
    let mut next = 0;
    while pair.end(Side::Client).reports == 0 {
        pair.run(MILLISECOND);
    }
    pair.run(Duration::from_millis(90));
    pair.cut_session();
    for side in Side::BOTH {
        pair.send(side, next);
    }
    next += 1;
    pair.talk(next, 10 * MILLISECOND, 2 * SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        assert!(pair.is_on_udp(side));
        let received = &pair.end(side).received;
        assert!(received.is_sorted() && received.len() > 150);
    }
}

#[test]
fn what_is_held_is_bounded_and_the_rest_is_counted() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.session.delay = Duration::from_millis(200);
    pair.connect();
    // Handshake, then a report to the client, which holds from then on.
    pair.run_until(5 * SECOND, |pair| pair.end(Side::Server).reports > 0);
    pair.run(pair.session.delay);
    for number in 0..10_000 {
        pair.send(Side::Client, number);
    }
    pair.run(2 * SECOND);
    let lost = pair.end(Side::Client).tunnel.drops().of(Drop::QueueFull);
    let received = &pair.end(Side::Server).received;
    assert_eq!(received.len() as u64 + lost, 10_000);
    assert!(received.is_sorted() && lost > 5000, "{lost}");
}
