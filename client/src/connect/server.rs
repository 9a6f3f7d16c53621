//! A session with the server: starts the container where none runs, and waits
//! until it answers.

use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use bytes::Bytes;
use dtap_net::session::{Heart, Session};
use dtap_tunnel::session::{Hello, Message, PROTOCOL, XTABLES_LOCK};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::config::Settings;
use crate::docker::{Engine, ImageId, ServerContainer, ServerState};
use crate::image::{self, Arch};

/// A session whose ends know each other's versions.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) server: Hello,
    pub(super) container: String,
    /// Why the server has to do without something that it lacks.
    pub(super) unequipped: Option<String>,
}

/// How long a started server may take until it answers.
const STARTING: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(5);

/// Opens a session, starting what is needed for it. `boot` names this run of
/// the client. The session runs where its datagrams are needed.
pub(super) async fn open(
    engine: &Engine,
    settings: &Settings,
    boot: &str,
    packets: &Handle,
) -> Result<Opened> {
    let mut deadline = Instant::now() + STARTING;
    let mut unequipped = None;
    loop {
        let container = ensure(engine, settings).await?;
        let refused = match greet(engine, &container, boot, packets).await {
            Ok(opened) if opened.server.lacks_xtables_lock && unequipped.is_none() => {
                drop(opened);
                unequipped = Some(match equip(engine, settings, &container).await {
                    Ok(()) => {
                        deadline = Instant::now() + STARTING;
                        "the server container was given it in vain".to_owned()
                    }
                    Err(error) => format!("{error:#}"),
                });
                continue;
            }
            Ok(opened) if opened.server.lacks_xtables_lock => {
                return Ok(Opened {
                    unequipped,
                    ..opened
                });
            }
            Ok(opened) => return Ok(opened),
            Err(Greeting::Hopeless(error)) => return Err(error),
            Err(Greeting::NotYet(error)) => error,
        };
        if Instant::now() > deadline {
            return Err(refused.context(format!(
                "open a session with the server container {} (see `docker logs {}`)",
                container.name, container.name
            )));
        }
        tokio::time::sleep(RETRY).await;
    }
}

enum Greeting {
    /// The server may still be starting.
    NotYet(Error),
    Hopeless(Error),
}

async fn greet(
    engine: &Engine,
    container: &ServerContainer,
    boot: &str,
    packets: &Handle,
) -> Result<Opened, Greeting> {
    let program = engine.session(&container.id, packets).await;
    let program = program.map_err(Greeting::NotYet)?;
    let mut session = Session::start(packets, Heart::Beats, program.output, program.input);
    let own = hello(boot);
    session.send(&Message::Hello(own.clone()));
    match timeout(ANSWER, answer(&mut session)).await {
        Ok(Ok(server)) => {
            own.agree(&server)
                .map_err(|error| Greeting::Hopeless(error.into()))?;
            Ok(Opened {
                session,
                server,
                container: container.id.clone(),
                unequipped: None,
            })
        }
        Ok(Err(error)) => {
            let complaint = program.process.stderr();
            Err(Greeting::NotYet(if complaint.is_empty() {
                error
            } else {
                Error::msg(complaint)
            }))
        }
        Err(_) => Err(Greeting::NotYet(Error::msg(
            "the server did not answer within 5 s",
        ))),
    }
}

/// The server's hello. A heartbeat may come first: a busy engine can take a
/// second to pass our hello on.
async fn answer(session: &mut Session) -> Result<Hello> {
    loop {
        match session.recv().await? {
            Some(Message::Hello(server)) => return Ok(server),
            Some(Message::Failed { error }) => bail!("the server gave up: {error}"),
            Some(other) => tracing::debug!(?other, "skipped before the hello"),
            None => bail!("the session ended at once"),
        }
    }
}

/// The running server container; made and started if need be.
async fn ensure(engine: &Engine, settings: &Settings) -> Result<ServerContainer> {
    if let Some(container) = engine.server().await? {
        match container.state {
            ServerState::Running => return checked(container),
            ServerState::Restarting => {
                return Ok(container);
            }
            ServerState::Created
            | ServerState::Paused
            | ServerState::Exited
            | ServerState::Dead => {}
        }
        if !settings.starts_server {
            bail!(
                "the server container {} does not run: start it with `docker start {}`, or leave out --no-start-server",
                container.name,
                container.name
            );
        }
        engine.start_server(&container).await?;
        return Ok(container);
    }
    if !settings.starts_server {
        bail!(
            "no server container runs: leave out --no-start-server, or start one by `docker run` as the README shows"
        );
    }
    let image = image(engine, settings).await?;
    let container = engine.create_server(&image).await?;
    if let Err(error) = engine.start_server(&container).await {
        // What we made and cannot use must not stay.
        if let Err(kept) = engine.remove_server(&container).await {
            tracing::warn!("{kept:#}");
        }
        return Err(error);
    }
    Ok(container)
}

/// Gives the server the file that it lacks.
async fn equip(engine: &Engine, settings: &Settings, container: &ServerContainer) -> Result<()> {
    if !settings.starts_server {
        bail!(
            "start it with `--mount type=bind,source={XTABLES_LOCK},target={XTABLES_LOCK}`, or leave out --no-start-server"
        );
    }
    tracing::info!(
        "the engine filters by iptables-legacy: replacing the server container {} by one with {XTABLES_LOCK}",
        container.name
    );
    engine.equip_server(container).await
}

fn checked(container: ServerContainer) -> Result<ServerContainer> {
    if container.host_network {
        return Ok(container);
    }
    bail!(
        "the server container {} is not in the engine's network: remove it and start it with `--network host`, or let `connect` do both",
        container.name
    )
}

/// The image to run: the one the user names, else the one this client carries.
async fn image(engine: &Engine, settings: &Settings) -> Result<ImageId> {
    if let Some(reference) = &settings.server_image {
        return engine.image(reference).await?.with_context(|| {
            format!("the engine has no image {reference}: load or pull it first, or leave out --server-image")
        });
    }
    let facts = engine.facts().await?;
    let arch = Arch::of(&facts.architecture).with_context(|| {
        format!(
            "there is no server for the engine's architecture {}",
            facts.architecture
        )
    })?;
    engine
        .load_image(Bytes::from_static(image::required(arch)?))
        .await
}

fn hello(boot: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot: Some(boot.to_owned()),
        namespace: dtap_net::namespace::current(),
        lacks_xtables_lock: false,
    }
}
