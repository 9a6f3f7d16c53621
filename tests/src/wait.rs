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

const POLL: Duration = Duration::from_millis(3);
