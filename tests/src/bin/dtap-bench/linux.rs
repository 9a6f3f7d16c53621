//! The measurements.

#![expect(clippy::print_stdout, reason = "the result of the command")]

#[path = "linux/scale.rs"]
mod scale;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Link, Options, require_root};
use serde_json::Value;

/// Long enough for keepalives and heartbeats to average out.
const IDLE: Duration = Duration::from_secs(30);
const BUSY_SECONDS: &str = "5";
/// Clock ticks per second of /proc/PID/stat (proc(5)), the same on every Linux.
const TICKS: f64 = 100.0;

pub(super) fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All, or those of `tunnel` and `scale` that the command line names.
fn measure() -> Result<()> {
    require_root()?;
    let chosen: Vec<_> = env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|it| it == name);
    if is_chosen("tunnel") {
        tunnel()?;
    }
    if is_chosen("scale") {
        scale::measure()?;
    }
    Ok(())
}

fn tunnel() -> Result<()> {
    let lab = Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })?;
    println!("engine {}, a veth pair between host and VM", lab.engine());
    idle(&lab)?;
    busy(&lab, "udp")?;
    busy(&lab, "session")
}

/// CPU and memory of both ends while nobody sends anything.
fn idle(lab: &Lab) -> Result<()> {
    let client = Client::new(lab, "idle");
    client.connect(&[])?;
    client.wait_for_path("udp");
    let server = lab.docker(&["inspect", "--format", "{{.State.Pid}}", "dtap"])?;
    let host = client.pid()?.to_string();
    let of_client = || usage(&std::fs::read_to_string(format!("/proc/{host}/stat"))?);
    let of_server = || usage(&lab.vm(&["cat", &format!("/proc/{server}/stat")]).text()?);
    let before = (of_client()?, of_server()?);
    std::thread::sleep(IDLE);
    let after = (of_client()?, of_server()?);
    let share = |before: f64, after: f64| (after - before) / TICKS / IDLE.as_secs_f64() * 100.0;
    let client_share = share(before.0, after.0);
    let server_share = share(before.1, after.1);
    let of_client = resident(&std::fs::read_to_string(format!("/proc/{host}/status"))?)?;
    let of_server = resident(&lab.vm(&["cat", &format!("/proc/{server}/status")]).text()?)?;
    println!("idle    client {client_share:.2} % of a core, {of_client:.1} MiB");
    println!("idle    server {server_share:.2} % of a core, {of_server:.1} MiB");
    println!(
        "idle    both   {:.2} % of a core",
        client_share + server_share
    );
    Ok(())
}

/// One TCP stream between host and VM by one path, in both directions.
fn busy(lab: &Lab, path: &str) -> Result<()> {
    let client = Client::new(lab, path);
    client.connect(&["--path", path])?;
    client.wait_for_path(path);
    let to = client.field("server_address");
    let _listener = lab.vm_background(&["iperf3", "--server"])?;
    let up = throughput(lab, &["--client", &to])?;
    let down = throughput(lab, &["--client", &to, "--reverse"])?;
    println!("{path:7} up {up:.2} Gbit/s, down {down:.2} Gbit/s");
    Ok(())
}

fn throughput(lab: &Lab, arguments: &[&str]) -> Result<f64> {
    let fixed = [
        "iperf3",
        "--json",
        "--connect-timeout",
        "3000",
        "--time",
        BUSY_SECONDS,
    ];
    let output = lab.mac(&[&fixed, arguments].concat()).text()?;
    let report: Value = serde_json::from_str(&output).context("read iperf3's report")?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.context("read iperf3's report")? / 1e9)
}

/// User and system time of `/proc/PID/stat`, in ticks.
fn usage(stat: &str) -> Result<f64> {
    let (_, fields) = stat.rsplit_once(')').context("read /proc/PID/stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| Ok(ticks.parse::<f64>()?)).sum()
}

/// `VmRSS` of `/proc/PID/status`, in MiB.
fn resident(status: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("read VmRSS")?.parse::<f64>()? / 1024.0)
}
