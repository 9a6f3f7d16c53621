//! Minutes of full load by turns in both directions, by which memory that is not given back is seen.

use anyhow::{Context, Result};
use dtap_tests::lab::require_root;
use nix::unistd::Pid;

use super::iperf::{self, Direction};
use super::stage::Stage;
use super::subject::Subject;
use super::{lab, process};

/// Of each turn.
const SECONDS: u64 = 15;
const TURNS_PER_MINUTE: u32 = 4;

pub(super) fn measure(minutes: u32) -> Result<()> {
    require_root()?;
    let lab = lab()?;
    let stage = Stage::set(&lab, &[Subject::Dtap])?;
    let dtap = stage.subjects.first().context("find dtap")?;
    let resident = |pid: &Pid| process::resident_mib(&[*pid]);
    let resident = || {
        dtap.processes
            .iter()
            .map(resident)
            .collect::<Result<Vec<_>>>()
    };
    let mut minute_ends = Vec::new();
    for turn in 0..minutes * TURNS_PER_MINUTE {
        let direction = Direction::BOTH[turn as usize % 2];
        let stream = iperf::run(&lab, &dtap.target, direction, 1, SECONDS)?;
        let memory = resident()?;
        println!(
            "{:>4} s  {:4} {:6.2} Gbit/s   client {:5.1} MiB, server {:5.1} MiB",
            u64::from(turn + 1) * SECONDS,
            direction.name(),
            stream.gbps,
            memory[0],
            memory[1]
        );
        if (turn + 1) % TURNS_PER_MINUTE == 0 {
            minute_ends.push(memory);
        }
    }
    let first = minute_ends.first().context("last a minute at least")?;
    let last = minute_ends.last().context("last a minute at least")?;
    println!(
        "from the end of the first minute to that of the last: client {:+.1} MiB, server {:+.1} MiB",
        last[0] - first[0],
        last[1] - first[1]
    );
    Ok(())
}
