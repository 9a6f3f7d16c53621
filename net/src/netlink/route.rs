//! What rtnetlink knows and does: one function per question and per change.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_bindings::rt_addr::{self, Ifaddrmsg};
use netlink_bindings::rt_link::{self, Ifinfomsg};
use netlink_bindings::rt_route::{self, IterableRouteAttrs, RouteAttrs, Rtmsg};

use super::Socket;

/// One next hop of one route of any table but `local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) destination: IpNet,
    pub(crate) target: Target,
    /// Whether it is in the main table, where ours are.
    pub(crate) main: bool,
    pub(crate) owner: Option<Owner>,
    /// The address that packets of the machine's own carry.
    pub(crate) source: Option<IpAddr>,
}

/// Whose route one of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// Of what is reached through the tunnel, and the blackholes beside it.
    Router,
    /// Of what the machine itself would not reach.
    Footholds,
}

/// A route of ours, to be added or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) destination: IpNet,
    pub(crate) target: Target,
    pub(crate) owner: Owner,
    pub(crate) source: Option<IpAddr>,
}

impl Own {
    pub(crate) fn of_router(destination: IpNet, target: Target) -> Self {
        Self {
            destination,
            target,
            owner: Owner::Router,
            source: None,
        }
    }
}

impl Owner {
    const ALL: [Self; 2] = [Self::Router, Self::Footholds];

    /// Marks our routes (`ip route show proto 75`). iproute2's `rt_protos` and the kernel's
    /// `rtnetlink.h` leave both free.
    fn protocol(self) -> u8 {
        match self {
            Self::Router => 75,
            Self::Footholds => 76,
        }
    }

    fn of(protocol: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.protocol() == protocol)
    }
}

impl Entry {
    pub(crate) fn is_ours_by(&self, index: u32) -> bool {
        self.owner == Some(Owner::Router) && self.target.interface() == Some(index)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Straight out of the interface with this index.
    Interface(u32),
    Gateway {
        index: Option<u32>,
        address: IpAddr,
    },
    /// Dropped in silence.
    Blackhole,
    /// Dropped with an error to the sender, or left to another table.
    Reject,
}

impl Target {
    pub(crate) fn interface(self) -> Option<u32> {
        match self {
            Self::Interface(index) => Some(index),
            Self::Gateway { index, .. } => index,
            Self::Blackhole | Self::Reject => None,
        }
    }

    pub(crate) fn gateway(self) -> Option<IpAddr> {
        match self {
            Self::Gateway { address, .. } => Some(address),
            Self::Interface(_) | Self::Blackhole | Self::Reject => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(index) => match nix::net::if_::if_indextoname(*index) {
                Ok(name) => write!(f, "by {}", name.to_string_lossy()),
                Err(_) => write!(f, "by interface {index}"),
            },
            Self::Gateway { address, .. } => write!(f, "via {address}"),
            Self::Blackhole => f.write_str("that drops its packets"),
            Self::Reject => f.write_str("that rejects its packets"),
        }
    }
}

/// Brings a link up, with this MTU in bytes and a longer queue, if it is not so already.
pub(crate) fn set_link(socket: &mut Socket, index: u32, mtu: u32) -> io::Result<()> {
    let header = Ifinfomsg {
        ifi_index: index as i32,
        ..Default::default()
    };
    let as_wanted = socket
        .dump(
            &rt_link::Request::new().op_getlink_do(&header),
            |(header, link)| {
                Ok(Some(
                    header.ifi_flags & libc::IFF_UP as u32 != 0
                        && link.get_mtu().ok() == Some(mtu)
                        && link.get_txqlen().ok() == Some(QUEUE_LENGTH),
                ))
            },
        )?
        .contains(&true);
    if as_wanted {
        return Ok(());
    }
    let up = libc::IFF_UP as u32;
    let header = Ifinfomsg {
        ifi_index: index as i32,
        ifi_flags: up,
        ifi_change: up,
        ..Default::default()
    };
    let mut request = rt_link::Request::new().op_setlink_do(&header);
    request.encode().push_mtu(mtu).push_txqlen(QUEUE_LENGTH);
    socket.execute(&request)
}

/// The addresses of an interface, without those that the kernel gives every link.
pub(crate) fn addresses(socket: &mut Socket, index: u32) -> io::Result<BTreeSet<IpNet>> {
    let request = rt_addr::Request::new().op_getaddr_dump(&Ifaddrmsg::default());
    let addresses = socket.dump(&request, |(header, attributes)| {
        if header.ifa_index != index {
            return Ok(None);
        }
        let Ok(address) = attributes.get_local().or_else(|_| attributes.get_address()) else {
            return Ok(None);
        };
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        Ok(IpNet::new(address, header.ifa_prefixlen)
            .ok()
            .filter(|_| !link_local))
    })?;
    Ok(addresses.into_iter().collect())
}

/// Without a route to its prefix, which the router adds with our protocol, and usable at once.
pub(crate) fn add_address(socket: &mut Socket, index: u32, address: IpNet) -> io::Result<()> {
    let mut request = rt_addr::Request::new()
        .set_create()
        .set_excl()
        .op_newaddr_do(&address_header(index, address));
    let flags = match address {
        IpNet::V4(_) => libc::IFA_F_NOPREFIXROUTE,
        IpNet::V6(_) => libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_NODAD,
    };
    request
        .encode()
        .push_local(address.addr())
        .push_address(address.addr())
        .push_flags(flags);
    unless(libc::EEXIST, socket.execute(&request))
}

pub(crate) fn delete_address(socket: &mut Socket, index: u32, address: IpNet) -> io::Result<()> {
    let mut request = rt_addr::Request::new().op_deladdr_do(&address_header(index, address));
    request.encode().push_local(address.addr());
    unless(libc::EADDRNOTAVAIL, socket.execute(&request))
}

/// The routes of both families in all tables but `local`, multipath ones as one entry per next hop.
pub(crate) fn entries(socket: &mut Socket) -> io::Result<Vec<Entry>> {
    let request = rt_route::Request::new().op_getroute_dump(&Rtmsg::default());
    let entries = socket.dump(&request, |(header, attributes)| {
        Ok(Some(parse(&header, &attributes)))
    })?;
    Ok(entries.into_iter().flatten().collect())
}

/// Adds a route of ours; fails if there is one to the same destination with the same metric.
pub(crate) fn add(socket: &mut Socket, route: &Own) -> io::Result<()> {
    make(
        socket,
        route,
        rt_route::Request::new().set_create().set_excl(),
    )
}

/// Adds a route in the place of the one to the same destination.
pub(crate) fn replace(socket: &mut Socket, route: &Own) -> io::Result<()> {
    make(
        socket,
        route,
        rt_route::Request::new().set_create().set_replace(),
    )
}

fn make(socket: &mut Socket, route: &Own, request: rt_route::Request<'_>) -> io::Result<()> {
    let scope = match (route.destination, route.target) {
        (IpNet::V4(_), Target::Interface(_)) => libc::RT_SCOPE_LINK,
        (IpNet::V4(_) | IpNet::V6(_), _) => libc::RT_SCOPE_UNIVERSE,
    };
    let mut request = request.op_newroute_do(&route_header(route, scope));
    encode(request.encode(), route);
    socket.execute(&request)
}

/// Deletes a route of ours, if it is there.
pub(crate) fn delete(socket: &mut Socket, route: &Own) -> io::Result<()> {
    let mut request =
        rt_route::Request::new().op_delroute_do(&route_header(route, libc::RT_SCOPE_NOWHERE));
    encode(request.encode(), route);
    unless(libc::ESRCH, socket.execute(&request))
}

fn encode(attributes: rt_route::PushRouteAttrs<&mut Vec<u8>>, route: &Own) {
    let mut attributes = attributes.push_dst(route.destination.network());
    if let Some(source) = route.source {
        attributes = attributes.push_prefsrc(source);
    }
    if let Some(gateway) = route.target.gateway() {
        attributes = attributes.push_gateway(gateway);
    }
    match route.target.interface() {
        Some(index) => attributes.push_oif(index),
        None => attributes.push_priority(BLACKHOLE_METRIC),
    };
}

fn route_header(route: &Own, scope: u8) -> Rtmsg {
    let kind = match route.target {
        Target::Interface(_) | Target::Gateway { .. } => libc::RTN_UNICAST,
        Target::Blackhole => libc::RTN_BLACKHOLE,
        Target::Reject => libc::RTN_UNREACHABLE,
    };
    Rtmsg {
        rtm_family: family(route.destination),
        rtm_dst_len: route.destination.prefix_len(),
        rtm_table: libc::RT_TABLE_MAIN,
        rtm_protocol: route.owner.protocol(),
        rtm_scope: scope,
        rtm_type: kind,
        ..Default::default()
    }
}

fn address_header(index: u32, address: IpNet) -> Ifaddrmsg {
    Ifaddrmsg {
        ifa_family: family(address),
        ifa_prefixlen: address.prefix_len(),
        ifa_index: index,
        ..Default::default()
    }
}

fn family(net: IpNet) -> u8 {
    match net {
        IpNet::V4(_) => libc::AF_INET as u8,
        IpNet::V6(_) => libc::AF_INET6 as u8,
    }
}

fn parse(header: &Rtmsg, attributes: &IterableRouteAttrs<'_>) -> Vec<Entry> {
    let unspecified: IpAddr = match i32::from(header.rtm_family) {
        libc::AF_INET => [0; 4].into(),
        libc::AF_INET6 => [0; 16].into(),
        _ => return Vec::new(),
    };
    let table = attributes
        .get_table()
        .unwrap_or_else(|_| header.rtm_table.into());
    let destination = IpNet::new(
        attributes.get_dst().unwrap_or(unspecified),
        header.rtm_dst_len,
    );
    let Ok(destination) = destination else {
        return Vec::new();
    };
    if table == u32::from(libc::RT_TABLE_LOCAL) || header.rtm_flags & libc::RTM_F_CLONED != 0 {
        return Vec::new();
    }
    targets(header.rtm_type, attributes)
        .into_iter()
        .map(|target| Entry {
            destination,
            target,
            main: table == u32::from(libc::RT_TABLE_MAIN),
            owner: Owner::of(header.rtm_protocol),
            source: attributes.get_prefsrc().ok(),
        })
        .collect()
}

fn targets(kind: u8, attributes: &IterableRouteAttrs<'_>) -> Vec<Target> {
    match kind {
        libc::RTN_UNICAST => match attributes.get_multipath() {
            Ok(hops) => next_hops(hops),
            Err(_) => target(attributes.get_oif().ok(), attributes)
                .into_iter()
                .collect(),
        },
        libc::RTN_BLACKHOLE => vec![Target::Blackhole],
        libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT | libc::RTN_THROW => vec![Target::Reject],
        _ => Vec::new(),
    }
}

fn target(index: Option<u32>, attributes: &IterableRouteAttrs<'_>) -> Option<Target> {
    match attributes.get_gateway().or_else(|_| attributes.get_via()) {
        Ok(address) => Some(Target::Gateway { index, address }),
        Err(_) => index.map(Target::Interface),
    }
}

/// `RTA_MULTIPATH` is an array of `struct rtnexthop` (length, flags, hops, index), each followed by
/// its attributes.
fn next_hops(mut hops: &[u8]) -> Vec<Target> {
    let mut targets = Vec::new();
    while let Some(&[low, high, _, _, a, b, c, d]) = hops.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let Some(attributes) = hops.get(8..length) else {
            break;
        };
        let index = u32::from_ne_bytes([a, b, c, d]);
        targets.extend(target(Some(index), &RouteAttrs::new(attributes)));
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    targets
}

/// Somebody else may have been faster.
fn unless(expected: i32, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.raw_os_error() == Some(expected) => Ok(()),
        Ok(()) | Err(_) => outcome,
    }
}

/// The worst there is: a blackhole takes effect only once the interface's own route is gone.
const BLACKHOLE_METRIC: u32 = u32::MAX;
/// In packets. The 500 of a new tun are 2 ms of a gigabit link in 500-byte packets, less than one
/// delay of the thread that reads them; what is more is dropped, which TCP takes for congestion.
const QUEUE_LENGTH: u32 = 1000;
