//! Tests of the tunnel: two ends, links and a clock of our own.

use std::time::{Duration, Instant};

mod link;
mod pair;

mod frames;
mod handshake;
mod hostile;
mod mapping;
mod outages;
mod parsers;
mod paths;
mod restarts;
mod roaming;
mod routing;
mod session;
mod sources;
mod switching;
#[cfg(feature = "mock-time")]
mod timers;

/// Where our own time begins.
#[expect(clippy::disallowed_methods, reason = "the one look at the clock")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// Moves boringtun's own clock along with ours.
#[cfg(feature = "mock-time")]
fn advance_clock(by: Duration) {
    mock_instant::MockClock::advance(by);
}

/// Without the feature boringtun sees real time, in which a test takes none.
#[cfg(not(feature = "mock-time"))]
const fn advance_clock(_: Duration) {}
