//! Our table as data, and as the text `nft list table inet dtap` prints.

use std::fmt;

/// An address family of the IP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
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
    /// The container, which is the destination of what comes from the tunnel, is to be left alone.
    Excluded(Family, Direction),
    /// The destination could not answer a tunnel address.
    NeedsMasquerade(Family),
    /// By an interface whose containers answer the VM only.
    ByFoothold(Direction),
    New,
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
    Excluded4,
    Excluded6,
    Masquerade4,
    Masquerade6,
    Footholds,
}

impl Set {
    pub(super) const ALL: [Self; 7] = [
        Self::Attached4,
        Self::Attached6,
        Self::Excluded4,
        Self::Excluded6,
        Self::Masquerade4,
        Self::Masquerade6,
        Self::Footholds,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Attached4 => "attached4",
            Self::Attached6 => "attached6",
            Self::Excluded4 => "excluded4",
            Self::Excluded6 => "excluded6",
            Self::Masquerade4 => "masquerade4",
            Self::Masquerade6 => "masquerade6",
            Self::Footholds => "footholds",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Attached4 => "ipv4_addr . ifname",
            Self::Attached6 => "ipv6_addr . ifname",
            Self::Excluded4 | Self::Masquerade4 => "ipv4_addr",
            Self::Excluded6 | Self::Masquerade6 => "ipv6_addr",
            Self::Footholds => "ifname",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    /// As nft names it: relative to where the kernel's own stages and everybody else's rules are.
    priority_name: &'static str,
    pub(super) rules: Vec<Vec<Statement>>,
}

/// The table without the elements of its sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruleset {
    pub(super) chains: Vec<Chain>,
}

impl Ruleset {
    /// The table for one tunnel interface.
    ///
    /// Docker's raw chain (priority −300) drops whatever is addressed to a container and does not
    /// come from its own bridge. It sees the flipped destination; conntrack (−200), DNAT and
    /// routing see the true one again.
    pub(super) fn new(interface: &str) -> Self {
        let flip = Rules::from(interface).flip();
        Self {
            chains: vec![
                Chain {
                    name: "pre1",
                    kind: "filter",
                    hook: Hook::Prerouting,
                    priority: -310,
                    priority_name: "raw - 10",
                    rules: flip.clone(),
                },
                Chain {
                    name: "pre2",
                    kind: "filter",
                    hook: Hook::Prerouting,
                    priority: -290,
                    priority_name: "raw + 10",
                    rules: flip,
                },
                Chain {
                    name: "input",
                    kind: "filter",
                    hook: Hook::Input,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: vec![strangers(Direction::In)],
                },
                Chain {
                    name: "output",
                    kind: "filter",
                    hook: Hook::Output,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: vec![strangers(Direction::Out)],
                },
                Chain {
                    name: "forward",
                    kind: "filter",
                    hook: Hook::Forward,
                    priority: -10,
                    priority_name: "filter - 10",
                    rules: Rules::from(interface).forward(),
                },
                Chain {
                    name: "postrouting",
                    kind: "nat",
                    hook: Hook::Postrouting,
                    priority: 90,
                    priority_name: "srcnat - 10",
                    rules: Rules::from(interface).postrouting(),
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
fn strangers(direction: Direction) -> Vec<Statement> {
    vec![
        Statement::ByFoothold(direction),
        Statement::New,
        Statement::Drop,
    ]
}

struct Rules {
    from_tunnel: Statement,
    to_tunnel: Statement,
}

impl From<&str> for Rules {
    fn from(interface: &str) -> Self {
        Self {
            from_tunnel: Statement::Interface(Direction::In, interface.to_owned()),
            to_tunnel: Statement::Interface(Direction::Out, interface.to_owned()),
        }
    }
}

impl Rules {
    fn flip(&self) -> Vec<Vec<Statement>> {
        FAMILIES
            .map(|family| vec![self.from_tunnel.clone(), Statement::FlipDestination(family)])
            .into()
    }

    /// A drop is final whatever other tables say, an accept here is only an opinion. What comes
    /// from the tunnel is decided first, so that one client never reaches another.
    fn forward(&self) -> Vec<Vec<Statement>> {
        let attached = |tunnel: &Statement, bridge| {
            FAMILIES.map(|family| {
                vec![
                    tunnel.clone(),
                    Statement::Attached(family, bridge),
                    Statement::Accept,
                ]
            })
        };
        let excluded = |tunnel: &Statement, direction| {
            FAMILIES.map(|family| {
                vec![
                    tunnel.clone(),
                    Statement::Excluded(family, direction),
                    Statement::Drop,
                ]
            })
        };
        let mut rules = Vec::new();
        rules.extend(excluded(&self.from_tunnel, Direction::Out));
        rules.extend(attached(&self.from_tunnel, Direction::Out));
        rules.push(vec![self.from_tunnel.clone(), Statement::Drop]);
        rules.extend(excluded(&self.to_tunnel, Direction::In));
        rules.extend(attached(&self.to_tunnel, Direction::In));
        rules.push(vec![
            self.to_tunnel.clone(),
            Statement::Established,
            Statement::Accept,
        ]);
        rules.push(vec![self.to_tunnel.clone(), Statement::Drop]);
        let by_foothold = [Direction::In, Direction::Out].map(Statement::ByFoothold);
        rules.extend(by_foothold.map(|it| vec![it, Statement::Drop]));
        rules
    }

    fn postrouting(&self) -> Vec<Vec<Statement>> {
        let keep =
            FAMILIES.map(|family| vec![self.to_tunnel.clone(), Statement::KeepSource(family)]);
        let masquerade = FAMILIES.map(|family| {
            vec![
                self.from_tunnel.clone(),
                Statement::NeedsMasquerade(family),
                Statement::Masquerade,
            ]
        });
        let by_foothold = vec![
            self.from_tunnel.clone(),
            Statement::ByFoothold(Direction::Out),
            Statement::Masquerade,
        ];
        keep.into_iter()
            .chain(masquerade)
            .chain([by_foothold])
            .collect()
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for set in Set::ALL {
            writeln!(f, "\tset {} {{\n\t\ttype {}\n\t}}\n", set.name(), set.key())?;
        }
        for (position, chain) in self.chains.iter().enumerate() {
            if position > 0 {
                writeln!(f)?;
            }
            write!(f, "{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        writeln!(f, "\tchain {} {{", self.name)?;
        writeln!(
            f,
            "\t\ttype {} hook {hook} priority {}; policy accept;",
            self.kind, self.priority_name
        )?;
        for rule in &self.rules {
            let statements: Vec<_> = rule.iter().map(ToString::to_string).collect();
            writeln!(f, "\t\t{}", statements.join(" "))?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(direction, name) => write!(f, "{} \"{name}\"", direction.key()),
            Self::FlipDestination(Family::V4) => f.write_str("ip daddr set ip daddr ^ 128.0.0.0"),
            Self::FlipDestination(Family::V6) => f.write_str("ip6 daddr set ip6 daddr ^ 8000::"),
            Self::Attached(family, bridge) => {
                let (ip, set) = family.names(Set::Attached4, Set::Attached6);
                let field = match bridge {
                    Direction::In => "daddr",
                    Direction::Out => "saddr",
                };
                write!(f, "{ip} {field} . {} @{}", bridge.key(), set.name())
            }
            Self::Excluded(family, direction) => {
                let (ip, set) = family.names(Set::Excluded4, Set::Excluded6);
                let field = match direction {
                    Direction::In => "saddr",
                    Direction::Out => "daddr",
                };
                write!(f, "{ip} {field} @{}", set.name())
            }
            Self::ByFoothold(direction) => {
                write!(f, "{} @{}", direction.key(), Set::Footholds.name())
            }
            Self::New => f.write_str("ct state new"),
            Self::NeedsMasquerade(family) => {
                let (ip, set) = family.names(Set::Masquerade4, Set::Masquerade6);
                write!(f, "{ip} daddr @{}", set.name())
            }
            Self::Established => f.write_str("ct state established,related"),
            Self::KeepSource(Family::V4) => f.write_str("snat ip to ip saddr"),
            Self::KeepSource(Family::V6) => f.write_str("snat ip6 to ip6 saddr"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Counter => f.write_str("counter"),
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

impl Direction {
    fn key(self) -> &'static str {
        match self {
            Self::In => "iifname",
            Self::Out => "oifname",
        }
    }
}

impl Family {
    fn names(self, v4: Set, v6: Set) -> (&'static str, Set) {
        match self {
            Self::V4 => ("ip", v4),
            Self::V6 => ("ip6", v6),
        }
    }
}

pub(super) const TABLE: &str = "dtap";
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text that `nft` lists once the table is in the kernel: see the crate's tests.
    #[test]
    fn the_table_is_the_documented_one() {
        assert_eq!(Ruleset::new("dtap0").to_string(), include_str!("table.nft"));
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
