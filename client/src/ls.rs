//! `ls`: the containers, by the running client or, without one, by the engine.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cli::{EngineChoice, StateDir};
use crate::control;
use crate::docker::{Engine, Environment};
use crate::engines::{self, Source};
use crate::plan::{self, ContainerState, Host, Input};
use crate::stdout::{print, say};
use crate::table;

/// What the running client says of one connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// The connection's name.
    pub(crate) name: String,
    /// The engine's identity.
    pub(crate) engine: Option<String>,
    pub(crate) containers: Vec<ContainerState>,
}

/// A container as `ls --json` shows it.
#[derive(Serialize)]
struct Entry<'a> {
    /// The connection's name, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<&'a str>,
    #[serde(flatten)]
    container: &'a ContainerState,
}

pub(crate) async fn command(
    state: &StateDir,
    choice: EngineChoice,
    json: bool,
) -> Result<ExitCode> {
    let connected = match control::ask(&state.directory, control::Command::Ls).await? {
        Some(answer) => serde_json::from_str(&answer).context("read the client's list")?,
        None => Vec::new(),
    };
    let listings = if choice.is_default() && !connected.is_empty() {
        connected
    } else {
        chosen(choice, &connected).await?
    };
    if json {
        say(&serde_json::to_string(&entries(&listings))?);
    } else {
        print(&human(&listings));
    }
    Ok(ExitCode::SUCCESS)
}

/// The engines the user names, by the client or by themselves.
async fn chosen(choice: EngineChoice, connected: &[Listing]) -> Result<Vec<Listing>> {
    let sources = engines::sources(&choice.selections(), Environment::current()?)?;
    let mut listings = Vec::new();
    for source in sources {
        listings.push(listing(&source, connected).await?);
    }
    Ok(listings)
}

/// As the running client has it; of an engine it is not connected to, none is reachable.
async fn listing(source: &Source, connected: &[Listing]) -> Result<Listing> {
    let target = source.target(source.choose()?)?;
    let identity = target.endpoint.identity();
    let known = connected
        .iter()
        .find(|it| it.engine.as_deref() == Some(&identity));
    if let Some(known) = known {
        return Ok(known.clone());
    }
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
    Ok(Listing {
        name: target.name,
        engine: Some(identity),
        containers,
    })
}

fn entries(listings: &[Listing]) -> Vec<Entry<'_>> {
    let are_several = listings.len() > 1;
    let of_one = |listing| {
        let Listing {
            name, containers, ..
        }: &Listing = listing;
        containers.iter().map(move |container| Entry {
            engine: are_several.then_some(name.as_str()),
            container,
        })
    };
    listings.iter().flat_map(of_one).collect()
}

fn human(listings: &[Listing]) -> String {
    let entries = entries(listings);
    let Some(first) = entries.first() else {
        return "no containers\n".to_owned();
    };
    let engine = first.engine.map(|_| "ENGINE");
    let head = ["NAME", "NETWORK", "ADDRESS", "PORTS", "REACHABLE"];
    let head = engine.into_iter().chain(head).map(str::to_owned);
    let mut rows = vec![head.collect()];
    for entry in &entries {
        let mut lines = lines(entry.container);
        for (index, line) in lines.iter_mut().enumerate() {
            if let Some(engine) = entry.engine {
                let engine = if index == 0 { engine } else { "" };
                line.insert(0, engine.to_owned());
            }
        }
        rows.extend(lines);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(name: &str, container: &str) -> Listing {
        let container = ContainerState {
            name: container.into(),
            id: "0".into(),
            names: Vec::new(),
            networks: Vec::new(),
            ports: vec!["80/tcp".into()],
            reachable: true,
            reason: None,
        };
        Listing {
            name: name.into(),
            engine: None,
            containers: vec![container],
        }
    }

    #[test]
    fn several_engines_have_a_column() {
        let (a, b) = (listing("a", "web"), listing("b", "web"));
        let one = human(std::slice::from_ref(&a));
        assert!(one.starts_with("NAME "), "{one}");
        let two = human(&[a, b]);
        let first: Vec<_> = two
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(first, ["ENGINE", "a", "b"]);
    }

    #[test]
    fn the_json_names_the_engine_only_among_several() {
        let listings = [listing("a", "web"), listing("b", "db")];
        let json = |listings| serde_json::to_value(entries(listings)).unwrap();
        let several = json(&listings);
        assert_eq!(several[1]["engine"], "b");
        assert_eq!(several[1]["name"], "db");
        assert_eq!(several[1]["ports"][0], "80/tcp");
        assert!(json(&listings[..1])[0].get("engine").is_none());
    }
}
