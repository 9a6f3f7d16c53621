//! `uninstall`: disconnects and removes the server, with `--purge` everything.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{EngineChoice, StateDir};
use crate::docker::{self, Engine, Environment};
use crate::stdout::say;
use crate::{control, privilege, state_dir};

pub(crate) async fn command(
    state: &StateDir,
    engine: &EngineChoice,
    purge: bool,
) -> Result<ExitCode> {
    privilege::require_root("removing the tunnel")?;
    control::ask(&state.directory, control::Command::Disconnect).await?;
    let target = docker::find(&engine.selection(), &Environment::current()?)?;
    let engine = Engine::connect(&target).await?;
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
        state_dir::purge(&state.directory)?;
        say("removed volume, images, key and state");
    }
    Ok(ExitCode::SUCCESS)
}
