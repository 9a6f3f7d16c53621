//! Prefixes that a clashing subnet may be mapped to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sha2::{Digest as _, Sha256};

/// Prefixes as long as `subnet`'s, the best first.
///
/// The same for equal arguments, so that a forgotten choice is made again.
pub(super) fn candidates(subnet: IpNet, engine: &str) -> Box<dyn Iterator<Item = IpNet> + '_> {
    match subnet {
        IpNet::V4(subnet) => Box::new(candidates_v4(subnet)),
        IpNet::V6(subnet) => Box::new(candidates_v6(subnet, engine)),
    }
}

/// From the top of 10.0.0.0/8, because home routers, clouds and VPNs number
/// from its bottom; then from the bottom of 100.64.0.0/10 (RFC 6598), which
/// carriers and overlay networks share.
///
/// A subnet longer than a /16 keeps its place in it: 172.18.5.0/24 becomes
/// 10.254.5.0/24.
fn candidates_v4(subnet: Ipv4Net) -> impl Iterator<Item = IpNet> {
    let length = subnet.prefix_len();
    let kept = u32::from(subnet.network()) & (u32::MAX >> BLOCK_V4);
    let blocks = |pool: u32, pool_length: u8| {
        let bits = length.min(BLOCK_V4).checked_sub(pool_length);
        let count = bits.map_or(0, |bits| 1 << bits);
        (0..count).map(move |number: u32| pool + (number << (32 - length.min(BLOCK_V4))))
    };
    let ten: Vec<_> = blocks(TEN, 8).collect();
    let ten = ten.into_iter().rev();

    ten.chain(blocks(SHARED, 10))
        .map(move |block| block | kept)
        .filter_map(move |address| IpNet::new(IpAddr::V4(Ipv4Addr::from(address)), length).ok())
        .filter(|prefix| {
            let IpNet::V4(prefix) = prefix else {
                return false;
            };
            let meets = |net: &Ipv4Net| prefix.contains(net) || net.contains(prefix);
            !meets(&TUNNELS) && (prefix.prefix_len() < BLOCK_V4 || !meets(&TOP))
        })
}

/// Unique local prefixes (RFC 4193): the global ID by hash, the rest as the
/// subnet has it.
fn candidates_v6(subnet: Ipv6Net, engine: &str) -> impl Iterator<Item = IpNet> {
    let length = subnet.prefix_len();
    let width = u32::from(length.min(BLOCK_V6)).saturating_sub(8);
    let kept = u128::from(subnet.network()) & (u128::MAX >> BLOCK_V6);
    let digest = Sha256::digest(format!("{engine} {subnet}"));
    let hash = digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| (hash << 8) | u64::from(*byte));
    let probes = if width == 0 {
        0
    } else {
        PROBES.min(1 << width)
    };

    (0..probes).filter_map(move |probe| {
        let id = u128::from(hash.wrapping_add(probe) & ((1 << width) - 1));
        let address = UNIQUE_LOCAL | (id << (120 - width)) | kept;
        let prefix = IpNet::new(IpAddr::V6(Ipv6Addr::from(address)), length).ok()?;
        Some(prefix.trunc())
    })
}

const TEN: u32 = 10 << 24;
const SHARED: u32 = (100 << 24) | (64 << 16);
/// Where the servers take tunnel addresses from.
const TUNNELS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 75, 0, 0), 16);
/// Left alone: what ends in 255 looks like a broadcast address.
const TOP: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 255, 0, 0), 16);
const BLOCK_V4: u8 = 16;
const UNIQUE_LOCAL: u128 = 0xfd << 120;
/// The bits before the subnet ID of a unique local address.
const BLOCK_V6: u8 = 48;
const PROBES: u64 = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(subnet: &str) -> Vec<String> {
        let candidates = candidates(subnet.parse().unwrap(), "default");
        candidates.map(|it| it.to_string()).collect()
    }

    #[test]
    fn ipv4_comes_from_the_top_of_ten_and_then_from_shared_space() {
        let all = of("172.18.0.0/16");
        assert_eq!(all[..2], ["10.254.0.0/16", "10.253.0.0/16"]);
        assert_eq!(all[254..256], ["100.64.0.0/16", "100.65.0.0/16"]);
        assert_eq!(all.len(), 254 + 64);
        assert!(!all.contains(&"10.75.0.0/16".to_owned()));
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_longer_prefix_keeps_its_place_and_a_shorter_one_gets_what_fits() {
        assert_eq!(of("172.18.5.0/24")[..2], ["10.254.5.0/24", "10.253.5.0/24"]);
        assert_eq!(of("192.168.1.64/28")[0], "10.254.1.64/28");
        let twelve = of("172.16.0.0/12");
        assert_eq!(twelve[..2], ["10.240.0.0/12", "10.224.0.0/12"]);
        assert_eq!(twelve.len(), 15 + 4);
        assert_eq!(of("172.128.0.0/9"), ["10.128.0.0/9"]);
        assert!(of("172.0.0.0/8").is_empty());
        assert!(of("0.0.0.0/0").is_empty());
    }

    #[test]
    fn ipv6_is_unique_local_and_depends_on_subnet_and_engine() {
        let ours = of("fd00:1:2:3::/64");
        assert_eq!(ours, of("fd00:1:2:3::/64"));
        assert_eq!(ours.iter().collect::<BTreeSet<_>>().len(), 256);
        assert!(
            ours.iter()
                .all(|it| it.starts_with("fd") && it.ends_with(":3::/64"))
        );
        assert_ne!(ours[0], of("fd00:1:3:3::/64")[0]);
        let other = candidates("fd00:1:2:3::/64".parse().unwrap(), "other").next();
        assert_ne!(ours[0], other.unwrap().to_string());
    }

    #[test]
    fn ipv6_prefixes_of_any_length_are_found_or_too_big() {
        for length in 9..=128 {
            let subnet = Ipv6Net::new_assert("2001:db8::".parse().unwrap(), length).trunc();
            let all: Vec<_> = candidates(subnet.into(), "default").collect();
            let unique: IpNet = "fd00::/8".parse().unwrap();
            assert!(!all.is_empty(), "{length}");
            assert!(
                all.iter()
                    .all(|it| it.prefix_len() == length && unique.contains(it))
            );
        }
        assert!(of("fd00::/8").is_empty());
        assert!(of("::/0").is_empty());
    }
}
