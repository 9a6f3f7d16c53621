//! `uninstall`: disconnects and removes the server, with `--purge` everything.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cli::{EngineChoice, StateDir};
use crate::docker::{Engine, Environment};
use crate::engines::{self, Source};
use crate::status::Status;
use crate::stdout::say;
use crate::{control, privilege, state_dir};

pub(crate) async fn command(
    state: &StateDir,
    choice: EngineChoice,
    purge: bool,
) -> Result<ExitCode> {
    privilege::require_root("removing the tunnel")?;
    let choice = choice.or(connected(state).await?);
    let sources = engines::sources(&choice.selections(), Environment::current()?)?;
    control::ask(&state.directory, control::Command::Disconnect).await?;
    let mut failures = Vec::new();
    for source in &sources {
        // Where one cannot be reached, the others are to be rid of it still.
        if let Err(error) = remove(source, purge).await {
            failures.push(match sources.len() {
                1 => error,
                _ => error.context(source.name()),
            });
        }
    }
    match failures.pop() {
        Some(only) if failures.is_empty() => return Err(only),
        Some(last) => {
            failures.push(last);
            let reasons: Vec<_> = failures.iter().map(|it| format!("{it:#}")).collect();
            bail!("{}", reasons.join("; "));
        }
        None => {}
    }
    if purge {
        state_dir::purge(&state.directory)?;
        say("removed volume, images, keys and state");
    }
    Ok(ExitCode::SUCCESS)
}

/// The engines of the running client.
async fn connected(state: &StateDir) -> Result<EngineChoice> {
    let Some(answer) = control::ask(&state.directory, control::Command::Status).await? else {
        return Ok(EngineChoice::default());
    };
    let status: Status = serde_json::from_str(&answer).context("read the client's status")?;
    let names = status.connections.iter().map(|it| it.name.as_str());
    Ok(EngineChoice::of_connections(names))
}

async fn remove(source: &Source, purge: bool) -> Result<()> {
    let target = source.target(source.choose()?)?;
    let engine = Engine::connect(&target).await?;
    engine.remove_legs().await?;
    let mut server = engine.server().await?;
    if server.is_none() {
        say("there was no server container");
    }
    // A client that was killed while it replaced one has left two.
    while let Some(found) = server {
        if let Err(error) = engine.reset_server(&found).await {
            tracing::warn!("the engine's machine may keep routes or rules: {error:#}");
        }
        engine.remove_server(&found).await?;
        say(&format!("removed the server container {}", found.name));
        server = engine.server().await?;
    }
    if purge {
        engine.remove_volume().await?;
        engine.remove_images().await?;
    }
    Ok(())
}
