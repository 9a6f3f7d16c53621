//! The client: finds the engine, starts the server, plans, and makes it so.
//!
//! ```text
//!  docker ──(networks, containers)──▶ plan ──▶ connect ──▶ session: attachments
//!    ▲                                 ▲          │
//!    └── events only wake the loop     └─ host    └─────▶ this host: routes
//! ```
//!
//! `docker` says everything there is to say to an engine, `plan` is pure,
//! `connect` holds one [`connect::Connection`] per engine and makes plans
//! real. The other commands talk to the running `connect` over a socket in the
//! state directory.

#![forbid(unsafe_code)]

mod borrowed;
mod cli;
mod config;
mod connect;
mod control;
pub mod docker;
mod engines;
mod host;
mod image;
mod ls;
mod map_memory;
pub mod plan;
mod privilege;
mod state_dir;
mod status;
mod stdout;
mod table;
mod tap;
mod uninstall;

use std::process::ExitCode;

use cli::{Arguments, Command};

/// Runs the command line; the exit code is 0 for done, 1 for failed, 2 for usage.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_checked();
    start_log(&arguments);
    // One thread: nothing here is busy for long, packets have their own, and to wake one costs less than two.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let result = runtime.block_on(execute(arguments.command));
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| failed(&error))
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Connect(options) => connect::command(options).await,
        Command::Disconnect { state } => control::disconnect(&state.directory).await,
        Command::Status { state, json, watch } => status::command(&state, json, watch).await,
        Command::Ls {
            state,
            engine,
            json,
        } => ls::command(&state, engine, json).await,
        Command::Tap(arguments) => tap::command(arguments).await,
        Command::Image { arch } => image::command(arch),
        Command::Uninstall {
            state,
            engine,
            purge,
        } => uninstall::command(&state, engine, purge).await,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn start_log(arguments: &Arguments) {
    let level = match i16::from(arguments.verbose) - i16::from(arguments.quiet) {
        ..0 => "error",
        0 => "warn",
        1 => "info",
        2 => "debug",
        3.. => "trace",
    };
    let filter = match &arguments.log {
        Some(filter) => filter.clone(),
        None => format!("warn,dtap_client={level},dtap_net={level},dtap_tunnel={level}"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
