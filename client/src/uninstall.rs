//! `uninstall`: disconnects and removes the server, with `--purge` everything.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cli::{EngineChoice, StateDir};
use crate::docker::{Engine, Environment, Target};
use crate::engines::{self, Chosen, Source};
use crate::stdout::say;
use crate::{control, privilege, state_dir};

pub(crate) async fn command(
    state: &StateDir,
    choice: EngineChoice,
    purge: bool,
) -> Result<ExitCode> {
    privilege::require_root("removing the tunnel")?;
    let targets = targets(state, choice, &Environment::current()?).await?;
    control::ask(&state.directory, control::Command::Disconnect).await?;
    let mut failures = Vec::new();
    let is_alone = targets.len() == 1;
    for (name, target) in targets {
        let removed = match target {
            Ok(target) => remove(&target, purge).await,
            Err(error) => Err(error),
        };
        // Where one cannot be reached, the others are to be rid of it still.
        if let Err(error) = removed {
            failures.push(match is_alone {
                true => error,
                false => error.context(name),
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

/// The engines the user names, else those of the running client, else the default one; by name.
async fn targets(
    state: &StateDir,
    choice: EngineChoice,
    environment: &Environment,
) -> Result<Vec<(String, Result<Target>)>> {
    if choice.is_default()
        && let Some(answer) = control::ask(&state.directory, control::Command::Engines).await?
    {
        let engines: Vec<Chosen> =
            serde_json::from_str(&answer).context("read the client's engines")?;
        let engines = engines.into_iter();
        return Ok(engines
            .map(|it| (it.name.clone(), it.target(environment)))
            .collect());
    }
    let sources = engines::sources(&choice.selections(), environment.clone())?;
    let target = |it: &Source| it.target(it.choose()?);
    Ok(sources.iter().map(|it| (it.name(), target(it))).collect())
}

async fn remove(target: &Target, purge: bool) -> Result<()> {
    let engine = Engine::connect(target).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Command, Control};
    use crate::docker::Endpoint;

    /// Where `uninstall` goes beside a client with these engines.
    async fn beside(client: &[Chosen], choice: EngineChoice) -> Vec<(String, Result<Target>)> {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir {
            directory: directory.path().to_owned(),
        };
        let mut control = Control::listen(&state_dir::socket(directory.path())).unwrap();
        let environment = Environment::current().unwrap();
        let answering = async {
            let question = control.question().await;
            assert_eq!(question.command, Command::Engines);
            question
                .answer(&serde_json::to_string(client).unwrap())
                .await;
            std::future::pending().await
        };
        tokio::select! {
            targets = targets(&state, choice, &environment) => targets.unwrap(),
            () = answering => Vec::new(),
        }
    }

    fn chosen(name: &str, url: &str) -> Chosen {
        Chosen {
            name: name.into(),
            endpoint: Some(Endpoint::parse(url, None).unwrap()),
        }
    }

    fn places(targets: Vec<(String, Result<Target>)>) -> Vec<String> {
        let places = targets.into_iter();
        places
            .map(|(_, it)| it.unwrap().endpoint.to_string())
            .collect()
    }

    #[tokio::test]
    async fn a_lone_url_and_the_default_among_several_are_the_client_s_own() {
        let url = [chosen("default", "tcp://vm:2375")];
        let several = [
            chosen("default", "unix:///elsewhere.sock"),
            chosen("colima", "unix:///colima.sock"),
        ];
        let none = EngineChoice::default;
        assert_eq!(places(beside(&url, none()).await), ["tcp://vm:2375"]);
        assert_eq!(
            places(beside(&several, none()).await),
            ["unix:///elsewhere.sock", "unix:///colima.sock"]
        );
    }

    #[tokio::test]
    async fn what_the_user_names_goes_before_what_the_client_has() {
        let client = [chosen("default", "tcp://vm:2375")];
        let named = EngineChoice::new(Vec::new(), vec!["unix:///named.sock".into()]);
        assert_eq!(places(beside(&client, named).await), ["unix:///named.sock"]);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_found_yet_does_not_stand_for_the_default_one() {
        let unknown = Chosen {
            name: "default".into(),
            endpoint: None,
        };
        let client = [unknown, chosen("a", "unix:///a.sock")];
        let mut targets = beside(&client, EngineChoice::default()).await.into_iter();
        let error = targets.next().unwrap().1.unwrap_err().to_string();
        assert!(error.contains("--docker-host"), "{error}");
        assert!(targets.next().unwrap().1.is_ok());
    }
}
