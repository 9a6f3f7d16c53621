//! The measurements.

#![expect(clippy::print_stdout, reason = "the result of the command")]

#[path = "linux/crowd.rs"]
mod crowd;
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
#[path = "linux/long.rs"]
mod long;
#[path = "linux/openvpn.rs"]
mod openvpn;
#[path = "linux/packets.rs"]
mod packets;
#[path = "linux/peers.rs"]
mod peers;
#[path = "linux/plot.rs"]
mod plot;
#[path = "linux/process.rs"]
mod process;
#[path = "linux/ready.rs"]
mod ready;
#[path = "linux/report.rs"]
mod report;
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

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum as _};
use dtap_tests::lab::{Lab, Link, Options, require_root};

use report::Run;
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
    /// One server with 1, 10, 100 and 1,000 peers
    Peers(Choice),
    /// Whether dtap's memory stays what it is under full load
    Long {
        #[arg(long, default_value_t = 10)]
        minutes: u32,
    },
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
    /// Where to write BENCH.md, bench.json and bench.svg
    #[arg(long, value_name = "DIRECTORY")]
    write: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Tool {
    Forward {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        to: SocketAddr,
    },
    Serve {
        #[arg(long)]
        socket: PathBuf,
    },
    Crowd {
        #[arg(long)]
        count: u16,
        #[arg(long)]
        socket: PathBuf,
        #[arg(long)]
        server: IpAddr,
        #[arg(long)]
        range: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Throughput,
    Latency,
    Packets,
    Idle,
    Peers,
}

pub(super) fn main() -> ExitCode {
    let result = match Cli::parse().action {
        Action::All(choice) => choice.measure(&[
            Section::Throughput,
            Section::Latency,
            Section::Packets,
            Section::Idle,
            Section::Peers,
        ]),
        Action::Throughput(choice) => choice.measure(&[Section::Throughput]),
        Action::Latency(choice) => choice.measure(&[Section::Latency]),
        Action::Packets(choice) => choice.measure(&[Section::Packets]),
        Action::Idle(choice) => choice.measure(&[Section::Idle]),
        Action::Peers(choice) => choice.measure(&[Section::Peers]),
        Action::Long { minutes } => long::measure(minutes),
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
        // The first client gets the routes to containers.
        subjects.sort();
        let lab = lab()?;
        let mut results = Results::default();
        if sections != [Section::Peers] {
            self.measure_in_turn(&lab, &subjects, sections, &mut results)?;
        }
        if sections.contains(&Section::Peers) {
            peers::measure(&lab, self.rounds, self.seconds, &mut results)?;
        }
        let tables = [
            table::of(&subjects, &results),
            table::of_goals(&results),
            table::of_peers(&results),
        ];
        println!("{}", tables.join("\n"));
        if let Some(directory) = &self.write {
            let run = Run {
                rounds: self.rounds,
                seconds: self.seconds,
            };
            report::write(directory, &subjects, &results, &run)?;
        }
        Ok(())
    }

    fn measure_in_turn(
        &self,
        lab: &Lab,
        subjects: &[Subject],
        sections: &[Section],
        results: &mut Results,
    ) -> Result<()> {
        let mut stage = Stage::set(lab, subjects)?;
        for round in 1..=self.rounds {
            eprintln!("bench: round {round} of {}", self.rounds);
            for section in sections {
                for it in &stage.subjects {
                    let measured = match section {
                        Section::Throughput => {
                            throughput::measure(&stage, it, self.seconds, results)
                        }
                        Section::Latency => latency::measure(&stage, it, results),
                        Section::Packets => packets::measure(&stage, it, results),
                        Section::Idle | Section::Peers => Ok(()),
                    };
                    // Minutes of measurements shall not be lost for one sample.
                    if let Err(error) = measured {
                        eprintln!("bench: no {section:?} of {}: {error:#}", it.subject);
                    }
                }
            }
        }
        if sections.contains(&Section::Idle) {
            idle::measure(&mut stage, results)?;
        }
        Ok(())
    }
}

impl Tool {
    fn run(self) -> Result<()> {
        match self {
            Self::Forward { port, to } => forward::run(port, to),
            Self::Serve { socket } => crowd::serve(&socket),
            Self::Crowd {
                count,
                socket,
                server,
                range,
            } => crowd::join(count, &socket, server, range),
        }
    }
}

/// With a cable between host and VM.
fn lab() -> Result<Lab> {
    Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })
}

/// Started once more, it is one of its own tools.
fn own_program() -> Result<String> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(own.display().to_string())
}
