//! Waiting for a program that is needed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dtap_tests::lab::Background;

/// For a program that has nothing but itself to wait for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Waits until the program is ready.
///
/// # Errors
/// When it ended or took longer than `patience`, with all it said.
pub(super) fn wait(
    program: &mut Background,
    patience: Duration,
    mut is_ready: impl FnMut(&Background) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !is_ready(program) {
        let is_running = program.is_running() && Instant::now() < deadline;
        ensure!(is_running, "not ready; it said: {}", program.output());
        thread::sleep(POLL);
    }
    Ok(())
}
