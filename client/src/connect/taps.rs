//! The networks whose Ethernet this host is in: its ends of them, and what is to be said of each.

mod carrier;
mod host_tap;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use dtap_net::driver::Driver;
use dtap_tunnel::session::{Paired, Problem, Tap};
use dtap_tunnel::{HardwareAddress, PeerId};
use ipnet::IpNet;
use tokio::sync::watch;

use super::link::Link;
use crate::borrowed;
use crate::config::Settings;
use crate::plan::{self, Input, Plan, Reachability};
use crate::status::{self, TapState};
use crate::tap::{CarrierChoice, Wish};
use carrier::{BRIDGE, HYPERKIT, TUNNEL, parent, parent_nic};
use host_tap::HostTap;
pub(super) use host_tap::Probed;

/// What comes of a probe.
pub(super) type Probing = Pin<Box<dyn Future<Output = Probed> + Send>>;

/// Those of one connection.
pub(super) struct Taps {
    connection: String,
    settings: Arc<Settings>,
    wishes: watch::Receiver<Vec<Wish>>,
    /// NICs that the user wants to be parents of networks.
    parents: watch::Receiver<BTreeSet<HardwareAddress>>,
    /// Those of the last plan.
    pub(super) planned: Vec<Wish>,
    standing: BTreeMap<String, HostTap>,
    /// What goes as soon as other routes lead where it did.
    leaving: Vec<HostTap>,
    /// Why wishes that have no end of their own have none, by the network's name.
    unfulfilled: BTreeMap<String, Obstacle>,
    /// Networks this host has been in: they may come back.
    known: BTreeSet<String>,
    next_number: u16,
    /// NICs that the server could not use, as that peer.
    lost: BTreeSet<HardwareAddress>,
    peer: Option<PeerId>,
}

/// What taps are planned on.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) link: &'a Link,
    pub(super) peer: PeerId,
    pub(super) paired: &'a Paired,
    pub(super) input: &'a Input,
    pub(super) plan: &'a Plan,
}

/// Why there is nothing.
#[derive(Debug, Clone)]
struct Obstacle {
    carrier: CarrierChoice,
    state: TapState,
    reason: String,
}

impl Taps {
    pub(super) fn new(
        connection: &str,
        wishes: watch::Receiver<Vec<Wish>>,
        parents: watch::Receiver<BTreeSet<HardwareAddress>>,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            settings,
            parents,
            connection: connection.to_owned(),
            wishes,
            planned: Vec::new(),
            standing: BTreeMap::new(),
            leaving: Vec::new(),
            unfulfilled: BTreeMap::new(),
            known: BTreeSet::new(),
            next_number: 0,
            lost: BTreeSet::new(),
            peer: None,
        }
    }

    /// Returns when the user wants something else than when it was last called.
    pub(super) fn changed(&mut self) -> impl Future<Output = ()> + use<> {
        self.wishes.mark_unchanged();
        self.parents.mark_unchanged();
        let (mut wishes, mut parents) = (self.wishes.clone(), self.parents.clone());
        async move {
            let gone = tokio::select! {
                changed = wishes.changed() => changed.is_err(),
                changed = parents.changed() => changed.is_err(),
            };
            if gone {
                std::future::pending().await
            }
        }
    }

    /// Makes this host's ends what the user wants and the engine has; gives what the server is to do.
    pub(super) async fn plan(&mut self, ground: &Ground<'_>) -> Vec<Tap> {
        self.planned = self.wishes.borrow().clone();
        let wishes = self.planned.clone().into_iter().filter(|wish| {
            let network = &wish.network.network;
            wish.network.is(&self.connection, network)
        });
        if self.peer.replace(ground.peer) != Some(ground.peer) {
            self.lost.clear();
        }
        self.unfulfilled.clear();
        let mut wanted = BTreeSet::new();
        for wish in wishes.collect::<Vec<_>>() {
            match self.fulfil(&wish, ground).await {
                Ok(id) => drop(wanted.insert(id)),
                Err((state, reason)) => {
                    // Who asks in vain for another way keeps the one that stands.
                    let is_other = |it: &HostTap| it.is_of(&wish) && !it.does(&wish);
                    let other = self.standing.iter().find(|(_, it)| is_other(it));
                    if let (TapState::Refused, Some((id, _))) = (state, other) {
                        wanted.insert(id.clone());
                    }
                    let obstacle = Obstacle {
                        carrier: wish.carrier,
                        state,
                        reason,
                    };
                    self.unfulfilled.insert(wish.network.network, obstacle);
                }
            }
        }
        let gone = self.standing.extract_if(.., |id, _| !wanted.contains(id));
        self.leaving.extend(gone.map(|(_, tap)| tap));
        let parents = self.parents.borrow().clone();
        let parents = parents
            .iter()
            .filter(|it| ground.paired.nics.contains_key(it));
        let standing = self.standing.values().map(HostTap::wanted_of_server);
        standing.chain(parents.map(|it| parent(*it))).collect()
    }

    async fn fulfil(
        &mut self,
        wish: &Wish,
        ground: &Ground<'_>,
    ) -> Result<String, (TapState, String)> {
        let Ground {
            link,
            peer,
            paired,
            input,
            plan,
        } = *ground;
        let name = &wish.network.network;
        let Some(network) = input.networks.iter().find(|it| it.name == *name) else {
            return Err(match self.known.contains(name) {
                true => (TapState::Waiting, "the network is gone".to_owned()),
                false => (
                    TapState::Refused,
                    "the engine has no such network".to_owned(),
                ),
            });
        };
        let refuse = |reason: &str| Err((TapState::Refused, reason.to_owned()));
        let parent = parent_nic(network, paired);
        if network.driver != BRIDGE && parent.is_none() {
            return refuse(
                "only networks of the driver bridge have a bridge to be a port of, and others no parent of ours \
                 (`dtap-client tap parent`)",
            );
        }
        if network.is_mute() {
            return refuse(
                "its containers may not speak to their neighbours (icc=false), so that neither may a host",
            );
        }
        let state = plan.networks.iter().find(|it| it.name == *name);
        if state.is_some_and(|it| it.state == Reachability::Conflict || !it.mapped.is_empty()) {
            return refuse("its addresses mean something else on this host");
        }
        let tunnel = paired.prefixes.iter().find_map(|prefix| match prefix {
            IpNet::V6(prefix) => Some(*prefix),
            IpNet::V4(_) => None,
        });
        let Some(tunnel) = tunnel else {
            return refuse("the server has allotted no IPv6 prefix, which carries the frames");
        };
        let taken = plan::tap::taken(input, network);
        let current = self.standing.get(&network.id);
        let current = current.map(|it| it.addresses.clone()).unwrap_or_default();
        let asked = self.standing.get(&network.id).filter(|it| it.does(wish));
        let claimed = asked.map(HostTap::claimed).unwrap_or_default();
        let taken_by_any = taken.union(&claimed).copied().collect();
        plan::tap::choose(network, &taken_by_any, &current, wish.address)
            .map_err(|reason| (TapState::Refused, reason))?;
        let is_there = self
            .standing
            .get(&network.id)
            .is_some_and(|it| it.serves(wish, peer));
        if !is_there {
            if let Some(old) = self.standing.remove(&network.id) {
                match old.nic() {
                    Some(_) => self.remove(old, &link.driver).await,
                    None => self.leaving.push(old),
                }
            }
            let tap = self.open(wish, network, ground, tunnel, parent).await;
            let tap = tap.map_err(|error| (TapState::Waiting, error.to_string()))?;
            self.standing.insert(network.id.clone(), tap);
        }
        if let Some(tap) = self.standing.get_mut(&network.id) {
            tap.taken = taken;
            tap.hold(&link.interface);
        }
        self.known.insert(name.clone());
        Ok(network.id.clone())
    }

    /// Removes what the last plan has no use for; its routes have heirs by now.
    pub(super) async fn part(&mut self, driver: &Driver) {
        for tap in std::mem::take(&mut self.leaving) {
            self.remove(tap, driver).await;
        }
    }

    /// What the server has made of the last plan; none if it knows no taps.
    pub(super) async fn hear(&mut self, problems: Option<Vec<Problem>>, driver: &Driver) {
        let Some(problems) = problems else {
            let reason = "the server is older than this client and knows no taps";
            let all = self.standing.values_mut();
            all.for_each(|tap| tap.problem = Some(reason.to_owned()));
            return;
        };
        for (id, tap) in &mut self.standing {
            let problem = problems.iter().find(|problem| problem.id == *id);
            tap.problem = problem.map(|it| it.reason.clone());
            tap.is_joined = problem.is_none();
        }
        // What the VM has not got, the tunnel carries.
        let lost = self
            .standing
            .values()
            .filter(|it| it.is_auto() && it.problem.is_some());
        self.lost.extend(lost.filter_map(HostTap::nic));
        let is_lost = |it: &HostTap| it.nic().is_some_and(|nic| self.lost.contains(&nic));
        let lost = self
            .standing
            .extract_if(.., |_, it| it.is_auto() && is_lost(it));
        for (_, tap) in lost.collect::<Vec<_>>() {
            let obstacle = Obstacle {
                carrier: CarrierChoice::Auto,
                state: TapState::Attaching,
                reason: tap.problem.clone().unwrap_or_default(),
            };
            self.unfulfilled
                .insert(tap.network_name().to_owned(), obstacle);
            self.remove(tap, driver).await;
        }
    }

    /// Whether the server is to be asked again: its machine may have changed without an event.
    pub(super) fn is_unsettled(&self) -> bool {
        let waits = |it: &Obstacle| it.state != TapState::Refused;
        self.standing.values().any(|tap| tap.problem.is_some())
            || self.unfulfilled.values().any(waits)
    }

    /// Asks a network for the addresses this host is about to take in it.
    pub(super) fn probing(&mut self, driver: &Driver) -> Option<Probing> {
        let mut all = self.standing.values_mut();
        all.find_map(|tap| tap.probe(driver.clone()))
    }

    /// Takes what nobody has.
    pub(super) fn settle(&mut self, probed: Probed, tunnel: &str) {
        if let Some(tap) = self.standing.get_mut(&probed.network_id) {
            tap.settle(probed, tunnel);
        }
    }

    /// The subnets that are reached by taps, and so not by the tunnel.
    pub(super) fn subnets(&self) -> BTreeSet<IpNet> {
        let taps = self.standing.values().filter(|tap| tap.is_attached());
        taps.flat_map(|tap| tap.addresses.iter().map(IpNet::trunc))
            .collect()
    }

    pub(super) fn interfaces(&self) -> BTreeSet<String> {
        let taps = self.standing.values().chain(&self.leaving);
        taps.map(|tap| tap.interface.clone()).collect()
    }

    /// For `status`.
    pub(super) fn states(&self) -> Vec<status::Tap> {
        let obstacles = self
            .unfulfilled
            .iter()
            .map(|(network, obstacle)| status::Tap {
                network: network.clone(),
                carrier: match obstacle.carrier {
                    CarrierChoice::Auto => "auto",
                    CarrierChoice::Hyperkit => HYPERKIT,
                    CarrierChoice::Tunnel => TUNNEL,
                }
                .to_owned(),
                interface: None,
                address: None,
                address6: None,
                state: obstacle.state,
                reason: Some(obstacle.reason.clone()),
                is_by_parent: false,
            });
        let mut states: Vec<_> = obstacles.collect();
        states.extend(self.standing.values().map(HostTap::state));
        states.sort_by(|one, other| one.network.cmp(&other.network));
        states
    }

    async fn remove(&self, tap: HostTap, driver: &Driver) {
        let interface = tap.nic().map(|_| tap.interface.clone());
        tap.remove(driver).await;
        if let Some(interface) = interface
            && let Err(error) = borrowed::give_back(&self.settings.state_dir, &interface)
        {
            tracing::warn!("{error:#}");
        }
    }

    /// Leaves all networks.
    pub(super) async fn clear(&mut self, driver: &Driver) {
        self.part(driver).await;
        for (_, tap) in std::mem::take(&mut self.standing) {
            self.remove(tap, driver).await;
        }
        self.unfulfilled.clear();
    }
}
