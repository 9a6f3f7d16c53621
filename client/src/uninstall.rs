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
    engine.remove_legs().await?;
    match engine.server().await? {
        Some(server) => {
            if let Err(error) = engine.reset_server(&server).await {
                tracing::warn!("the engine's machine may keep routes or rules: {error:#}");
            }
            engine.remove_server(&server).await?;
            say(&format!("removed the server container {}", server.name));
        }
        None => say("there was no server container"),
    }
    if purge {
        engine.remove_volume().await?;
        engine.remove_images().await?;
        state_dir::purge(&state.directory)?;
        say("removed volume, images, key and state");
    }
    Ok(ExitCode::SUCCESS)
}
