//! One end begins anew, with its key and nothing else.

use std::time::Duration;

use super::link::{Route, Side};
use super::pair::Pair;

const SECOND: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(10);

#[test]
fn after_a_restart_packets_pass_as_soon_as_there_is_a_session() {
    for side in Side::BOTH {
        let mut pair = Pair::on_udp(vec![Route::docker_desktop()]);
        pair.talk(0, PACE, SECOND);
        pair.cut_session();
        pair.restart(side);
        pair.talk(1000, PACE, SECOND);
        pair.connect();
        // The handshake's round trip, and the confirmation to the server.
        pair.run(3 * pair.session.delay);
        let next = pair.talk(2000, PACE, 3 * SECOND);
        pair.run(SECOND);
        for at in Side::BOTH {
            let received = pair.end(at).received.iter().copied();
            let since: Vec<_> = received.filter(|number| *number >= 2000).collect();
            let expected: Vec<_> = (2000..next).collect();
            assert_eq!(since, expected, "{side:?} restarted, {at:?} receives");
            assert!(pair.is_on_udp(at));
        }
    }
}

#[test]
fn a_restarted_server_at_another_address_is_found() {
    let old = Route::open("192.0.2.10:1000", "198.51.100.1:2000");
    let mut pair = Pair::on_udp(vec![old]);
    pair.cut_session();
    pair.restart(Side::Server);
    pair.network.routes = vec![Route::open("192.0.2.10:1000", "198.51.100.9:2009")];
    pair.connect();
    pair.talk(0, PACE, 2 * SECOND);
    pair.run_until(2 * SECOND, |pair| pair.is_on_udp(Side::Client));
    let next = pair.talk(5000, PACE, SECOND);
    pair.run(SECOND);
    let received = pair.end(Side::Server).received.iter();
    let since = received.filter(|number| **number >= 5000).count();
    assert_eq!(since, usize::try_from(next - 5000).unwrap());
}
