//! How the engine's machine gets to the networks of its clients: which of its
//! interfaces packets pass, and what it lacks for that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use dtap_net::firewall::Handover;
use dtap_net::foothold::{self, Foothold, Passage};
use dtap_tunnel::session::{Access, Attachment, SiblingKind};
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;

/// Why networks could not be attached, by their ID.
pub(crate) type Problems = BTreeMap<String, String>;

/// What was found and made.
#[derive(Debug, Default)]
pub(crate) struct Grounds {
    /// The interfaces by which the containers of a network are reached, by its
    /// ID.
    pub(crate) passed: BTreeMap<String, BTreeSet<String>>,
    /// What leads to the networks that are reached by next hops, by their ID.
    pub(crate) exits: BTreeMap<String, Exits>,
    /// Interfaces by which containers answer this machine only.
    pub(crate) footholds: BTreeSet<String>,
    /// Those of them on bridges that are closed to IPv6, by the network's ID.
    pub(crate) handovers: BTreeMap<String, BTreeSet<Handover>>,
    pub(crate) problems: Problems,
}

/// Interfaces that others are behind, too.
#[derive(Debug, Default)]
pub(crate) struct Exits {
    pub(crate) interfaces: BTreeSet<String>,
    /// Where the containers of the network come from when they call.
    pub(crate) callers: BTreeSet<IpAddr>,
}

impl Grounds {
    /// Makes this machine able to reach these networks, and no others.
    pub(crate) fn take<'a>(attachments: impl Iterator<Item = &'a Attachment>) -> Result<Self> {
        let mut grounds = Self::default();
        let mut owners = Vec::new();
        let mut wanted = Vec::new();
        for attachment in attachments {
            grounds.look(attachment);
            for foothold in footholds(attachment) {
                owners.push(attachment);
                wanted.push(foothold);
            }
        }
        let outcomes = foothold::set(&wanted).context("set addresses and routes on networks")?;
        for ((attachment, foothold), outcome) in owners.into_iter().zip(wanted).zip(outcomes) {
            match outcome {
                Ok(passage) => grounds.pass(attachment, passage, &foothold),
                Err(error) => grounds.fail(attachment, error.to_string()),
            }
        }
        Ok(grounds)
    }

    /// Notes the bridge itself, which is there before us.
    fn look(&mut self, attachment: &Attachment) {
        match &attachment.access {
            Access::Bridge { interface, .. } if if_nametoindex(interface.as_str()).is_ok() => {
                let passed = self.passed.entry(attachment.id.clone()).or_default();
                passed.insert(interface.clone());
            }
            Access::Bridge { interface, .. } => {
                self.fail(
                    attachment,
                    format!("the engine's machine has no bridge {interface}"),
                );
            }
            Access::Unknown => {
                let reason = "the server is older than this client and knows no way to it";
                self.fail(attachment, reason.to_owned());
            }
            Access::Sibling { .. } | Access::Hops { .. } => {}
        }
    }

    fn pass(&mut self, attachment: &Attachment, passage: Passage, foothold: &Foothold) {
        let interface = passage.interface;
        match foothold {
            Foothold::Sibling { parent, subnet, .. } => {
                self.footholds.insert(interface.clone());
                if let Access::Bridge { .. } = attachment.access
                    && let IpNet::V6(_) = subnet
                    && let Some(hardware) = passage.hardware
                {
                    let handovers = self.handovers.entry(attachment.id.clone()).or_default();
                    handovers.insert(Handover {
                        bridge: parent.clone(),
                        foothold: interface.clone(),
                        hardware,
                    });
                }
                let passed = self.passed.entry(attachment.id.clone()).or_default();
                passed.insert(interface);
            }
            Foothold::Hop {
                destination,
                address,
                ..
            } => {
                let exits = self.exits.entry(attachment.id.clone()).or_default();
                exits.interfaces.insert(interface);
                if destination.prefix_len() == destination.max_prefix_len() {
                    exits.callers.insert(*address);
                }
            }
        }
    }

    fn fail(&mut self, attachment: &Attachment, reason: String) {
        let problem = self.problems.entry(attachment.id.clone());
        problem.or_insert(reason);
    }
}

fn footholds(attachment: &Attachment) -> Vec<Foothold> {
    match &attachment.access {
        Access::Bridge { interface, bare } => bare
            .iter()
            .map(|subnet| Foothold::Sibling {
                parent: interface.clone(),
                kind: SiblingKind::Macvlan,
                subnet: *subnet,
                destinations: BTreeSet::from([*subnet]),
            })
            .collect(),
        Access::Sibling {
            parent,
            kind,
            containers,
        } => attachment
            .subnets
            .iter()
            .map(|subnet| Foothold::Sibling {
                parent: parent.clone(),
                kind: *kind,
                subnet: *subnet,
                destinations: containers
                    .iter()
                    .filter(|it| subnet.contains(*it))
                    .map(|it| IpNet::from(*it))
                    .collect(),
            })
            .collect(),
        Access::Hops { hops, .. } => hops
            .iter()
            .map(|(destination, hop)| Foothold::Hop {
                destination: *destination,
                address: hop.address,
                interface: hop.interface.clone(),
            })
            .collect(),
        Access::Unknown => Vec::new(),
    }
}
