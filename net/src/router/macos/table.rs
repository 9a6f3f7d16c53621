//! The routing table as macOS' `sysctl` `NET_RT_DUMP` gives it: `struct rt_msghdr` and socket
//! addresses. Pure.
//!
//! Never panics, whatever the bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) destination: IpNet,
    /// The number of the interface.
    pub(super) index: u16,
    pub(super) gateway: Option<IpAddr>,
    /// Whether it drops its packets.
    pub(super) drops: bool,
    /// Whether it has the flag that [`commands`](super::commands) sets.
    pub(super) ours: bool,
}

/// The routes of a dump, without those that the kernel makes from others (clones, neighbours),
/// those to the host's own addresses, and those that serve only sockets bound to an interface.
pub(super) fn parse(mut dump: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(length) = dump
        .first_chunk()
        .map(|&bytes| usize::from(u16::from_ne_bytes(bytes)))
    {
        let Some((message, rest)) = dump.split_at_checked(length).filter(|_| length > 0) else {
            break;
        };
        entries.extend(parse_message(message));
        dump = rest;
    }
    entries
}

fn parse_message(message: &[u8]) -> Option<Entry> {
    let (header, addresses) = message.split_at_checked(HEADER_LENGTH)?;
    if header[VERSION] != RTM_VERSION {
        return None;
    }
    let flags = word(header, FLAGS)?;
    if flags & RTF_IGNORED != 0 {
        return None;
    }
    let [destination, gateway, mask] = split(addresses, word(header, ADDRESSES)?);
    let address = ip(destination?)?;
    let prefix = match mask {
        Some(mask) => prefix_length(address, mask),
        None if address.is_ipv4() => 32,
        None => 128,
    };
    Some(Entry {
        destination: IpNet::new(address, prefix).ok()?.trunc(),
        index: u16::from_ne_bytes(*header.get(INDEX..)?.first_chunk()?),
        gateway: gateway.filter(|_| flags & RTF_GATEWAY != 0).and_then(ip),
        drops: flags & (RTF_REJECT | RTF_BLACKHOLE) != 0,
        ours: flags & RTF_PROTO1 != 0,
    })
}

/// The first three socket addresses, by position in the mask `present`; each begins with its length
/// and is padded to four bytes.
fn split(mut addresses: &[u8], present: u32) -> [Option<&[u8]>; 3] {
    [RTA_DST, RTA_GATEWAY, RTA_NETMASK].map(|kind| {
        let length = usize::from(*addresses.first()?);
        if present & kind == 0 {
            return None;
        }
        let address = addresses.get(..length)?;
        addresses = addresses
            .get(length.max(1).next_multiple_of(4)..)
            .unwrap_or_default();
        Some(address)
    })
}

/// A socket address that may be cut after its last significant byte. The scope that the kernel
/// keeps in the second group of a link-local address is dropped.
fn ip(address: &[u8]) -> Option<IpAddr> {
    match *address.get(1)? {
        AF_INET => Some(Ipv4Addr::from(padded(address, IPV4_ADDRESS)).into()),
        AF_INET6 => {
            let v6 = Ipv6Addr::from(padded(address, IPV6_ADDRESS));
            let mut segments = v6.segments();
            if v6.is_unicast_link_local() {
                segments[1] = 0;
            }
            Some(Ipv6Addr::from(segments).into())
        }
        _ => None,
    }
}

/// A mask is cut as well, and its family is not set.
fn prefix_length(address: IpAddr, mask: &[u8]) -> u8 {
    let ones = match address {
        IpAddr::V4(_) => u32::from_be_bytes(padded(mask, IPV4_ADDRESS)).leading_ones(),
        IpAddr::V6(_) => u128::from_be_bytes(padded(mask, IPV6_ADDRESS)).leading_ones(),
    };
    ones as u8
}

fn padded<const N: usize>(address: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    let present = address.get(offset..).unwrap_or_default();
    bytes
        .iter_mut()
        .zip(present)
        .for_each(|(to, from)| *to = *from);
    bytes
}

fn word(header: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*header.get(offset..)?.first_chunk()?))
}

/// `struct rt_msghdr` of macOS' `net/route.h`, the same on both architectures.
const HEADER_LENGTH: usize = 92;
const VERSION: usize = 2;
const INDEX: usize = 4;
const FLAGS: usize = 8;
const ADDRESSES: usize = 12;
const RTM_VERSION: u8 = 5;

const RTA_DST: u32 = 0x1;
const RTA_GATEWAY: u32 = 0x2;
const RTA_NETMASK: u32 = 0x4;

const RTF_GATEWAY: u32 = 0x2;
const RTF_REJECT: u32 = 0x8;
const RTF_LLINFO: u32 = 0x400;
const RTF_BLACKHOLE: u32 = 0x1000;
const RTF_PROTO1: u32 = 0x8000;
const RTF_WASCLONED: u32 = 0x2_0000;
const RTF_LOCAL: u32 = 0x20_0000;
const RTF_BROADCAST: u32 = 0x40_0000;
const RTF_MULTICAST: u32 = 0x80_0000;
const RTF_IFSCOPE: u32 = 0x100_0000;
const RTF_IGNORED: u32 =
    RTF_LLINFO | RTF_WASCLONED | RTF_LOCAL | RTF_BROADCAST | RTF_MULTICAST | RTF_IFSCOPE;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 30;
/// Offsets within `struct sockaddr_in` and `struct sockaddr_in6`.
const IPV4_ADDRESS: usize = 4;
const IPV6_ADDRESS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const UP: u32 = 0x1;
    const LINK: &[u8] = &[
        20, 18, 5, 0, 1, 5, 0, 0, b'u', b't', b'u', b'n', b'5', 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_default_route_has_an_empty_mask() {
        let dump = message(
            4,
            UP | RTF_GATEWAY,
            7,
            &[&v4([0; 4]), &v4([192, 168, 1, 1]), &[0, 0, 0, 0]],
        );
        assert_eq!(
            shown(&dump),
            ["0.0.0.0/0 4 Some(192.168.1.1) drops=false ours=false"]
        );
    }

    #[test]
    fn our_routes_have_the_flag_and_a_cut_mask() {
        let v4 = message(
            5,
            UP | RTF_PROTO1,
            7,
            &[&v4([172, 18, 0, 0]), LINK, &[6, 0, 0, 0, 255, 255, 0, 0]],
        );
        let mut mask = vec![16, 30, 0, 0, 0, 0, 0, 0];
        mask.extend([255; 8]);
        let v6 = message(5, UP | RTF_PROTO1, 7, &[&v6("fd00:18::"), LINK, &mask]);
        assert_eq!(
            shown(&[v4, v6].concat()),
            [
                "172.18.0.0/16 5 None drops=false ours=true",
                "fd00:18::/64 5 None drops=false ours=true"
            ]
        );
    }

    #[test]
    fn a_host_route_has_no_mask() {
        let dump = message(
            4,
            UP | RTF_GATEWAY | RTF_BLACKHOLE,
            3,
            &[&v4([203, 0, 113, 9]), &v4([127, 0, 0, 1])],
        );
        assert_eq!(
            shown(&dump),
            ["203.0.113.9/32 4 Some(127.0.0.1) drops=true ours=false"]
        );
    }

    #[test]
    fn the_scope_within_a_link_local_address_is_dropped() {
        let dump = message(
            4,
            UP | RTF_GATEWAY,
            3,
            &[&v6("2001:db8::1"), &v6("fe80:4::1")],
        );
        assert_eq!(
            shown(&dump),
            ["2001:db8::1/128 4 Some(fe80::1) drops=false ours=false"]
        );
    }

    #[test]
    fn clones_neighbours_and_own_addresses_are_left_out() {
        for flag in [
            RTF_WASCLONED,
            RTF_LLINFO,
            RTF_LOCAL,
            RTF_BROADCAST,
            RTF_MULTICAST,
            RTF_IFSCOPE,
        ] {
            assert_eq!(
                shown(&message(4, UP | flag, 1, &[&v4([192, 168, 1, 7])])),
                [""; 0]
            );
        }
    }

    #[test]
    fn cut_and_senseless_dumps_give_no_panic() {
        let dump = message(
            4,
            UP | RTF_GATEWAY,
            7,
            &[&v4([10, 0, 0, 0]), &v4([10, 0, 0, 1]), &[5, 0, 0, 0, 255]],
        );
        assert_eq!(
            shown(&dump),
            ["10.0.0.0/8 4 Some(10.0.0.1) drops=false ours=false"]
        );
        for length in 0..dump.len() {
            parse(&dump[..length]);
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = dump.clone();
                damaged[length] = value;
                parse(&damaged);
            }
        }
    }

    fn shown(dump: &[u8]) -> Vec<String> {
        let show = |entry: Entry| {
            let Entry {
                destination,
                index,
                gateway,
                drops,
                ours,
            } = entry;
            format!("{destination} {index} {gateway:?} drops={drops} ours={ours}")
        };
        parse(dump).into_iter().map(show).collect()
    }

    fn message(index: u16, flags: u32, present: u32, addresses: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0; HEADER_LENGTH];
        message[VERSION] = RTM_VERSION;
        message[INDEX..INDEX + 2].copy_from_slice(&index.to_ne_bytes());
        message[FLAGS..FLAGS + 4].copy_from_slice(&flags.to_ne_bytes());
        message[ADDRESSES..ADDRESSES + 4].copy_from_slice(&present.to_ne_bytes());
        for address in addresses {
            message.extend(*address);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let length = (message.len() as u16).to_ne_bytes();
        message[..2].copy_from_slice(&length);
        message
    }

    fn v4(address: [u8; 4]) -> Vec<u8> {
        [&[16, AF_INET, 0, 0][..], &address, &[0; 8]].concat()
    }

    fn v6(address: &str) -> Vec<u8> {
        let octets = address.parse::<Ipv6Addr>().unwrap().octets();
        [&[28, AF_INET6, 0, 0, 0, 0, 0, 0][..], &octets, &[0; 4]].concat()
    }
}
