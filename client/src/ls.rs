//! `ls`: the containers, by the running client or, without one, by the engine.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cli::{EngineChoice, StateDir};
use crate::control;
use crate::docker::{self, Engine, Environment};
use crate::plan::{self, ContainerState, Host, Input};
use crate::stdout::{print, say};
use crate::table;

pub(crate) async fn command(
    state: &StateDir,
    engine: &EngineChoice,
    json: bool,
) -> Result<ExitCode> {
    let containers = match control::ask(&state.directory, control::Command::Ls).await? {
        Some(answer) => serde_json::from_str(&answer).context("read the client's list")?,
        None => unconnected(engine).await?,
    };
    if json {
        say(&serde_json::to_string(&containers)?);
    } else {
        print(&human(&containers));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the engine has, none of it reachable.
async fn unconnected(engine: &EngineChoice) -> Result<Vec<ContainerState>> {
    let target = docker::find(&engine.selection(), &Environment::current()?)?;
    let engine = Engine::connect(&target).await?;
    let input = Input {
        networks: engine.networks().await?,
        containers: engine.containers().await?,
        server: engine.server().await?.map(|server| server.id),
        host: Host::default(),
        ..Input::default()
    };
    let mut containers = plan::plan(&input).containers;
    for container in &mut containers {
        container.reachable = false;
        container.reason = Some("not connected".to_owned());
    }
    Ok(containers)
}

fn human(containers: &[ContainerState]) -> String {
    if containers.is_empty() {
        return "no containers\n".to_owned();
    }
    let head = ["NAME", "NETWORK", "ADDRESS", "PORTS", "REACHABLE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for container in containers {
        rows.extend(lines(container));
    }
    table::render(&rows)
}

/// One line per address, with the name on the first.
fn lines(container: &ContainerState) -> Vec<Vec<String>> {
    let reachable = match &container.reason {
        _ if container.reachable => "yes".to_owned(),
        Some(reason) => format!("no: {reason}"),
        None => "no".to_owned(),
    };
    let first = [container.ports.join(" "), reachable];
    if container.networks.is_empty() {
        let [ports, reachable] = first;
        let none = "-".to_owned();
        return vec![vec![
            container.name.clone(),
            none.clone(),
            none,
            ports,
            reachable,
        ]];
    }
    let addresses = container.networks.iter().enumerate();
    addresses
        .map(|(index, place)| {
            let address = place.mapped.or(place.address);
            let address = address.map_or_else(|| "-".to_owned(), |it| it.to_string());
            if index > 0 {
                return vec![String::new(), place.network.clone(), address];
            }
            let [ports, reachable] = first.clone();
            vec![
                container.name.clone(),
                place.network.clone(),
                address,
                ports,
                reachable,
            ]
        })
        .collect()
}
