//! Keeps this client's leg where the plan wants it: on overlay networks, as long as somebody else is.
//!
//! Who is on a network last can remove it at once on an engine without dtap. So the leg leaves as soon as the last other
//! container is told to end, and not only when it has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dtap_tunnel::PublicKey;
use futures_util::future::{BoxFuture, join_all};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::docker::{Container, Engine, Event, EventKind, Network};
use crate::plan::{self, Input, LEG_PREFIX};

/// The leg, whether it is there or not.
#[derive(Default)]
pub(super) struct Leg {
    name: String,
    /// Known once a session was opened.
    engine: Option<Engine>,
    /// Whether what has its name is of this run, with these addresses of the tunnel.
    hosts: Option<Vec<IpAddr>>,
    beat: Option<JoinHandle<()>>,
    work: Option<JoinHandle<Work>>,
    foreign: BTreeSet<String>,
    refused: BTreeMap<String, String>,
    /// Containers that were told to end, and until when they are expected to.
    doomed: BTreeMap<String, Instant>,
    /// What was planned last, to plan again at once.
    input: Option<Input>,
}

/// What a change of the leg has come to.
struct Work {
    /// Networks it could not join, by ID, and why.
    refused: BTreeMap<String, String>,
}

/// What the leg is to do.
struct Change {
    engine: Engine,
    name: String,
    hosts: Vec<IpAddr>,
    /// Whether there is one to go on with.
    stands: bool,
    is_wanted: bool,
    leave: BTreeSet<String>,
    join: BTreeSet<String>,
}

impl Leg {
    /// Is that of a client of this engine's.
    pub(super) fn belong(&mut self, engine: &Engine, client: &PublicKey) {
        let digest = Sha256::digest(client.to_string());
        let digits: String = digest[..6].iter().map(|it| format!("{it:02x}")).collect();
        self.name = format!("{LEG_PREFIX}{digits}");
        self.engine = Some(engine.clone());
    }

    /// Completes what is to be planned from.
    pub(super) fn describe(&mut self, input: &mut Input) {
        plan::recognise_legs(&input.swarm, &mut self.foreign);
        let now = Instant::now();
        self.doomed.retain(|_, until| *until > now);
        if let Some(own) = input.containers.iter().find(|it| it.name == self.name) {
            let on = networks_of(own, input);
            self.refused.retain(|network, _| !on.contains(network));
        }
        input.leg = plan::Leg {
            name: self.name.clone(),
            foreign: self.foreign.clone(),
            refused: self.refused.clone(),
            doomed: self.doomed.keys().cloned().collect(),
        };
    }

    /// Begins to make the leg what the plan wants; [`Self::done`] tells when that is so.
    pub(super) fn set(&mut self, input: Input, wanted: BTreeSet<String>, hosts: &[IpAddr]) {
        let Some(engine) = self.engine.clone() else {
            return;
        };
        let own = input.containers.iter().find(|it| it.name == self.name);
        let stands = own.is_some_and(|it| it.running) && self.hosts.as_deref() == Some(hosts);
        let on = own.map(|it| networks_of(it, &input)).unwrap_or_default();
        let is_leftover = own.is_some() && !stands;
        self.keep_beating(&engine, stands);
        let right = on == wanted && !is_leftover && stands != wanted.is_empty();
        self.input = Some(input);
        if self.work.is_some() || right {
            return;
        }
        self.hosts = Some(hosts.to_vec());
        let change = Change {
            engine,
            name: self.name.clone(),
            hosts: hosts.to_vec(),
            stands,
            is_wanted: !wanted.is_empty(),
            leave: on.difference(&wanted).cloned().collect(),
            join: match stands {
                true => wanted.difference(&on).cloned().collect(),
                false => wanted,
            },
        };
        self.work = Some(tokio::spawn(change.make()));
    }

    /// Whether the networks of the plan are about to be joined, for the first time.
    pub(super) fn is_settling(&self) -> bool {
        self.work.is_some() && self.refused.is_empty()
    }

    /// Waits until a change has been made; for ever if there is none.
    pub(super) async fn done(&mut self) {
        let Some(work) = &mut self.work else {
            return std::future::pending().await;
        };
        let done = work.await;
        self.work = None;
        match done {
            Ok(done) => self.refused = done.refused,
            Err(error) => tracing::warn!(%error, "cannot change the leg"),
        }
    }

    /// Whether a network could not be joined and is to be tried again.
    pub(super) fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Tells after a while whether there is more, less or something else on other nodes than was planned with; no event says
    /// so.
    pub(super) fn news(&self) -> Option<BoxFuture<'static, Result<bool>>> {
        let input = self.input.as_ref()?;
        if !input.networks.iter().any(Network::is_overlay) {
            return None;
        }
        if let Some(until) = self.doomed.values().max().copied() {
            // Who lives on was told something else.
            return Some(Box::pin(async move {
                sleep_until(until).await;
                Ok(true)
            }));
        }
        let stands = input.containers.iter().any(|it| input.leg.is(it));
        let patience = if stands { STANDING } else { ABSENT };
        let (networks, containers) = (input.networks.clone(), input.containers.clone());
        let (engine, known) = (self.engine.clone()?, input.swarm.clone());
        Some(Box::pin(async move {
            sleep(patience).await;
            Ok(engine.swarm(&networks, &containers).await? != known)
        }))
    }

    /// Leaves at once the networks on which nobody will be after this event.
    pub(super) fn hear(&mut self, event: &Event) {
        if event.kind != EventKind::Container {
            return;
        }
        match event.action.as_str() {
            "kill" if !event.signal.is_some_and(|it| HARMLESS.contains(&it)) => {}
            "die" => {}
            "start" => {
                self.doomed.remove(&event.id);
                if let Some(input) = &mut self.input {
                    input.leg.doomed.remove(&event.id);
                }
                return;
            }
            _ => return,
        }
        let until = Instant::now() + DOOM;
        self.doomed.insert(event.id.clone(), until);
        let (Some(input), Some(engine)) = (&mut self.input, &self.engine) else {
            return;
        };
        for network in abandoned(input, &event.id) {
            let (engine, name) = (engine.clone(), self.name.clone());
            tokio::spawn(async move {
                if let Err(error) = engine.disconnect_leg(&name, &network).await {
                    tracing::debug!("{error:#}");
                }
            });
        }
    }

    /// Leaves nothing.
    pub(super) async fn remove(mut self) {
        let Some(engine) = self.engine.take() else {
            return;
        };
        if let Some(work) = self.work.take() {
            // What it is about to make is to be removed, too.
            let _ = timeout(REMOVAL, work).await;
        }
        self.keep_beating(&engine, false);
        match timeout(REMOVAL, engine.remove_leg(&self.name)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error:#}; it ends by itself in 12 s"),
            Err(_) => tracing::warn!("the leg was not removed; it ends by itself in 12 s"),
        }
    }

    fn keep_beating(&mut self, engine: &Engine, stands: bool) {
        let beats = self.beat.as_ref().is_some_and(|it| !it.is_finished());
        match (stands, beats) {
            (true, false) => {
                self.beat = Some(tokio::spawn(beat(engine.clone(), self.name.clone())));
            }
            (false, true) => {
                if let Some(beat) = self.beat.take() {
                    beat.abort();
                }
            }
            (true, true) | (false, false) => {}
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(beat) = self.beat.take() {
            beat.abort();
        }
    }
}

impl Change {
    async fn make(self) -> Work {
        let leaving = self.leave.iter();
        let leaving = leaving.map(|network| self.engine.disconnect_leg(&self.name, network));
        for left in join_all(leaving).await {
            if let Err(error) = left {
                tracing::debug!("{error:#}");
            }
        }
        let stood = match (self.is_wanted, self.stands) {
            (false, _) => self.engine.remove_leg(&self.name).await,
            (true, true) => Ok(()),
            (true, false) => self.start().await,
        };
        if let Err(error) = stood {
            let refused = self.join.iter();
            return Work {
                refused: refused
                    .map(|network| (network.clone(), format!("{error:#}")))
                    .collect(),
            };
        }
        let mut refused = BTreeMap::new();
        for network in &self.join {
            if let Err(error) = self.engine.connect_leg(&self.name, network).await {
                refused.insert(network.clone(), format!("{error:#}"));
            }
        }
        Work { refused }
    }

    /// What has its name was made by a run before this one.
    async fn start(&self) -> Result<()> {
        self.engine.remove_leg(&self.name).await?;
        let server = self.engine.server().await?;
        let image = server.context("find the server's image")?.image;
        let (name, hosts) = (&self.name, &self.hosts);
        self.engine.start_leg(name, &image, hosts).await
    }
}

/// Lets the leg live on, across restarts of the engine.
async fn beat(engine: Engine, name: String) {
    loop {
        match engine.leg_input(&name).await {
            Ok(mut input) => {
                while input.beat().await.is_ok() {
                    sleep(BEAT).await;
                }
            }
            Err(error) => tracing::debug!("{error:#}"),
        }
        sleep(AGAIN).await;
    }
}

/// The networks the leg is to leave now that this container is about to end.
fn abandoned(input: &mut Input, id: &str) -> BTreeSet<String> {
    let shared = shared(input, id);
    if shared.is_empty() || !input.leg.doomed.insert(id.to_owned()) {
        return BTreeSet::new();
    }
    let wanted = plan::plan(input).leg;
    shared.difference(&wanted).cloned().collect()
}

/// The networks that the leg and this container are both on.
fn shared(input: &Input, id: &str) -> BTreeSet<String> {
    let own = input.containers.iter().find(|it| input.leg.is(it));
    let container = input.containers.iter().find(|it| it.id == id);
    let (Some(own), Some(container)) = (own, container) else {
        return BTreeSet::new();
    };
    &networks_of(own, input) & &networks_of(container, input)
}

/// The overlay networks that a container is on.
fn networks_of(container: &Container, input: &Input) -> BTreeSet<String> {
    let overlays = input.networks.iter().filter(|it| it.is_overlay());
    let overlays: BTreeSet<_> = overlays.map(|it| it.id.as_str()).collect();
    container
        .endpoints
        .iter()
        .map(|it| it.network_id.clone())
        .filter(|it| overlays.contains(it.as_str()))
        .collect()
}

/// A leg lives for 12 s after one.
const BEAT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// `docker stop` makes a container that does not listen wait for 10 s, and then it is told once more.
const DOOM: Duration = Duration::from_secs(2);
/// Signals by which programs are told to read their configuration again, and the like: 1, 10, 12 and 28, signal(7).
const HARMLESS: [i32; 4] = [1, 10, 12, 28];
/// A script that removes a network after its last container must not find the leg there, wherever the container was.
const STANDING: Duration = Duration::from_millis(250);
const ABSENT: Duration = Duration::from_secs(1);
const REMOVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
