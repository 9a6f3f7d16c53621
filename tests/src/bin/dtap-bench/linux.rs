//! The measurements.

#![expect(clippy::print_stdout, reason = "the result of the command")]

#[path = "linux/engine.rs"]
mod engine;
#[path = "linux/exec.rs"]
mod exec;
#[path = "linux/flood.rs"]
mod flood;
#[path = "linux/forward.rs"]
mod forward;
#[path = "linux/goals.rs"]
mod goals;
#[path = "linux/idle.rs"]
mod idle;
#[path = "linux/iperf.rs"]
mod iperf;
#[path = "linux/latency.rs"]
mod latency;
#[path = "linux/openvpn.rs"]
mod openvpn;
#[path = "linux/packets.rs"]
mod packets;
#[path = "linux/process.rs"]
mod process;
#[path = "linux/results.rs"]
mod results;
#[path = "linux/side.rs"]
mod side;
#[path = "linux/stage.rs"]
mod stage;
#[path = "linux/subject.rs"]
mod subject;
#[path = "linux/table.rs"]
mod table;
#[path = "linux/throughput.rs"]
mod throughput;
#[path = "linux/wireguard.rs"]
mod wireguard;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use dtap_tests::lab::{Lab, Link, Options, require_root};

use results::Results;
use stage::Stage;
use subject::Subject;

/// Measure what a tunnel costs, against its peers and against what this machine can do at all
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Everything that follows but the engine, as `make bench` does
    All(Choice),
    /// One TCP stream in each direction, with its cost
    Throughput(Choice),
    /// Round trips, idle and beside a TCP stream
    Latency(Choice),
    /// Small UDP packets without loss
    Packets(Choice),
    /// Memory, CPU and wake-ups while nobody sends anything
    Idle(Choice),
    /// A large engine: 500 containers on 100 networks
    Engine,
    /// Parts of the measurements that are programs of their own
    #[command(subcommand, hide = true)]
    Tool(Tool),
}

#[derive(Args)]
struct Choice {
    /// Whom to measure; all by default
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// How often everybody is measured in turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long each TCP stream lasts
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

#[derive(Subcommand)]
enum Tool {
    Forward {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        to: SocketAddr,
    },
    Flood {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        rate: u64,
        #[arg(long)]
        milliseconds: u64,
    },
    Sink {
        #[arg(long)]
        port: u16,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Throughput,
    Latency,
    Packets,
    Idle,
}

pub(super) fn main() -> ExitCode {
    let result = match Cli::parse().action {
        Action::All(choice) => choice.measure(&[
            Section::Throughput,
            Section::Latency,
            Section::Packets,
            Section::Idle,
        ]),
        Action::Throughput(choice) => choice.measure(&[Section::Throughput]),
        Action::Latency(choice) => choice.measure(&[Section::Latency]),
        Action::Packets(choice) => choice.measure(&[Section::Packets]),
        Action::Idle(choice) => choice.measure(&[Section::Idle]),
        Action::Engine => require_root().and_then(|()| engine::measure()),
        Action::Tool(tool) => tool.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Choice {
    fn measure(&self, sections: &[Section]) -> Result<()> {
        require_root()?;
        let mut subjects = self.subjects.clone();
        if subjects.is_empty() {
            subjects = Subject::value_variants().to_vec();
        }
        let lab = Lab::start(Options {
            link: Link::Veth,
            ..Options::default()
        })?;
        let stage = Stage::set(&lab, &subjects)?;
        let mut results = Results::default();
        for round in 1..=self.rounds {
            eprintln!("bench: round {round} of {}", self.rounds);
            for section in sections {
                match section {
                    Section::Throughput => {
                        throughput::measure(&stage, self.seconds, &mut results)?;
                    }
                    Section::Latency => latency::measure(&stage, &mut results)?,
                    Section::Packets => packets::measure(&stage, &mut results)?,
                    Section::Idle => {}
                }
            }
        }
        if sections.contains(&Section::Idle) {
            idle::measure(&stage, &mut results)?;
        }
        println!("{}", table::of(&subjects, &results));
        println!("{}", table::of_goals(&results));
        Ok(())
    }
}

impl Tool {
    fn run(self) -> Result<()> {
        match self {
            Self::Forward { port, to } => forward::run(port, to),
            Self::Flood {
                to,
                rate,
                milliseconds,
            } => flood::run(to, rate, Duration::from_millis(milliseconds)),
            Self::Sink { port } => flood::sink(port),
        }
    }
}

/// Started once more, it is one of its own tools.
fn own_program() -> Result<String> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(own.display().to_string())
}
