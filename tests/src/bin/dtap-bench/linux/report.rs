//! The results as files: `BENCH.md`, `bench.json` and `bench.svg`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde_json::json;

use super::results::Results;
use super::subject::Subject;
use super::{plot, table};

/// What follows it in `BENCH.md` was written by a person and stays.
const BY_HAND: &str = "<!-- What follows is written by hand; `make bench` keeps it. -->";

/// Where and how the results came about.
pub(super) struct Run {
    pub(super) rounds: u32,
    pub(super) seconds: u64,
}

pub(super) fn write(
    directory: &Path,
    subjects: &[Subject],
    results: &Results,
    run: &Run,
) -> Result<()> {
    let machine = Machine::this()?;
    let put = |name: &str, content: String| {
        let file = directory.join(name);
        fs::write(&file, content).with_context(|| format!("write {}", file.display()))
    };
    put("bench.svg", plot::throughput(&plotted(subjects), results))?;
    put("bench.json", json(results, run, &machine)?)?;
    let old = fs::read_to_string(directory.join("BENCH.md")).unwrap_or_default();
    let by_hand = old.split_once(BY_HAND).map_or("\n", |(_, by_hand)| by_hand);
    let report = markdown(subjects, results, run, &machine);
    put("BENCH.md", format!("{report}\n{BY_HAND}{by_hand}"))
}

/// Beside the bare cable and the bare stream every tunnel would be a stump.
fn plotted(subjects: &[Subject]) -> Vec<Subject> {
    let bare = [Subject::Veth, Subject::Exec];
    let tunnels = subjects.iter().filter(|it| !bare.contains(it));
    tunnels.copied().collect()
}

struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    date: String,
}

impl Machine {
    fn this() -> Result<Self> {
        let read = |file: &str| fs::read_to_string(file).with_context(|| format!("read {file}"));
        let processors = read("/proc/cpuinfo")?;
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map(|it| it.trim_start_matches(['\t', ' ', ':']));
        let memory = read("/proc/meminfo")?;
        let memory = memory.split_whitespace().nth(1).unwrap_or_default();
        let date = Command::new("date").args(["--utc", "+%F"]).output();
        Ok(Self {
            processor: model.unwrap_or("unknown processor").to_owned(),
            cores: available_parallelism()?.get(),
            memory_gib: memory.parse::<f64>().context("read /proc/meminfo")? / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            date: String::from_utf8(date.context("ask for the date")?.stdout)?
                .trim()
                .to_owned(),
        })
    }
}

fn json(results: &Results, run: &Run, machine: &Machine) -> Result<String> {
    let mut all = results.to_json();
    all["machine"] = json!({
        "processor": machine.processor,
        "cores": machine.cores,
        "memory_gib": (machine.memory_gib * 10.0).round() / 10.0,
        "kernel": machine.kernel,
    });
    all["date"] = machine.date.as_str().into();
    all["rounds"] = run.rounds.into();
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn markdown(subjects: &[Subject], results: &Results, run: &Run, machine: &Machine) -> String {
    format!(
        "{}\n{}, {} cores, {:.1} GiB, Linux {}, on {}. Medians of {} rounds; a TCP stream lasts {} s.\n\n\
         ![throughput](bench.svg)\n\n\
         ## Everybody\n\n{}\n## Goals\n\n{}{}",
        include_str!("report.md"),
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.date,
        run.rounds,
        run.seconds,
        table::of(subjects, results),
        table::of_goals(results),
        table::of_peers(results),
    )
}
