use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use dtap_tests::lab::{self, DockerDesktop, Engine, Firewall, Lab, Link, Options, Vm};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

/// Run a Docker engine next to a host that cannot reach its containers
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Install the Debian packages a lab needs, and fetch the engines and a kernel
    Setup,
    /// List the engines there are, oldest first
    Engines,
    /// Bring a lab up and open a shell on its host
    Shell(Choice),
    /// Bring a lab up, run a command on its host and exit as it did
    Run {
        #[command(flatten)]
        choice: Choice,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Start a Mac with Docker Desktop, its VM a real one, and open a shell on it or run a command there
    Desktop {
        /// The command and its arguments
        #[arg(last = true, default_values = ["bash", "--norc", "-i"])]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct Choice {
    /// The engine by the beginning of its version, such as 20.10; the newest by default
    #[arg(long, env = "DTAP_LAB_ENGINE", value_name = "VERSION")]
    engine: Option<String>,
    /// What lies between the VM and the host
    #[arg(long, env = "DTAP_LAB_LINK", default_value = "gateway")]
    link: LinkName,
    /// Which iptables the engine uses
    #[arg(long, env = "DTAP_LAB_FIREWALL", default_value = "iptables-nft")]
    firewall: FirewallName,
}

#[derive(Clone, Copy, ValueEnum)]
enum LinkName {
    /// Docker Desktop's: no route, only a forwarder from the VM to the host's 127.0.0.1
    Gateway,
    /// A cable: 192.168.106.1 is the host, 192.168.106.2 the VM
    Veth,
    /// None at all
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum FirewallName {
    IptablesNft,
    IptablesLegacy,
}

impl Choice {
    fn start(&self) -> Result<Lab> {
        lab::require_root()?;
        Lab::start(Options {
            link: match self.link {
                LinkName::Gateway => Link::Gateway,
                LinkName::Veth => Link::Veth,
                LinkName::None => Link::None,
            },
            engine: self.engine.as_deref().map(Engine::version).transpose()?,
            firewall: match self.firewall {
                FirewallName::IptablesNft => Firewall::IptablesNft,
                FirewallName::IptablesLegacy => Firewall::IptablesLegacy,
            },
            ..Options::default()
        })
    }
}

pub(super) fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("dtap-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    match action {
        Action::Setup => {
            lab::install()?;
            Engine::retry()?;
            if Vm::can_run() {
                Vm::prepare()?;
            }
            list_engines()
        }
        Action::Engines => list_engines(),
        Action::Shell(choice) => {
            let lab = choice.start()?;
            greet(&lab);
            let mut shell = lab.mac_command("bash");
            shell.args(["--norc", "-i"]).env("PS1", "mac# ");
            attend(shell)
        }
        Action::Run { choice, command } => {
            let lab = choice.start()?;
            let mut program = lab.mac_command(&command[0]);
            program.args(&command[1..]);
            attend(program)
        }
        Action::Desktop { command } => {
            let desktop = DockerDesktop::start()?;
            let mut program = desktop.mac_command(&command[0]);
            program.args(&command[1..]).env("PS1", "mac# ");
            attend(program)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn list_engines() -> Result<ExitCode> {
    for engine in Engine::available()? {
        println!("{engine}");
    }
    Ok(ExitCode::SUCCESS)
}

fn greet(lab: &Lab) {
    eprintln!(
        "This is the host of a lab with Docker {}. It has no route to the VM in which Docker runs.

    docker run -d --name web busybox                  a container that serves a page
    docker inspect web | grep IPAddress               its address: ping and curl cannot reach it
    dtap-client connect -d                            until this
    nsenter --net={} bash         the network of the VM, from another terminal

exit ends the lab with all that is in it.",
        lab.engine(),
        lab.vm_namespace().path().display(),
    );
}

/// Runs a program on this terminal. A signal to end ends it, and us after it has ended, with the lab.
fn attend(command: Command) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    let status = runtime.block_on(async {
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .context("start the program")?;
        wait(&mut child).await
    })?;
    let ended = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    let code = ended.and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

async fn wait(child: &mut Child) -> Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("wait for the program"),
            // The terminal has sent it to the program, too, which may live on.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    terminate_softly(child).await
}

async fn terminate_softly(child: &mut Child) -> Result<ExitStatus> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    if let Some(pid) = child.id() {
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
    }
    if let Ok(status) = tokio::time::timeout(PATIENCE, child.wait()).await {
        return status.context("wait for the program");
    }
    child.kill().await.context("kill the program")?;
    child.wait().await.context("wait for the program")
}

/// What a program has to end after a SIGTERM.
const PATIENCE: Duration = Duration::from_secs(10);
