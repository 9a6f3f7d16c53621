//! Round trips, with nothing else to do and beside a TCP stream from the VM.
//!
//! With pauses between them all have gone to sleep before each: what that costs is this machine's. One after another, as
//! questions of a program mostly come, they show what the tunnel costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dtap_tests::lab::Lab;

use super::exec;
use super::iperf::{self, Direction};
use super::ready::PATIENCE;
use super::results::{Measure, Results, median};
use super::stage::{Contestant, Stage};
use super::subject::Subject;

pub(super) fn measure(
    stage: &Stage<'_>,
    contestant: &Contestant,
    results: &mut Results,
) -> Result<()> {
    let Contestant {
        subject, target, ..
    } = contestant;
    let mut add = |case, samples: Vec<f64>| -> Result<()> {
        let sample = median(&samples).context("no ping was answered")?;
        results.add(Measure::RoundTrip, *subject, case, sample);
        Ok(())
    };
    if *subject == Subject::Exec {
        for (case, pause, _) in PACES {
            add(case, exec::round_trips(stage.lab, target, COUNT, pause)?)?;
        }
        return Ok(());
    }
    for (case, _, pace) in PACES {
        add(case, ping(stage.lab, target, pace)?)?;
    }
    let mut load = iperf::load(stage.lab, target, Direction::Down, LOAD_SECONDS)?;
    std::thread::sleep(SETTLED);
    let loaded = ping(stage.lab, target, PAUSE)?;
    ensure!(load.wait(PATIENCE)? == 0, "the load: {}", load.output());
    add("loaded", loaded)
}

/// Microseconds of each answer.
fn ping(lab: &Lab, target: &str, pace: &[&str]) -> Result<Vec<f64>> {
    let count = COUNT.to_string();
    let ping = ["ping", "-n", "-c", &count, "-W", "1", target];
    let output = lab.mac(&[&ping, pace].concat());
    let times = output.stdout.split_whitespace();
    let times = times.filter_map(|word| word.strip_prefix("time="));
    let times: Vec<f64> = times.filter_map(|it| it.parse().ok()).collect();
    ensure!(times.len() * 2 > COUNT, "most pings were lost: {output:?}");
    Ok(times.into_iter().map(|it| it * 1e3).collect())
}

const COUNT: usize = 50;
/// Of ping(8), and as long.
const PAUSE: &[&str] = &["-i", "0.01"];
const PACES: [(&str, Duration, &[&str]); 2] = [
    ("idle", Duration::from_millis(10), PAUSE),
    ("in a row", Duration::ZERO, &["-A"]),
];
/// What TCP has to fill the pipe.
const SETTLED: Duration = Duration::from_millis(400);
/// As long as [`SETTLED`] and all pings.
const LOAD_SECONDS: u64 = 1;
