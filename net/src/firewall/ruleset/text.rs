//! The table as `nft` prints it.

use std::fmt;

use super::{
    Chain, Direction, Discovery, Family, Hook, Ruleset, Set, Statement, TABLE, TableFamily,
};
use crate::foothold;

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (family, sets) = match self.family {
            TableFamily::Inet => ("inet", Set::ALL.as_slice()),
            TableFamily::Netdev => ("netdev", [].as_slice()),
        };
        writeln!(f, "table {family} {TABLE} {{")?;
        for set in sets {
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
            Hook::Ingress => "ingress",
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        writeln!(f, "\tchain {} {{", self.name)?;
        write!(f, "\t\ttype {} hook {hook} ", self.kind)?;
        if let Some(device) = &self.device {
            write!(f, "device \"{device}\" ")?;
        }
        writeln!(f, "priority {}; policy accept;", self.priority_name)?;
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
            Self::AtHome(family) => {
                let (ip, set) = family.names(Set::Hosts4, Set::Hosts6);
                write!(f, "{ip} saddr . iifname @{}", set.name())
            }
            Self::Outward(family) => {
                let (ip, set) = family.names(Set::Outward4, Set::Outward6);
                write!(f, "{ip} saddr . oifname @{}", set.name())
            }
            Self::Caller(family) => {
                let (ip, set) = family.names(Set::Callers4, Set::Callers6);
                write!(f, "{ip} daddr . {ip} saddr @{}", set.name())
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
            Self::ByOwnFoothold(direction) => {
                write!(f, "{} \"{}*\"", direction.key(), foothold::PREFIX)
            }
            Self::To(address) => write!(f, "ip6 daddr {address}"),
            Self::HandTo(hardware) => {
                let bytes = hardware.map(|byte| format!("{byte:02x}"));
                write!(f, "ether daddr set {}", bytes.join(":"))
            }
            Self::Discovery(message) => {
                let name = match message {
                    Discovery::RouterAdvertisement => "nd-router-advert",
                    Discovery::NeighbourSolicitation => "nd-neighbor-solicit",
                    Discovery::NeighbourAdvertisement => "nd-neighbor-advert",
                };
                write!(f, "icmpv6 type {name}")
            }
            Self::Unknown => f.write_str("ct state invalid,new"),
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
