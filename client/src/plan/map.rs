//! Which subnets the user wants to reach under other prefixes: `--map`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One value of `--map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Subnets inside the first prefix are reached inside the second.
    Pair(IpNet, IpNet),
    /// Subnets that clash are reached under prefixes that are free.
    Auto,
}

/// All values of `--map`: pairs first, `auto` for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maps {
    pairs: BTreeMap<IpNet, IpNet>,
    pub auto: bool,
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMap {
    #[error("malformed map '{0}': write CIDR=CIDR, such as 172.18.0.0/16=10.254.0.0/16, or 'auto'")]
    Garbage(String),
    #[error("{0} has bits beyond its prefix: write {1}")]
    HostBits(IpNet, IpNet),
    #[error("{0} and {1} are not of equal length: write {0}={2}")]
    Length(IpNet, IpNet, IpNet),
    #[error("{0} and {1} are not of one family: map IPv4 to IPv4 and IPv6 to IPv6")]
    Family(IpNet, IpNet),
    #[error("{0} cannot be mapped to {1}, which overlaps it: choose a prefix elsewhere")]
    Itself(IpNet, IpNet),
    #[error("nothing can be mapped to {0}, which overlaps {1}, {2}: choose another prefix")]
    Reserved(IpNet, IpNet, &'static str),
}

/// Two values that cannot be had together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the maps {0}={1} and {2}={3} overlap: give each subnet one prefix of its own")]
pub struct OverlappingMaps(IpNet, IpNet, IpNet, IpNet);

impl Maps {
    /// # Errors
    /// When two pairs have an address in common, on either side.
    pub fn new(values: &[Map]) -> Result<Self, OverlappingMaps> {
        let mut maps = Self::default();
        for value in values {
            match *value {
                Map::Auto => maps.auto = true,
                Map::Pair(truth, mapped) => maps.add(truth, mapped)?,
            }
        }
        Ok(maps)
    }

    /// Whether nothing is to be mapped.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty() && !self.auto
    }

    /// What the user wants this subnet to be reached under.
    pub(crate) fn explicit(&self, subnet: IpNet) -> Option<IpNet> {
        let (_, mapped) = self
            .pairs
            .iter()
            .find(|(truth, _)| truth.contains(&subnet))?;

        moved(subnet, *mapped)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = IpNet> {
        self.pairs.values().copied()
    }

    /// A pair that is for a part of this subnet only.
    pub(super) fn part(&self, subnet: IpNet) -> Option<IpNet> {
        let inside = |truth: &&IpNet| **truth != subnet && subnet.contains(*truth);

        self.pairs.keys().find(inside).copied()
    }

    fn add(&mut self, truth: IpNet, mapped: IpNet) -> Result<(), OverlappingMaps> {
        let clash = self.pairs.iter().find(|(other, target)| {
            (overlap(truth, **other) || overlap(mapped, **target))
                && (truth, mapped) != (**other, **target)
        });
        if let Some((other, target)) = clash {
            return Err(OverlappingMaps(*other, *target, truth, mapped));
        }
        self.pairs.insert(truth, mapped);
        Ok(())
    }
}

impl FromStr for Map {
    type Err = MalformedMap;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let garbage = || MalformedMap::Garbage(text.to_owned());
        let (truth, mapped) = text.split_once('=').ok_or_else(garbage)?;
        let truth: IpNet = truth.trim().parse().map_err(|_| garbage())?;
        let mapped: IpNet = mapped.trim().parse().map_err(|_| garbage())?;

        check(truth, mapped)?;
        Ok(Self::Pair(truth, mapped))
    }
}

fn check(truth: IpNet, mapped: IpNet) -> Result<(), MalformedMap> {
    if let Some(net) = [truth, mapped].into_iter().find(|it| it.trunc() != *it) {
        return Err(MalformedMap::HostBits(net, net.trunc()));
    }
    if truth.addr().is_ipv4() != mapped.addr().is_ipv4() {
        return Err(MalformedMap::Family(truth, mapped));
    }
    if truth.prefix_len() != mapped.prefix_len() {
        // Of one family, so that the other's length is one of its own.
        let equal = IpNet::new_assert(mapped.addr(), truth.prefix_len());
        return Err(MalformedMap::Length(truth, mapped, equal.trunc()));
    }
    if overlap(truth, mapped) {
        return Err(MalformedMap::Itself(truth, mapped));
    }
    match RESERVED.into_iter().find(|(it, _)| overlap(mapped, *it)) {
        Some((reserved, what)) => Err(MalformedMap::Reserved(mapped, reserved, what)),
        None => Ok(()),
    }
}

pub(super) fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// The same part of another prefix, which is no longer than this one; `None`
/// across families.
pub(super) fn moved(part: IpNet, prefix: IpNet) -> Option<IpNet> {
    match (part, prefix) {
        (IpNet::V4(part), IpNet::V4(prefix)) => {
            let offset = u32::from(part.network()) & u32::from(prefix.hostmask());
            let address = u32::from(prefix.network()) | offset;
            IpNet::new(IpAddr::V4(address.into()), part.prefix_len()).ok()
        }
        (IpNet::V6(part), IpNet::V6(prefix)) => {
            let offset = u128::from(part.network()) & u128::from(prefix.hostmask());
            let address = u128::from(prefix.network()) | offset;
            IpNet::new(IpAddr::V6(address.into()), part.prefix_len()).ok()
        }
        (IpNet::V4(_), IpNet::V6(_)) | (IpNet::V6(_), IpNet::V4(_)) => None,
    }
}

/// Prefixes in which nobody can be reached through a tunnel (RFC 6890), and
/// that of all tunnels.
const RESERVED: [(IpNet, &str); 10] = [
    (v4([10, 75, 0, 0], 16), "the tunnels' own"),
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v6(0, 8), "loopback and IPv4 in IPv6"),
    (v6(0x0064_ff9b, 32), "IPv4 in IPv6"),
    (v6(0xfe80_0000, 10), "link-local"),
    (v6(0xff00_0000, 8), "multicast"),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

/// By the first 32 bits.
const fn v6(start: u32, length: u8) -> IpNet {
    let address = Ipv6Addr::from_bits((start as u128) << 96);
    IpNet::V6(Ipv6Net::new_assert(address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn maps(values: &[&str]) -> Result<Maps, OverlappingMaps> {
        let values: Vec<Map> = values.iter().map(|it| it.parse().unwrap()).collect();
        Maps::new(&values)
    }

    fn complaint(text: &str) -> String {
        text.parse::<Map>().unwrap_err().to_string()
    }

    #[test]
    fn a_pair_moves_every_subnet_inside_it() {
        let maps = maps(&["172.16.0.0/12=10.16.0.0/12", "fd00::/16=fd7a::/16", "auto"]).unwrap();

        assert!(maps.auto);
        let explicit = |text| maps.explicit(net(text));
        assert_eq!(explicit("172.18.0.0/16"), Some(net("10.18.0.0/16")));
        assert_eq!(explicit("172.31.7.0/24"), Some(net("10.31.7.0/24")));
        assert_eq!(explicit("fd00:1::/64"), Some(net("fd7a:1::/64")));
        assert_eq!(explicit("172.0.0.0/8"), None);
        assert_eq!(explicit("192.168.0.0/16"), None);
    }

    #[test]
    fn whatever_is_wrong_with_a_value_is_said_with_the_fix() {
        for text in [
            "",
            "garbage",
            "Auto",
            "172.18.0.0/16",
            "172.18.0.0/16=",
            "172.18.0.0/16=10.1.0.0",
            "172.18.0.0/33=10.1.0.0/33",
            "a=b=c",
        ] {
            let said = complaint(text);
            assert!(
                said.contains(&format!("'{text}'")) && said.contains("such as"),
                "{said}"
            );
        }
        for (text, says) in [
            (
                "172.18.0.1/16=10.1.0.0/16",
                "172.18.0.1/16 has bits beyond its prefix: write 172.18.0.0/16",
            ),
            (
                "172.18.0.0/16=10.1.0.0/24",
                "not of equal length: write 172.18.0.0/16=10.1.0.0/16",
            ),
            ("172.18.0.0/16=fd00::/16", "map IPv4 to IPv4"),
            ("172.18.0.0/16=172.18.0.0/16", "which overlaps it"),
            ("172.18.0.0/24=10.75.3.0/24", "overlaps 10.75.0.0/16"),
            ("172.0.0.0/8=10.0.0.0/8", "overlaps 10.75.0.0/16"),
            ("172.18.0.0/16=225.1.0.0/16", "multicast"),
            ("172.18.0.0/16=127.1.0.0/16", "loopback"),
            ("172.18.0.0/16=169.254.0.0/16", "link-local"),
            ("172.18.0.1/32=255.255.255.255/32", "reserved"),
            ("fd00:1::/64=fe80::/64", "link-local"),
            ("fd00:1::/64=ff02::/64", "multicast"),
            ("fd00:1::1/128=::1/128", "loopback"),
        ] {
            assert!(
                complaint(text).contains(says),
                "{text}: {}",
                complaint(text)
            );
        }
    }

    #[test]
    fn two_pairs_overlap_on_neither_side() {
        for two in [
            ["172.16.0.0/12=10.16.0.0/12", "172.18.0.0/16=10.1.0.0/16"],
            ["172.18.0.0/16=10.1.0.0/16", "172.19.0.0/24=10.1.3.0/24"],
        ] {
            let said = maps(&two).unwrap_err().to_string();
            assert!(two.iter().all(|it| said.contains(it)), "{said}");
        }
        let twice = ["172.18.0.0/16=10.1.0.0/16"; 2];
        assert_eq!(maps(&twice), maps(&twice[..1]));
    }
}
