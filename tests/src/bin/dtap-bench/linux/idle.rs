//! What a tunnel costs while nobody sends anything. All are idle at the same time; the server has one client.

use std::time::Duration;

use anyhow::Result;
use nix::unistd::Pid;

use super::process;
use super::results::{Measure, Results};
use super::stage::Stage;

/// Long enough for keepalives and heartbeats to average out.
const IDLE: Duration = Duration::from_secs(30);
/// What was measured before has ended.
const QUIET: Duration = Duration::from_secs(2);

pub(super) fn measure(stage: &mut Stage<'_>, results: &mut Results) -> Result<()> {
    stage.keep_one_client();
    std::thread::sleep(QUIET);
    let ends = || {
        let subjects = stage.subjects.iter();
        subjects.flat_map(|it| {
            let processes = it.processes.iter().zip(ENDS);
            processes.map(move |(pid, end)| (it, *pid, end))
        })
    };
    let spent = |pid: Pid| Ok((process::cpu_seconds(&[pid])?, process::wakeups(&[pid])?));
    let spent_by_all = || {
        ends()
            .map(|(_, pid, _)| spent(pid))
            .collect::<Result<Vec<_>>>()
    };
    let before = spent_by_all()?;
    std::thread::sleep(IDLE);
    let after = spent_by_all()?;
    let seconds = IDLE.as_secs_f64();
    for ((it, pid, end), (before, after)) in ends().zip(before.into_iter().zip(after)) {
        let mut add = |measure, sample| results.add(measure, it.subject, end, sample);
        add(Measure::IdleCpu, (after.0 - before.0) / seconds * 100.0);
        add(Measure::Wakeups, (after.1 - before.1) / seconds);
        add(Measure::IdleMemory, process::resident_mib(&[pid])?);
    }
    Ok(())
}

/// Of [`super::stage::Contestant::processes`], in their order.
const ENDS: [&str; 2] = ["near", "far"];
