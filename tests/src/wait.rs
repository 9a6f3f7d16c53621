use std::thread;
use std::time::{Duration, Instant};

/// Returns as soon as `condition` holds; it is asked every few milliseconds.
///
/// # Panics
/// When `deadline` (counted from now) passes first, naming `what` was awaited.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(deadline, condition),
        "waited {deadline:?} in vain: {what}"
    );
}

/// As [`wait_until`], for a promise that dtap makes to its users: prints how long it took, and allows [`within`].
///
/// # Panics
/// When the promise is broken.
#[track_caller]
pub fn keeps_promise(promise: Duration, what: &str, condition: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    wait_until(within(promise), what, condition);
    let taken = begin.elapsed();
    eprintln!("{what}: {taken:.2?} (promised {promise:?})");
    taken
}

/// How long a test waits for what is promised within `promise` on a machine that has nothing else to do.
pub fn within(promise: Duration) -> Duration {
    promise * SLACK
}

/// Whether `condition` held at some time before `deadline`, counted from now.
pub(crate) fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Several labs share two cores while the tests run.
const SLACK: u32 = 2;
const POLL: Duration = Duration::from_millis(3);
