//! What is translated equals what would have been built with the other
//! addresses in the first place.

mod cases;
mod properties;
mod reference;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Direction, Pairs, translate};

/// True and mapped prefixes.
const PAIRS: [(&str, &str); 4] = [
    ("172.18.0.0/16", "10.254.0.0/16"),
    ("172.19.4.0/22", "10.253.8.0/22"),
    ("fd00:1::/64", "fd7a:5::/64"),
    ("fd00:2:ffff::/48", "fd7a:6::/48"),
];

fn pairs() -> Pairs {
    let pairs = PAIRS.map(|(truth, mapped)| (truth.parse().unwrap(), mapped.parse().unwrap()));
    Pairs::new(&BTreeMap::from(pairs))
}

/// The translation as the tunnel does it.
fn translated(packet: &[u8], direction: Direction) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let pairs = pairs();
    let other = |address| match direction {
        Direction::Outbound => pairs.truth(address),
        Direction::Inbound => pairs.mapped(address),
    };
    translate(&mut packet, direction, other).unwrap();
    packet
}

/// The address as a person would work it out.
fn worked_out(address: IpAddr, direction: Direction) -> IpAddr {
    for (truth, mapped) in PAIRS {
        let (truth, mapped): (IpNet, IpNet) = (truth.parse().unwrap(), mapped.parse().unwrap());
        let (from, to) = match direction {
            Direction::Outbound => (mapped, truth),
            Direction::Inbound => (truth, mapped),
        };
        if from.contains(&address) {
            return match (address, from.network(), to.network()) {
                (IpAddr::V4(it), IpAddr::V4(from), IpAddr::V4(to)) => {
                    IpAddr::V4((u32::from(it) - u32::from(from) + u32::from(to)).into())
                }
                (IpAddr::V6(it), IpAddr::V6(from), IpAddr::V6(to)) => {
                    IpAddr::V6((u128::from(it) - u128::from(from) + u128::from(to)).into())
                }
                families => panic!("of several families: {families:?}"),
            };
        }
    }
    address
}
