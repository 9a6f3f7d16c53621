//! UDP or the session, or both, fall silent without a word.

use std::time::Duration;

use super::link::{Route, Side};
use super::pair::Pair;
use crate::Path;

const SECOND: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(10);

fn on_udp() -> Pair {
    let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
    pair.talk(0, PACE, 2 * SECOND);
    pair
}

#[test]
fn when_udp_dies_under_traffic_packets_arrive_again_within_3_s() {
    for blocked in [vec![Side::Client], vec![Side::Server], Side::BOTH.to_vec()] {
        let mut pair = on_udp();
        pair.network.routes[0].blocked = blocked;
        let died = pair.now;
        let next = pair.talk(10_000, PACE, 4 * SECOND);
        pair.run(SECOND);
        for side in Side::BOTH {
            let received = &pair.end(side).received;
            let missing = (10_000..next).filter(|number| !received.contains(number));
            let silence = PACE * u32::try_from(missing.count()).unwrap();
            assert!(silence <= 3 * SECOND, "{side:?} {silence:?}");
        }
        for end in &pair.ends {
            let moved = end.paths.iter().filter(|(at, _)| *at > died).count();
            assert!(moved <= 1, "{:?}", end.paths);
        }
    }
}

/// Whoever only answers sends nothing, and so misses no report, until the question comes by the session.
#[test]
fn when_udp_dies_under_questions_an_answer_comes_within_3_s() {
    for milliseconds in (0..1000).step_by(130) {
        let mut pair = on_udp();
        pair.run(Duration::from_millis(milliseconds));
        let mut asked = 10_000;
        let ask = |pair: &mut Pair, number| {
            pair.send(Side::Client, number);
            pair.run(PACE);
            if pair.end(Side::Server).received.last() == Some(&number) {
                pair.send(Side::Server, number);
            }
        };
        while asked < 10_150 {
            ask(&mut pair, asked);
            asked += 1;
        }
        pair.run(SECOND / 10);
        assert_eq!(pair.end(Side::Client).received.last(), Some(&(asked - 1)));
        pair.network.routes[0].blocked = Side::BOTH.to_vec();
        let died = pair.now;
        let answered = asked;
        while pair.end(Side::Client).received.last() < Some(&answered) {
            ask(&mut pair, asked);
            asked += 1;
            assert!(pair.now - died < 5 * SECOND, "never");
        }
        let silence = pair.now - died;
        assert!(silence <= 3 * SECOND, "{milliseconds} {silence:?}");
    }
}

#[test]
fn udp_that_comes_back_is_used_again() {
    let mut pair = on_udp();
    pair.network.routes[0].blocked = Side::BOTH.to_vec();
    pair.talk(10_000, PACE, 4 * SECOND);
    assert_eq!(pair.path(Side::Client), Some(Path::Session));
    pair.network.routes[0].blocked.clear();
    let first = pair.talk(20_000, PACE, 12 * SECOND);
    let both = Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
    assert!(both);
    pair.run(SECOND);
    for side in Side::BOTH {
        let received = pair.end(side).received.iter().copied();
        let since: Vec<_> = received.filter(|number| *number >= 20_000).collect();
        assert_eq!(since, (20_000..first).collect::<Vec<_>>());
    }
}

#[test]
fn an_idle_path_that_died_is_noticed_by_the_first_packets() {
    let mut pair = on_udp();
    pair.run(30 * SECOND);
    pair.network.routes[0].blocked = Side::BOTH.to_vec();
    pair.run(30 * SECOND);
    pair.talk(10_000, PACE, 3 * SECOND);
    pair.send(Side::Client, 99_999);
    pair.run(SECOND);
    assert!(pair.end(Side::Server).received.contains(&99_999));
}

#[test]
fn when_both_stall_udp_is_kept() {
    let mut pair = on_udp();
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    pair.network.routes[0].blocked = Side::BOTH.to_vec();
    pair.session.stalled = true;
    pair.talk(10_000, PACE, 20 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
    pair.network.routes[0].blocked.clear();
    pair.send(Side::Client, 20_000);
    pair.run(SECOND / 10);
    assert!(pair.end(Side::Server).received.contains(&20_000));
}

#[test]
fn a_session_that_stalls_and_heals_moves_nothing() {
    for stall in [1, 2, 3, 4, 10, 60] {
        let mut pair = on_udp();
        let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
        pair.session.stalled = true;
        pair.talk(10_000, PACE, stall * SECOND);
        // A heartbeat comes before the reports that were queued behind it.
        pair.session.heal(Duration::from_millis(20), pair.now);
        let next = pair.talk(20_000, PACE, 5 * SECOND);
        pair.run(SECOND);
        let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
        assert_eq!(after, before, "after {stall} s");
        let received = &pair.end(Side::Server).received;
        let since = received.iter().filter(|number| **number >= 20_000).count();
        assert_eq!(since, usize::try_from(next - 20_000).unwrap());
    }
}

#[test]
fn both_that_come_back_together_leave_udp_in_use() {
    let mut pair = on_udp();
    // Every packet so far is reported.
    pair.run(2 * SECOND);
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    pair.session.stalled = true;
    pair.network.routes[0].blocked = Side::BOTH.to_vec();
    pair.talk(10_000, PACE, 2 * SECOND);
    // By now UDP is probed each 10 s only, and nobody sends anything.
    pair.run(60 * SECOND);
    pair.network.routes[0].blocked.clear();
    pair.session.heal(Duration::ZERO, pair.now);
    pair.run(5 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
}

#[test]
fn udp_that_died_behind_a_stalled_session_is_left_once_the_session_heals() {
    let mut pair = on_udp();
    pair.session.stalled = true;
    pair.network.routes[0].blocked = Side::BOTH.to_vec();
    pair.talk(10_000, PACE, 4 * SECOND);
    assert!(pair.is_on_udp(Side::Client));
    pair.session.stalled = false;
    pair.talk(20_000, PACE, 3 * SECOND);
    for side in Side::BOTH {
        assert_eq!(pair.path(side), Some(Path::Session));
    }
}

#[test]
fn a_session_that_ends_leaves_udp_as_it_is() {
    let mut pair = on_udp();
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    pair.cut_session();
    let next = pair.talk(10_000, PACE, 60 * SECOND);
    pair.run(SECOND);
    for side in Side::BOTH {
        let received = pair.end(side).received.iter();
        let since = received.filter(|number| **number >= 10_000).count();
        assert_eq!(since, usize::try_from(next - 10_000).unwrap());
    }
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
    pair.connect();
    pair.talk(20_000, PACE, 10 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_bad_line_is_neither_left_nor_fatal() {
    let mut route = Route::open("192.0.2.10:1000", "198.51.100.1:2000");
    route.loss = 20;
    route.duplicates = 10;
    route.jitter = Duration::from_millis(30);
    let mut pair = Pair::on_udp(vec![route]);
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    let next = pair.talk(0, PACE, 60 * SECOND);
    // A quiet line, where a lost packet is not followed by another at once.
    pair.talk(next, 3 * SECOND, 60 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
    for side in Side::BOTH {
        let mut received = pair.end(side).received.clone();
        received.sort_unstable();
        let all = received.len();
        received.dedup();
        assert_eq!(received.len(), all, "a duplicate came through");
        assert!(all > 4500, "{all}");
    }
}

#[test]
fn a_path_that_keeps_failing_is_tried_less_and_less() {
    let mut pair = on_udp();
    let before = pair.end(Side::Client).paths.len();
    for round in 0..30 {
        pair.network.routes[0].blocked = Side::BOTH.to_vec();
        pair.talk(10_000 * (round + 1), 2 * PACE, 3 * SECOND);
        pair.network.routes[0].blocked.clear();
        pair.talk(10_000 * (round + 1) + 5000, 2 * PACE, 3 * SECOND);
    }
    let moves = pair.end(Side::Client).paths.len() - before;
    assert!(moves < 20, "{moves} moves in 180 s");
}

#[test]
fn udp_is_found_even_after_the_session_has_died() {
    let mut route = Route::docker_desktop();
    route.blocked = Side::BOTH.to_vec();
    let mut pair = Pair::connected(vec![route]);
    // By now candidates are probed each 10 s only.
    pair.run(60 * SECOND);
    pair.cut_session();
    pair.network.routes[0].blocked.clear();
    let both = |pair: &Pair| Side::BOTH.iter().all(|side| pair.is_on_udp(*side));
    let took = pair.run_until(SECOND, |pair| pair.is_on_udp(Side::Client));
    assert!(took < SECOND / 2, "{took:?}");
    pair.send(Side::Client, 1);
    pair.run_until(SECOND, both);
}

#[test]
fn without_a_session_nothing_is_probed_that_could_not_be_reported() {
    let mut pair = Pair::on_udp(vec![
        Route::open("192.0.2.10:1000", "198.51.100.1:2000"),
        Route::open("192.0.2.20:1000", "198.51.100.2:2000"),
    ]);
    pair.cut_session();
    let before: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    pair.talk(0, PACE, 60 * SECOND);
    let after: Vec<_> = pair.ends.iter().map(|end| end.paths.len()).collect();
    assert_eq!(after, before);
}
