//! One TCP stream in each direction, and what it costs.

use anyhow::Result;

use super::iperf::{self, Direction, Stream};
use super::results::{Measure, Results};
use super::stage::{Contestant, Stage};
use super::subject::Subject;
use super::{exec, process};

pub(super) fn measure(
    stage: &Stage<'_>,
    contestant: &Contestant,
    seconds: u64,
    results: &mut Results,
) -> Result<()> {
    for direction in Direction::BOTH {
        one(stage, contestant, direction, seconds, results)?;
    }
    if contestant.subject == Subject::Dtap {
        for streams in STREAMS {
            let target = &contestant.target;
            let stream = iperf::run(stage.lab, target, Direction::Up, streams, seconds)?;
            let case = streams.to_string();
            results.add(
                Measure::ThroughputByStreams,
                Subject::Dtap,
                &case,
                stream.gbps,
            );
        }
    }
    Ok(())
}

fn one(
    stage: &Stage<'_>,
    contestant: &Contestant,
    direction: Direction,
    seconds: u64,
    results: &mut Results,
) -> Result<()> {
    let Contestant {
        subject,
        target,
        processes,
    } = contestant;
    process::forget_peaks(processes)?;
    let before = (
        process::cpu_seconds(processes)?,
        process::machine_seconds()?,
    );
    let Stream { gbps, gib } = if *subject == Subject::Exec {
        exec::run(stage.lab, target, direction, seconds)?
    } else {
        iperf::run(stage.lab, target, direction, 1, seconds)?
    };
    let after = (
        process::cpu_seconds(processes)?,
        process::machine_seconds()?,
    );
    let mut add = |measure, sample| results.add(measure, *subject, direction.name(), sample);
    add(Measure::Throughput, gbps);
    add(Measure::MachineCpu, (after.1 - before.1) / gib);
    if !processes.is_empty() {
        add(Measure::ProcessCpu, (after.0 - before.0) / gib);
        let peaks = processes.iter().map(|it| process::peak_mib(&[*it]));
        let peak = peaks
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .fold(0.0, f64::max);
        add(Measure::PeakMemory, peak);
    }
    Ok(())
}

/// How many at once.
const STREAMS: [usize; 2] = [1, 4];
