//! Decides, network by network and subnet by subnet, what is attached and routed.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::mapping::{Fate, Mapping};
use super::reserved::Reserved;
use super::{Input, NetworkState, Reach, Reachability, bridge, overlay, parent};
use crate::docker::{ENABLE_LABEL, Network};

/// What becomes of one network.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) network: &'a Network,
    pub(super) state: NetworkState,
    /// Subnets that the server is asked to attach.
    pub(super) attached: BTreeSet<IpNet>,
    /// Those of them that are reached through the tunnel.
    pub(super) routed: BTreeSet<IpNet>,
    /// What some of them are mapped to.
    pub(super) mapped: BTreeMap<IpNet, IpNet>,
    /// Subnets whose containers can be reached, through the tunnel or without.
    pub(super) reachable: BTreeSet<IpNet>,
    pub(super) notes: Vec<String>,
}

/// Decides about every network, sorted by name.
pub(super) fn decide(input: &Input) -> Vec<Decision<'_>> {
    let mut networks: Vec<_> = input.networks.iter().collect();
    networks.sort_by_key(|it| (&it.name, &it.id));
    let mut subnets = Subnets {
        input,
        reserved: Reserved::new(&input.host, &input.claims),
        mapping: Mapping::new(input),
        claimed: BTreeMap::new(),
    };

    networks
        .into_iter()
        .map(|network| subnets.decide(network))
        .collect()
}

struct Subnets<'a> {
    input: &'a Input,
    reserved: Reserved,
    mapping: Mapping<'a>,
    /// Which network has a subnet already, by name.
    claimed: BTreeMap<IpNet, &'a str>,
}

impl<'a> Subnets<'a> {
    fn decide(&mut self, network: &'a Network) -> Decision<'a> {
        // IPv4 first, as people expect; engines list them in any order.
        let mut prefixes: Vec<_> = network.subnets.iter().map(|it| it.prefix).collect();
        prefixes.sort_unstable();
        let mut decision = Decision {
            network,
            state: NetworkState {
                name: network.name.clone(),
                driver: network.driver.clone(),
                subnets: prefixes,
                mapped: Vec::new(),
                state: Reachability::Reachable,
                reason: None,
            },
            attached: BTreeSet::new(),
            routed: BTreeSet::new(),
            mapped: BTreeMap::new(),
            reachable: BTreeSet::new(),
            notes: Vec::new(),
        };

        match verdict(self.input, network) {
            Ok(subnets) => {
                if network.is_overlay() {
                    decision.notes.extend(overlay::note(self.input, network));
                }
                self.decide_subnets(&mut decision, &subnets);
            }
            Err((state, reason)) => decision.reject(state, reason),
        }
        decision
    }

    fn decide_subnets(&mut self, decision: &mut Decision<'a>, subnets: &[IpNet]) {
        let network = decision.network;
        let mut excluded = None;

        for &subnet in subnets {
            if let Some(reason) = self.input.filters.rejection(network, subnet) {
                excluded.get_or_insert(reason);
            } else if let Some(reason) = bridge::obstacle(network, subnet, self.input.reach) {
                decision.reject(Reachability::Unsupported, reason);
            } else if self.input.reach == Reach::Direct {
                decision.reachable.insert(subnet);
            } else {
                self.decide_subnet(decision, subnet);
            }
        }

        if let Some(reason) = excluded
            && decision.reachable.is_empty()
            && decision.state.reason.is_none()
        {
            decision.reject(Reachability::Excluded, reason);
        }
    }

    fn decide_subnet(&mut self, decision: &mut Decision<'a>, subnet: IpNet) {
        if let Some(name) = self.claimed.get(&subnet) {
            // Mapping would not help: the server could not tell them apart.
            let reason = format!("{subnet} is the subnet of network '{name}' too");
            return decision.reject(Reachability::Conflict, reason);
        }
        if let Some(part) = self.input.maps.part(subnet) {
            decision.note(&format!(
                "{subnet} is not mapped as {part} is: give --map the whole subnet"
            ));
        }
        let clash = self.reserved.conflict(subnet);
        match self.mapping.fate(subnet, clash, &self.reserved) {
            Fate::Conflict(reason) => decision.reject(Reachability::Conflict, reason),
            Fate::Own => self.route(decision, subnet, subnet),
            Fate::Mapped(mapped) => {
                decision.mapped.insert(subnet, mapped);
                decision.state.mapped = decision.mapped.values().copied().collect();
                decision.note(&format!("{subnet} is reached as {mapped}"));
                self.route(decision, subnet, mapped);
            }
        }
    }

    fn route(&mut self, decision: &mut Decision<'a>, subnet: IpNet, route: IpNet) {
        self.claimed.insert(subnet, &decision.network.name);
        decision.attached.insert(subnet);
        if let Some(reason) = self.input.contested.get(&route) {
            return decision.reject(Reachability::Conflict, reason.clone());
        }
        let refusal = self.input.refused.get(&decision.network.id).cloned();
        if let Some(reason) = refusal.or_else(|| overlay::refusal(self.input, decision.network)) {
            decision.state.state = Reachability::Unsupported;
            decision.state.reason = Some(reason);
            return;
        }
        decision.routed.insert(subnet);
        decision.reachable.insert(subnet);

        if let Some(owner) = self.reserved.surrounding(route) {
            decision.note(&format!(
                "{route} lies inside {owner}: reached by our more specific route"
            ));
        }
    }
}

impl Decision<'_> {
    /// For this host.
    pub(super) fn routes(&self) -> impl Iterator<Item = IpNet> {
        let route = |subnet| *self.mapped.get(subnet).unwrap_or(subnet);
        self.routed.iter().map(route)
    }

    fn note(&mut self, note: &str) {
        let name = &self.network.name;
        self.notes.push(format!("network '{name}': {note}"));
    }

    /// Names a reason; of several, those of other subnets stay.
    fn reject(&mut self, state: Reachability, reason: String) {
        self.state.state = state;
        self.state.reason = Some(match self.state.reason.take() {
            Some(earlier) => format!("{earlier}; {reason}"),
            None => reason,
        });
    }
}

/// The subnets of a network that can be attached, or why none can.
fn verdict(input: &Input, network: &Network) -> Result<Vec<IpNet>, (Reachability, String)> {
    if network
        .labels
        .get(ENABLE_LABEL)
        .is_some_and(|it| it == "false")
    {
        let reason = format!("excluded by its label {ENABLE_LABEL}=false");
        return Err((Reachability::Excluded, reason));
    }
    if network.config_only {
        let reason = "a configuration for other networks: no container can be on it".to_owned();
        return Err((Reachability::Unsupported, reason));
    }
    let unsupported = |reason: String| Err((Reachability::Unsupported, reason));

    match network.driver.as_str() {
        "bridge" => subnets(network).or_else(unsupported),
        "macvlan" | "ipvlan" => match parent::obstacle(network, input.reach) {
            Some(reason) => unsupported(reason),
            None => subnets(network).or_else(unsupported),
        },
        "overlay" => overlay::subnets(input, network).or_else(unsupported),
        "host" => {
            unsupported("host network: containers on it answer at the server's address".to_owned())
        }
        "null" => unsupported("no network: containers on it have no address".to_owned()),
        driver => unsupported(format!(
            "driver '{driver}': dtap knows no way to its containers"
        )),
    }
}

/// Why the containers of a network have no address that could be reached.
fn subnets(network: &Network) -> Result<Vec<IpNet>, String> {
    if network.subnets.is_empty() {
        return Err("the network has no subnet: its containers have no known address".to_owned());
    }
    let mut prefixes: Vec<_> = network.subnets.iter().map(|it| it.prefix).collect();
    prefixes.sort_unstable();
    Ok(prefixes)
}
