//! Hours of handshakes and keepalives, in no time: boringtun's clock is ours.

use std::time::Duration;

use super::advance_clock;
use super::link::{Route, Side};
use super::pair::Pair;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const PACE: Duration = Duration::from_millis(10);

fn on_udp() -> Pair {
    Pair::on_udp(vec![Route::docker_desktop()])
}

#[test]
fn an_idle_hour_costs_a_handshake_each_two_minutes_and_a_keepalive_each_25_s() {
    let mut pair = on_udp();
    pair.run(SECOND);
    let before = pair.ends.each_ref().map(|end| (end.empties, end.wakeups));
    pair.run(HOUR);
    assert!((30..=32).contains(&pair.end(Side::Client).initiations));
    assert!((30..=32).contains(&pair.end(Side::Server).responses));
    assert_eq!(pair.end(Side::Server).initiations, 0);
    for (end, before) in pair.ends.iter().zip(before) {
        let empties = end.empties - before.0;
        assert!((140..=200).contains(&empties), "{empties} keepalives");
        let wakeups = end.wakeups - before.1;
        assert!(wakeups <= 7300, "{wakeups} wake-ups");
    }
}

#[test]
fn after_an_idle_hour_the_first_packet_passes_whoever_sends_it() {
    for side in Side::BOTH {
        for extra in 0..30 {
            let mut pair = on_udp();
            pair.run(HOUR / 12 + 10 * extra * SECOND);
            pair.send(side, 7);
            pair.run(SECOND / 100);
            assert_eq!(
                pair.end(side.other()).received,
                [7],
                "after {extra}0 s more"
            );
        }
    }
}

#[test]
fn an_hour_of_traffic_loses_no_packet_to_its_rekeys() {
    let mut pair = on_udp();
    let next = pair.talk(0, 10 * PACE, HOUR);
    pair.run(SECOND);
    for end in &pair.ends {
        assert_eq!(end.received, (0..next).collect::<Vec<_>>());
        assert_eq!(end.tunnel.drops().total(), 0);
        assert_eq!(end.paths.len(), 2, "{:?}", end.paths);
    }
    assert!((30..=32).contains(&pair.end(Side::Client).initiations));
    assert_eq!(pair.end(Side::Server).initiations, 0);
}

#[test]
fn an_hour_without_a_session_is_survived_by_udp_alone() {
    let mut pair = on_udp();
    pair.cut_session();
    pair.run(HOUR);
    let next = pair.talk(0, 10 * PACE, 10 * MINUTE);
    pair.run(SECOND);
    for end in &pair.ends {
        assert_eq!(end.received, (0..next).collect::<Vec<_>>());
    }
    assert_eq!(pair.end(Side::Server).initiations, 0);
}

#[test]
fn an_hour_without_udp_is_survived_by_the_session_alone() {
    let mut pair = Pair::connected(Vec::new());
    pair.run(HOUR);
    let next = pair.talk(0, 10 * PACE, 10 * MINUTE);
    pair.run(SECOND);
    for end in &pair.ends {
        assert_eq!(end.received, (0..next).collect::<Vec<_>>());
    }
}

#[test]
fn a_day_of_sleep_ends_with_the_first_heartbeats() {
    let mut pair = on_udp();
    pair.talk(0, PACE, SECOND);
    sleep(&mut pair, 24 * HOUR);
    expect_traffic_within_3_s(&mut pair);
}

#[test]
fn a_day_of_sleep_ends_with_the_next_session() {
    let mut pair = on_udp();
    pair.talk(0, PACE, SECOND);
    pair.cut_session();
    sleep(&mut pair, 24 * HOUR);
    pair.connect();
    expect_traffic_within_3_s(&mut pair);
}

/// `Instant` stands still while Linux and macOS sleep; boringtun's clock does
/// not.
#[test]
fn a_day_of_sleep_that_only_boringtun_noticed_ends_with_the_next_session() {
    let mut pair = on_udp();
    pair.talk(0, PACE, SECOND);
    pair.cut_session();
    advance_clock(24 * HOUR);
    pair.connect();
    expect_traffic_within_3_s(&mut pair);
}

#[test]
fn a_restarted_peer_is_back_within_3_s_of_its_session() {
    for side in Side::BOTH {
        let mut pair = on_udp();
        pair.talk(0, PACE, 5 * MINUTE);
        pair.cut_session();
        pair.restart(side);
        pair.talk(100_000, PACE, 10 * SECOND);
        if side == Side::Client {
            // boringtun stamps handshakes by the real clock at the start,
            // which has not moved: the server takes it for a replay unless it
            // begins anew too, as it does for each client that pairs.
            pair.restart(Side::Server);
        }
        pair.connect();
        expect_traffic_within_3_s(&mut pair);
    }
}

#[test]
fn a_link_that_was_down_carries_traffic_3_s_after_the_session_is_back() {
    for down in [MINUTE, 2 * MINUTE, 3 * MINUTE, 10 * MINUTE] {
        for busy in [true, false] {
            let mut pair = on_udp();
            pair.talk(0, PACE, SECOND);
            pair.network.routes[0].blocked = Side::BOTH.to_vec();
            pair.session.stalled = true;
            pair.talk(1000, PACE, 5 * SECOND);
            pair.cut_session();
            pair.session.stalled = false;
            if busy {
                pair.talk(2000, 10 * PACE, down);
            } else {
                pair.run(down);
            }
            pair.network.routes[0].blocked.clear();
            pair.connect();
            expect_traffic_within_3_s(&mut pair);
            assert_eq!(pair.end(Side::Server).initiations, 0);
        }
    }
}

#[test]
fn a_server_that_waited_in_vain_loses_no_keys_over_it() {
    let mut pair = on_udp();
    pair.talk(0, PACE, SECOND);
    // Longer than KEEPALIVE_TIMEOUT + REKEY_TIMEOUT, after which WireGuard
    // would have the server ask for new keys.
    pair.network.routes[0].blocked = vec![Side::Client];
    pair.session.stalled = true;
    pair.talk(1000, PACE, 20 * SECOND);
    pair.network.routes[0].blocked.clear();
    pair.session.stalled = false;
    pair.run(SECOND);
    let next = pair.talk(100_000, 10 * PACE, 5 * MINUTE);
    pair.run(SECOND);
    for side in Side::BOTH {
        let received = pair.end(side).received.iter().copied();
        let since: Vec<_> = received.filter(|number| *number >= 100_000).collect();
        assert_eq!(since, (100_000..next).collect::<Vec<_>>(), "{side:?}");
    }
    assert_eq!(pair.end(Side::Server).initiations, 0);
}

#[test]
fn a_packet_the_server_sent_too_early_costs_no_keys_later() {
    let mut pair = Pair::new(vec![Route::docker_desktop()]);
    pair.run(30 * SECOND);
    pair.connect();
    pair.send(Side::Server, 1);
    pair.run(SECOND);
    let next = pair.talk(10, 10 * PACE, 5 * MINUTE);
    pair.run(SECOND);
    for side in Side::BOTH {
        let received = &pair.end(side).received;
        assert_eq!(*received, (10..next).collect::<Vec<_>>(), "{side:?}");
    }
}

/// Both ends sleep: nothing is done while both clocks go on.
fn sleep(pair: &mut Pair, duration: Duration) {
    advance_clock(duration);
    pair.now += duration;
}

fn expect_traffic_within_3_s(pair: &mut Pair) {
    pair.talk(1_000_000, PACE, 3 * SECOND);
    let next = pair.talk(2_000_000, PACE, 5 * SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        let received = pair.end(side).received.iter().copied();
        let since: Vec<_> = received.filter(|number| *number >= 2_000_000).collect();
        assert_eq!(since, (2_000_000..next).collect::<Vec<_>>(), "{side:?}");
    }
}
