//! The server: a forwarder inside Docker's Linux that obeys the clients' plans.
//!
//! ```text
//!   docker exec ── dtap-server session ──┐ stdio, by a socket in the volume
//!                                        ▼
//!   engine's network namespace:   dtap-server run ── tun ── forward ── bridges
//!                                        ▲
//!   UDP ─────────────────────────────────┘
//! ```
//!
//! It needs `NET_ADMIN`, `/dev/net/tun` and the engine's network namespace; it
//! never speaks to Docker.

#![forbid(unsafe_code)]

mod addresses;
mod candidates;
mod client;
mod conversation;
mod data_plane;
mod grounds;
mod kernel;
mod leg;
mod nics;
mod run;
mod socket;
mod store;
mod taps;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Makes the containers of this engine reachable through a WireGuard tunnel
#[derive(Debug, Parser)]
#[command(name = "dtap-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Directory of the key, the clients and the socket
    #[arg(
        long,
        global = true,
        env = "DTAP_STATE_DIR",
        default_value = "/var/lib/dtap"
    )]
    state_dir: PathBuf,

    /// What to log, in the syntax of tracing's EnvFilter
    #[arg(long, global = true, env = "DTAP_LOG", default_value = "info")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until a signal ends it
    Run {
        /// UDP port of the tunnel, 0 for any
        #[arg(long, env = "DTAP_PORT", default_value_t = 0)]
        port: u16,
    },
    /// Let clients of the tunnel into the overlay networks of this container
    Leg {
        /// Address of a client in the tunnel
        #[arg(long = "host", required = true)]
        hosts: Vec<IpAddr>,
    },
    /// Hand stdin and stdout to the running server, for `docker exec`
    Session,
    /// Print the state of the running server as JSON
    Status,
    /// Make the running server forget all clients and undo what they had, before it is removed
    Reset,
    /// Succeed if the server answers, for the image's HEALTHCHECK
    Health,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&arguments.log))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    match execute(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(arguments: &Arguments) -> Result<()> {
    let socket = arguments.state_dir.join(socket::NAME);
    match &arguments.command {
        Command::Run { port } => block_on(run::run(&arguments.state_dir, *port)),
        Command::Leg { hosts } => block_on(leg::run(hosts)),
        Command::Session => socket::hand_over(&socket),
        Command::Status => {
            socket::print_status(&socket).context("ask the server (is `dtap-server run` up?)")
        }
        Command::Reset => socket::reset(&socket),
        Command::Health => socket::health(&socket),
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // One thread: packets have their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(work);
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    result
}
