//! iperf3: TCP streams between the host and whatever listens.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::lab::{Background, Lab};
use serde_json::Value;

/// Which way the bytes of a stream go, as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// What arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) gbps: f64,
    pub(super) gib: f64,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Up, Self::Down];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Runs `streams` TCP streams to their end.
///
/// After each test iperf3's server opens its port anew, and resets whoever came meanwhile: that one comes again.
pub(super) fn run(
    lab: &Lab,
    target: &str,
    direction: Direction,
    streams: usize,
    seconds: u64,
) -> Result<Stream> {
    let mut attempt = 1;
    loop {
        match once(lab, target, direction, streams, seconds) {
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            ended => return ended,
        }
        thread::sleep(PAUSE);
    }
}

fn once(
    lab: &Lab,
    target: &str,
    direction: Direction,
    streams: usize,
    seconds: u64,
) -> Result<Stream> {
    let command = command(target, direction, streams, seconds);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let output = lab.mac_within(Duration::from_secs(seconds + 30), &command);
    let output = output
        .text()
        .with_context(|| format!("iperf3 to {target}"))?;
    let report: Value = serde_json::from_str(&output).context("read iperf3's report")?;
    let received = &report["end"]["sum_received"];
    let figure = |name: &str| {
        let found = received[name].as_f64();
        found.with_context(|| format!("iperf3 to {target}: {}", report["error"]))
    };
    Ok(Stream {
        gbps: figure("bits_per_second")? / 1e9,
        gib: figure("bytes")? / f64::from(1 << 30),
    })
}

/// Starts one stream that goes on beside something else.
pub(super) fn load(
    lab: &Lab,
    target: &str,
    direction: Direction,
    seconds: u64,
) -> Result<Background> {
    let command = command(target, direction, 1, seconds);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    lab.mac_background(&command)
}

fn command(target: &str, direction: Direction, streams: usize, seconds: u64) -> Vec<String> {
    let (streams, seconds) = (streams.to_string(), seconds.to_string());
    let fixed = ["iperf3", "--json", "--connect-timeout", "3000", "--client"];
    let given = [target, "--parallel", &streams, "--time", &seconds];
    let reverse = match direction {
        Direction::Up => None,
        Direction::Down => Some("--reverse"),
    };
    let all = fixed.into_iter().chain(given).chain(reverse);
    all.map(str::to_owned).collect()
}

const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(300);
