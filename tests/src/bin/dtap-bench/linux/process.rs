//! What processes cost, as /proc tells it (proc(5)).

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// Clock ticks per second of /proc/PID/stat and /proc/stat, the same on every Linux.
const TICKS: f64 = 100.0;
/// What makes the kernel forget the peak of a process's memory (`/proc/PID/clear_refs`).
const PEAK: &str = "5";

/// Seconds of user and system time that these processes have used, threads that have ended included.
pub(super) fn cpu_seconds(processes: &[Pid]) -> Result<f64> {
    sum(processes, "stat", |stat| {
        let (_, fields) = stat.rsplit_once(')')?;
        ticks(fields.split_whitespace().skip(11).take(2))
    })
}

/// Seconds that all processors have not been idle.
pub(super) fn machine_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let mut fields = stat.split_whitespace().skip(1);
    let used = ticks(fields.by_ref().take(3));
    let interrupts = ticks(fields.skip(2).take(2));
    let both = used
        .zip(interrupts)
        .map(|(used, interrupts)| used + interrupts);
    both.context("read /proc/stat")
}

/// MiB that each process has had resident at most since [`forget_peaks`], summed up.
pub(super) fn peak_mib(processes: &[Pid]) -> Result<f64> {
    Ok(in_status(processes, "VmHWM:")? / 1024.0)
}

/// MiB that these processes have resident now.
pub(super) fn resident_mib(processes: &[Pid]) -> Result<f64> {
    Ok(in_status(processes, "VmRSS:")? / 1024.0)
}

pub(super) fn forget_peaks(processes: &[Pid]) -> Result<()> {
    processes.iter().try_for_each(|pid| {
        fs::write(format!("/proc/{pid}/clear_refs"), PEAK).context("forget a process's peak")
    })
}

/// How often a thread of these processes went to sleep, hence woke up, of its own accord.
pub(super) fn wakeups(processes: &[Pid]) -> Result<f64> {
    let mut total = 0.0;
    for pid in processes {
        let tasks =
            fs::read_dir(format!("/proc/{pid}/task")).context("list a process's threads")?;
        for task in tasks.flatten() {
            let status = fs::read_to_string(task.path().join("status"));
            // A thread may have ended meanwhile.
            let status = status.unwrap_or_default();
            total += field(&status, "voluntary_ctxt_switches:").unwrap_or_default();
        }
    }
    Ok(total)
}

/// The process, as seen from outside every namespace, that was started in a container by `command`.
pub(super) fn of_container(id: &str, command: &str) -> Result<Pid> {
    let entries = fs::read_dir("/proc").context("list processes")?;
    let mut pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = pids.find(|pid: &i32| {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let started = read("cmdline").replace('\0', " ");
        started.trim_end() == command && read("cgroup").contains(id)
    });
    let pid = found.with_context(|| format!("find {command} of container {id}"))?;
    Ok(Pid::from_raw(pid))
}

fn in_status(processes: &[Pid], name: &str) -> Result<f64> {
    sum(processes, "status", |status| field(status, name))
}

fn sum(processes: &[Pid], file: &str, figure: impl Fn(&str) -> Option<f64>) -> Result<f64> {
    let figures = processes.iter().map(|pid| {
        let path = format!("/proc/{pid}/{file}");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        figure(&text).with_context(|| format!("understand {path}"))
    });
    figures.sum()
}

fn field(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Option<f64> {
    let sum: Option<f64> = fields.map(|ticks| ticks.parse::<f64>().ok()).sum();
    Some(sum? / TICKS)
}
