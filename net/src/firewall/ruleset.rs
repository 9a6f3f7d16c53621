//! Our table as data, and as the text `nft list table inet dtap` prints.

use std::net::Ipv6Addr;

use super::FirewallConfig;

mod handover;
mod text;
mod ways;

pub use handover::Handover;
use ways::Rules;

/// An address family of the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// An address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableFamily {
    Inet,
    /// Of what comes in by single interfaces, before any protocol sees it.
    Netdev,
}

/// A message of IPv6 neighbour discovery (RFC 4861, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discovery {
    RouterAdvertisement = 134,
    NeighbourSolicitation = 135,
    NeighbourAdvertisement = 136,
}

/// Whether an interface is the one a packet came in or the one it goes out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    In,
    Out,
}

/// One match or verdict of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Interface(Direction, String),
    /// Inverts the first bit of the destination; twice is none.
    FlipDestination(Family),
    /// The tunnel address, which is the source of what goes out by a bridge, is attached to that
    /// bridge.
    Attached(Family, Direction),
    /// The source is a tunnel address of the host at the NIC that it comes in by.
    AtHome(Family),
    /// What comes from the tunnel leaves by an interface that a tunnel address may reach something by.
    Outward(Family),
    /// What goes to the tunnel comes from one who may call that tunnel address.
    Caller(Family),
    /// The container, which is the destination of what comes from the tunnel, is to be left alone.
    Excluded(Family, Direction),
    /// The destination could not answer a tunnel address.
    NeedsMasquerade(Family),
    /// By an interface whose containers answer the VM only.
    ByFoothold(Direction),
    /// By one of those that the server makes, known by its name before it is in any set.
    ByOwnFoothold(Direction),
    To(Ipv6Addr),
    /// As if the sender had meant the interface with this hardware address.
    HandTo([u8; 6]),
    Discovery(Discovery),
    /// Of no exchange that is known. What a bridge hands up because it is promiscuous, as it is with a foothold on it, has
    /// had its state taken away (the kernel's `br_nf_local_in`).
    Unknown,
    Established,
    /// A decision to translate the source to what it is, so that no later chain decides otherwise.
    KeepSource(Family),
    Masquerade,
    Counter,
    Accept,
    Drop,
}

/// A named set of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    Attached4,
    Attached6,
    Outward4,
    Outward6,
    Callers4,
    Callers6,
    Excluded4,
    Excluded6,
    Masquerade4,
    Masquerade6,
    Footholds,
    Hosts4,
    Hosts6,
}

impl Set {
    pub(super) const ALL: [Self; 13] = [
        Self::Attached4,
        Self::Attached6,
        Self::Outward4,
        Self::Outward6,
        Self::Callers4,
        Self::Callers6,
        Self::Excluded4,
        Self::Excluded6,
        Self::Masquerade4,
        Self::Masquerade6,
        Self::Footholds,
        Self::Hosts4,
        Self::Hosts6,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Attached4 => "attached4",
            Self::Attached6 => "attached6",
            Self::Outward4 => "outward4",
            Self::Outward6 => "outward6",
            Self::Callers4 => "callers4",
            Self::Callers6 => "callers6",
            Self::Excluded4 => "excluded4",
            Self::Excluded6 => "excluded6",
            Self::Masquerade4 => "masquerade4",
            Self::Masquerade6 => "masquerade6",
            Self::Footholds => "footholds",
            Self::Hosts4 => "hosts4",
            Self::Hosts6 => "hosts6",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Attached4 | Self::Outward4 | Self::Hosts4 => "ipv4_addr . ifname",
            Self::Attached6 | Self::Outward6 | Self::Hosts6 => "ipv6_addr . ifname",
            Self::Callers4 => "ipv4_addr . ipv4_addr",
            Self::Callers6 => "ipv6_addr . ipv6_addr",
            Self::Excluded4 | Self::Masquerade4 => "ipv4_addr",
            Self::Excluded6 | Self::Masquerade6 => "ipv6_addr",
            Self::Footholds => "ifname",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    /// The interface it is for, if for one only.
    pub(super) device: Option<String>,
    pub(super) priority: i32,
    /// As nft names it: relative to where the kernel's own stages and everybody else's rules are.
    priority_name: &'static str,
    pub(super) rules: Vec<Vec<Statement>>,
}

/// A table without the elements of its sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) family: TableFamily,
    pub(super) chains: Vec<Chain>,
}

impl Ruleset {
    /// The table for the ways that hosts come in by.
    ///
    /// Docker's raw chain (priority −300) drops whatever is addressed to a container and does not
    /// come from its own bridge. It sees the flipped destination; conntrack (−200), DNAT and
    /// routing see the true one again.
    pub(super) fn new(config: &FirewallConfig) -> Self {
        let rules = Rules::from(config);
        let flip = rules.flip();
        Self {
            family: TableFamily::Inet,
            chains: vec![
                Chain {
                    name: "pre1".to_owned(),
                    kind: "filter",
                    hook: Hook::Prerouting,
                    device: None,
                    priority: -310,
                    priority_name: "raw - 10",
                    rules: flip.clone(),
                },
                Chain {
                    name: "pre2".to_owned(),
                    kind: "filter",
                    hook: Hook::Prerouting,
                    device: None,
                    priority: -290,
                    priority_name: "raw + 10",
                    rules: flip,
                },
                Chain {
                    name: "input".to_owned(),
                    kind: "filter",
                    hook: Hook::Input,
                    device: None,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: [discovery(), strangers(Direction::In)].concat(),
                },
                Chain {
                    name: "output".to_owned(),
                    kind: "filter",
                    hook: Hook::Output,
                    device: None,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: strangers(Direction::Out),
                },
                Chain {
                    name: "forward".to_owned(),
                    kind: "filter",
                    hook: Hook::Forward,
                    device: None,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: rules.forward(),
                },
                Chain {
                    name: "postrouting".to_owned(),
                    kind: "nat",
                    hook: Hook::Postrouting,
                    device: None,
                    priority: 90,
                    priority_name: "srcnat - 10",
                    rules: rules.postrouting(),
                },
            ],
        }
    }
}

/// The rule that lets the tunnel through a chain of somebody else's. `iptables` can list exactly
/// this.
pub(super) fn accept(direction: Direction, interface: &str) -> Vec<Statement> {
    vec![
        Statement::Interface(direction, interface.to_owned()),
        Statement::Counter,
        Statement::Accept,
    ]
}

/// Footholds are for the tunnel: the VM and those containers could not talk to each other without them, and still cannot.
fn strangers(direction: Direction) -> Vec<Vec<Statement>> {
    by_footholds(direction)
        .map(|by| vec![by, Statement::Unknown, Statement::Drop])
        .into()
}

/// Neighbours must find each other. Routers would make a foothold the VM's way to everywhere.
fn discovery() -> Vec<Vec<Statement>> {
    [
        (Discovery::RouterAdvertisement, Statement::Drop),
        (Discovery::NeighbourSolicitation, Statement::Accept),
        (Discovery::NeighbourAdvertisement, Statement::Accept),
    ]
    .map(|(message, verdict)| {
        let by_foothold = Statement::ByOwnFoothold(Direction::In);
        vec![by_foothold, Statement::Discovery(message), verdict]
    })
    .into()
}

fn by_footholds(direction: Direction) -> [Statement; 2] {
    [
        Statement::ByOwnFoothold(direction),
        Statement::ByFoothold(direction),
    ]
}

pub(super) const TABLE: &str = "dtap";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text that `nft` lists once the table is in the kernel: see the crate's tests.
    #[test]
    fn the_table_is_the_documented_one() {
        let config = FirewallConfig {
            interface: "dtap0".to_owned(),
            ..FirewallConfig::default()
        };
        let text = Ruleset::new(&config).to_string();
        assert_eq!(text, include_str!("table.nft"));
    }

    #[test]
    fn the_accept_is_what_iptables_can_list() {
        let texts: Vec<_> = accept(Direction::In, "dtap0")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts.join(" "), "iifname \"dtap0\" counter accept");
    }
}
