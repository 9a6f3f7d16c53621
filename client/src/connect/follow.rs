//! What a connected client does: wake, list, plan, set; and stay in touch.

mod hear;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dtap_net::router::RouteWatch;
use dtap_tunnel::Path;
use dtap_tunnel::session::{Message, NicOutcome};
use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use self::hear::REFUSED_AGAIN;
use super::claims::Others;
use super::connection::{Attached, Connection, goodbye};
use super::contest::Contest;
use super::pace::Pace;
use super::stay::{End, stopped};
use super::taps::{Ground, Probed};
use crate::docker::{Container, Engine, Network, Swarm};
use crate::plan::{self, Input, Plan};
use crate::{host, map_memory};

/// What the engine had at one moment.
pub(super) struct Listed {
    pub(super) networks: Vec<Network>,
    pub(super) containers: Vec<Container>,
    pub(super) swarm: Swarm,
}

/// Events come in bursts (`compose up`); the first of a burst waits this long
/// for the rest.
pub(super) const BURST: Duration = Duration::from_millis(30);
/// Routes change in bursts, too, when a VPN comes up.
const ROUTES_BURST: Duration = Duration::from_millis(200);

/// The loop's own state.
struct Follower {
    attached: Attached,
    generation: u64,
    pace: Pace,
    path: Option<Path>,
    /// Networks the server could not attach, by ID, and why.
    refused: BTreeMap<String, String>,
    contest: Contest,
}

impl Connection {
    /// Keeps plan and engine equal until the session ends or the user has
    /// enough.
    pub(super) async fn follow(&mut self, attached: Attached) -> Result<End> {
        let engine = attached.engine.clone();
        // Subscribe first, then list: nothing falls between.
        let mut events = engine.events().await?;
        let mut routes = RouteWatch::new().context("watch this host's routes")?;
        let mut paths = self
            .link
            .as_ref()
            .context("open the tunnel")?
            .driver
            .path_changes();
        paths.mark_changed();
        let mut stop = self.stop.clone();
        let mut elsewhere = Box::pin(self.leads_elsewhere());
        let claims = self.claims.clone();
        let mut others = claims.others();
        let mut listing = Some(Box::pin(list(engine.clone())));
        let mut news = None;
        let mut wishes = Box::pin(self.taps.changed());
        let mut probing = None;
        let mut follower = Follower {
            attached,
            generation: 0,
            pace: Pace::begin(),
            path: None,
            refused: BTreeMap::new(),
            contest: Contest::default(),
        };
        loop {
            let idle = listing.is_none();
            if probing.is_none()
                && let Some(link) = &self.link
            {
                probing = self.taps.probing(&link.driver);
            }
            if news.is_none() {
                news = self.leg.news();
            }
            tokio::select! {
                listed = some(&mut listing) => {
                    listing = None;
                    news = None;
                    self.set(&mut follower, listed?).await?;
                    follower.pace.planned();
                }
                () = follower.pace.due(), if idle => {
                    follower.pace.listing();
                    listing = Some(Box::pin(list(engine.clone())));
                }
                event = events.next() => {
                    let event = event.context("follow the engine's events")??;
                    self.leg.hear(&event);
                    news = None;
                    follower.pace.wake_within(BURST);
                }
                () = self.leg.done() => {
                    // It may show the leg where it was before.
                    listing = None;
                    follower.pace.wake_within(if self.leg.is_refused() { REFUSED_AGAIN } else { BURST });
                }
                there_is = some(&mut news) => {
                    news = None;
                    if there_is? {
                        follower.pace.wake_within(Duration::ZERO);
                    }
                }
                changed = routes.changed() => {
                    changed.context("watch this host's routes")?;
                    follower.pace.wake_within(ROUTES_BURST);
                }
                probed = some(&mut probing) => {
                    probing = None;
                    self.settle(probed);
                    follower.pace.wake_within(Duration::ZERO);
                }
                () = &mut wishes => {
                    wishes = Box::pin(self.taps.changed());
                    follower.pace.wake_within(Duration::ZERO);
                }
                now = claims.changed(&others) => {
                    others = now;
                    follower.pace.wake_within(Duration::ZERO);
                }
                message = follower.attached.session.recv() => {
                    let Some(message) = message? else {
                        bail!("the session with the server ended");
                    };
                    self.hear(&mut follower, message).await?;
                }
                changed = paths.changed() => {
                    changed.context("reach the tunnel: its interface is gone")?;
                    self.look_at_path(&mut follower).await?;
                }
                () = due(follower.contest.peace_ends()) => {
                    follower.contest.end_peace(Instant::now());
                    follower.pace.wake_within(BURST);
                }
                () = &mut elsewhere => {
                    self.say_bye(follower.attached).await;
                    return Ok(End::Moved);
                }
                () = stopped(&mut stop) => {
                    self.say_bye(follower.attached).await;
                    return Ok(End::Stopped);
                }
            }
        }
    }

    pub(super) async fn say_bye(&mut self, mut attached: Attached) {
        self.debt = goodbye(&mut attached.session).await;
    }

    /// Plans with what was listed, and makes it so at both ends.
    async fn set(&mut self, follower: &mut Follower, listed: Listed) -> Result<()> {
        let link = self.link.as_ref().context("open the tunnel")?;
        // As it is at this moment: what is shown may be a second old.
        let endpoint = match link.path(follower.attached.peer).await? {
            Some(Path::Udp(address)) => Some(address.ip()),
            Some(Path::Session) | None => None,
        };
        let taps = self.taps.interfaces();
        let own = taps.iter().map(String::as_str);
        let own: Vec<_> = own.chain([link.interface.as_str()]).collect();
        let host = host::describe(&own, endpoint)?;
        let present = host.routes.iter().filter(|route| route.ours);
        let present = present.map(|route| route.destination).collect();
        follower.contest.observe(&present, Instant::now());
        let mut input = Input {
            networks: listed.networks,
            containers: listed.containers,
            swarm: listed.swarm,
            host,
            contested: follower.contest.yielded(),
            refused: follower.refused.clone(),
            server_addresses: follower.attached.paired.server.clone(),
            server: Some(follower.attached.container.clone()),
            ..self.wishes(&follower.attached.paired, &Others::default())
        };
        self.leg.describe(&mut input);
        let mut others = Others::default();
        let plan = self.claims.plan(endpoint, |now| {
            others = now.clone();
            input.claims = now.claims();
            plan::plan(&input)
        });
        self.remember(&plan);
        for note in &plan.notes {
            tracing::info!("{note}");
        }
        let link = self.link.as_mut().context("open the tunnel")?;
        let Attached {
            session,
            paired,
            peer,
            ..
        } = &follower.attached;
        let ground = Ground {
            link,
            peer: *peer,
            paired,
            input: &input,
            plan: &plan,
        };
        let taps = self.taps.plan(&ground).await;
        follower.generation += 1;
        session.send(&Message::Plan {
            generation: follower.generation,
            attachments: plan.attachments.clone(),
            taps,
            nic: link.nic.as_ref().map(|it| it.address),
        });
        link.set(paired, &plan, endpoint, &others, &self.taps)
            .await?;
        self.taps.part(&link.driver).await;
        self.claims.keep(&plan.routes);
        follower.contest.set(&plan.routes);
        self.leg.set(input, plan.leg, &paired.host);
        self.view.send_modify(|view| {
            view.status.networks = plan.networks;
            view.containers = plan.containers;
            view.status.taps = self.taps.states();
            view.wishes.clone_from(&self.taps.planned);
        });
        Ok(())
    }

    /// Takes the addresses that nobody has in the networks of taps, before anything else leads there.
    fn settle(&mut self, probed: Probed) {
        if let Some(link) = &self.link {
            self.taps.settle(probed, &link.interface);
        }
        self.view
            .send_modify(|view| view.status.taps = self.taps.states());
    }

    /// Before anybody sees an address: it must be the same the next time.
    fn remember(&mut self, plan: &Plan) {
        let maps = &self.settings.maps;
        let chosen = plan.translations.iter();
        let chosen = chosen.filter(|(truth, _)| maps.explicit(**truth).is_none());
        let mut own = self.memory.own.clone();
        own.extend(chosen);
        if own != self.memory.own {
            self.memory.own = own;
            if let Err(error) = map_memory::remember(&self.settings.state_dir, &self.memory) {
                tracing::warn!("{error:#}: the next time they may be others");
            }
        }
    }

    fn hear_of_nic(&self, outcome: Option<NicOutcome>) -> Result<()> {
        let wanted = self.link.as_ref().and_then(|link| link.nic.as_ref());
        match (wanted, outcome) {
            (None, _) | (Some(_), Some(NicOutcome::Used)) => Ok(()),
            (Some(_), Some(NicOutcome::Failed { reason })) => bail!("use HyperKit's NIC: {reason}"),
            (Some(_), None) => {
                bail!("use HyperKit's NIC: the server is older than this client and knows none")
            }
        }
    }
}

pub(super) async fn list(engine: Engine) -> Result<Listed> {
    let (networks, containers) = tokio::try_join!(engine.networks(), engine.containers())?;
    let swarm = engine.swarm(&networks, &containers).await?;
    Ok(Listed {
        networks,
        containers,
        swarm,
    })
}

async fn due(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The outcome of a future, if there is one.
async fn some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
