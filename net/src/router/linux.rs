//! rtnetlink. The kernel's own tables are the state: every route of ours carries our protocol
//! number, every address of the interface is ours. Only which of several blackholes a router
//! answers for is remembered.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use ipnet::IpNet;
use nix::net::if_::{if_nameindex, if_nametoindex};
use nix::sys::socket::SockProtocol;

use super::{Failures, Route, RouterConfig, missing};
use crate::announcements::Announcements;
use crate::netlink::link;
use crate::netlink::route::{self as kernel, Entry, Own, Owner, Target};
use crate::netlink::{Socket, subscribe};

/// The owner of one interface's addresses, MTU and routes.
#[derive(Debug)]
pub struct Router {
    interface: String,
    blackholes: BTreeSet<IpNet>,
}

impl Router {
    /// A router for `interface`, which must exist when [`set`](Self::set) is called.
    ///
    /// # Errors
    /// None on Linux.
    pub fn new(interface: &str) -> io::Result<Self> {
        Ok(Self {
            interface: interface.to_owned(),
            blackholes: BTreeSet::new(),
        })
    }

    /// Brings the interface up and makes its addresses, routes and blackholes those of `config`,
    /// whatever they were.
    ///
    /// A route is added only where the host has none to the same destination. Everything that can
    /// be done is done even if a part fails. Where IPv6 is disabled, what is IPv6 is left out.
    ///
    /// # Errors
    /// `NotFound` if there is no such interface, `AlreadyExists` if somebody else's route has the
    /// same destination, and whatever the kernel refuses, each named.
    pub fn set(&mut self, config: &RouterConfig) -> io::Result<()> {
        let index =
            if_nametoindex(self.interface.as_str()).map_err(|_| missing(&self.interface))?;
        let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
        let mut failures = Failures::default();
        let link = kernel::set_link(&mut socket, index, config.mtu);
        failures.note("bring up", &self.interface, link);
        let config = &possible(&self.interface, config);
        promote_secondaries(&self.interface);
        set_addresses(&mut socket, index, &config.addresses, &mut failures)?;
        let wanted = wanted(index, config);
        let entries = kernel::entries(&mut socket)?;
        self.add_blackholes(&mut socket, &entries, &config.blackholes, &mut failures);
        let heir_of = config.heir_of.iter();
        let heir_of = heir_of.filter_map(|name| if_nametoindex(name.as_str()).ok());
        let heir_of = heir_of.collect();
        add_routes(
            &mut socket,
            index,
            &heir_of,
            &entries,
            &wanted,
            &mut failures,
        );
        delete_routes(&mut socket, index, &entries, &wanted, &mut failures);
        self.delete_blackholes(&mut socket, &config.blackholes, &mut failures);
        failures.into_result()
    }

    /// Removes the addresses and routes of the interface, if it exists, and every blackhole that
    /// this router set.
    ///
    /// # Errors
    /// Whatever the kernel refuses; the rest is removed nevertheless.
    pub fn clear(&mut self) -> io::Result<()> {
        let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
        let mut failures = Failures::default();
        if let Ok(index) = if_nametoindex(self.interface.as_str()) {
            let entries = kernel::entries(&mut socket)?;
            delete_routes(
                &mut socket,
                index,
                &entries,
                &BTreeMap::new(),
                &mut failures,
            );
            set_addresses(&mut socket, index, &BTreeSet::new(), &mut failures)?;
        }
        self.delete_blackholes(&mut socket, &BTreeSet::new(), &mut failures);
        failures.into_result()
    }

    /// As [`clear`](Self::clear), and takes the interface down if it exists: for one that goes on without us.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub fn retire(&mut self) -> io::Result<()> {
        self.clear()?;
        match if_nametoindex(self.interface.as_str()) {
            Ok(index) => link::release(&mut Socket::new(SockProtocol::NetlinkRoute)?, index),
            Err(_) => Ok(()),
        }
    }

    /// Removes every blackhole of [`left_blackholes`](Self::left_blackholes). Nothing else outlives a process whose
    /// interface goes with it; on others, [`clear`](Self::clear) removes what is left.
    ///
    /// # Errors
    /// Whatever the kernel refuses; the rest is removed nevertheless.
    pub fn sweep() -> io::Result<()> {
        let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
        let mut failures = Failures::default();
        for destination in Self::left_blackholes()? {
            failures.note(
                "delete blackhole",
                destination,
                kernel::delete(&mut socket, &Own::of_router(destination, Target::Blackhole)),
            );
        }
        failures.into_result()
    }

    /// The blackholes that no route of ours accompanies: what a stopped or killed server left. A
    /// router that is asked to [`set`](Self::set) one of them adopts it.
    ///
    /// # Errors
    /// The kernel refused to list its routes.
    pub fn left_blackholes() -> io::Result<BTreeSet<IpNet>> {
        let entries = kernel::entries(&mut Socket::new(SockProtocol::NetlinkRoute)?)?;
        let (left, live): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .filter(|entry| entry.owner == Some(Owner::Router))
            .partition(|entry| entry.target == Target::Blackhole);
        let live: BTreeSet<_> = live.into_iter().map(|entry| entry.destination).collect();
        Ok(left
            .into_iter()
            .map(|entry| entry.destination)
            .filter(|destination| !live.contains(destination))
            .collect())
    }

    fn add_blackholes(
        &mut self,
        socket: &mut Socket,
        entries: &[Entry],
        wanted: &BTreeSet<IpNet>,
        failures: &mut Failures,
    ) {
        for &destination in wanted {
            let present = |entry: &Entry| {
                entry.owner == Some(Owner::Router)
                    && entry.destination == destination
                    && entry.target == Target::Blackhole
            };
            let outcome = match entries.iter().any(present) {
                true => Ok(()),
                false => kernel::add(socket, &Own::of_router(destination, Target::Blackhole)),
            };
            if failures.note("add blackhole", destination, outcome) {
                self.blackholes.insert(destination);
            }
        }
    }

    fn delete_blackholes(
        &mut self,
        socket: &mut Socket,
        wanted: &BTreeSet<IpNet>,
        failures: &mut Failures,
    ) {
        self.blackholes.retain(|&destination| {
            wanted.contains(&destination)
                || !failures.note(
                    "delete blackhole",
                    destination,
                    kernel::delete(socket, &Own::of_router(destination, Target::Blackhole)),
                )
        });
    }
}

/// Announces changes of interfaces, addresses and routes, our own included.
#[derive(Debug)]
pub struct RouteWatch {
    announcements: Announcements,
}

impl RouteWatch {
    /// Subscribes; must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The kernel refused a socket.
    pub fn new() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_ROUTE;
        Ok(Self {
            announcements: subscribe(SockProtocol::NetlinkRoute, groups as u32)?,
        })
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.announcements.changed().await
    }
}

pub(super) fn routes() -> io::Result<Vec<Route>> {
    let names: BTreeMap<_, _> = if_nameindex()?
        .iter()
        .map(|interface| {
            (
                interface.index(),
                interface.name().to_string_lossy().into_owned(),
            )
        })
        .collect();
    let entries = kernel::entries(&mut Socket::new(SockProtocol::NetlinkRoute)?)?;
    Ok(entries
        .into_iter()
        .map(|entry| Route {
            destination: entry.destination,
            interface: entry
                .target
                .interface()
                .and_then(|index| names.get(&index).cloned()),
            gateway: entry.target.gateway(),
            ours: entry.owner.is_some(),
        })
        .collect())
}

/// The part of `config` that an interface can have: IPv6 may be off in the kernel, by a setting, or
/// since the MTU is less than IPv6 demands.
fn possible<'a>(interface: &str, config: &'a RouterConfig) -> Cow<'a, RouterConfig> {
    let disabled = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"));
    if disabled.is_ok_and(|value| value.trim() == "0") {
        return Cow::Borrowed(config);
    }
    let ipv4 = |nets: &BTreeSet<IpNet>| {
        nets.iter()
            .copied()
            .filter(|net| net.addr().is_ipv4())
            .collect()
    };
    Cow::Owned(RouterConfig {
        addresses: ipv4(&config.addresses),
        mtu: config.mtu,
        routes: ipv4(&config.routes),
        next_hops: config.next_hops.clone(),
        blackholes: ipv4(&config.blackholes),
        is_ethernet: config.is_ethernet,
        heir_of: config.heir_of.clone(),
    })
}

/// Else an IPv4 address that goes takes those of its prefix along that came later (the kernel's `__inet_del_ifa`), and the
/// last of all takes the routes. Where settings are read-only, they are set again.
fn promote_secondaries(interface: &str) {
    let setting = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
    if let Err(error) = fs::write(&setting, "1") {
        tracing::debug!(%error, setting, "cannot promote addresses");
    }
}

fn set_addresses(
    socket: &mut Socket,
    index: u32,
    wanted: &BTreeSet<IpNet>,
    failures: &mut Failures,
) -> io::Result<()> {
    let present = add_addresses(socket, index, wanted, failures)?;
    let mut unwanted = present.difference(wanted).peekable();
    if unwanted.peek().is_none() {
        return Ok(());
    }
    for &address in unwanted {
        failures.note(
            "delete address",
            address,
            kernel::delete_address(socket, index, address),
        );
    }
    add_addresses(socket, index, wanted, failures).map(drop)
}

/// Gives those that were there before.
fn add_addresses(
    socket: &mut Socket,
    index: u32,
    wanted: &BTreeSet<IpNet>,
    failures: &mut Failures,
) -> io::Result<BTreeSet<IpNet>> {
    let present = kernel::addresses(socket, index)?;
    for &address in wanted.difference(&present) {
        failures.note(
            "add address",
            address,
            kernel::add_address(socket, index, address),
        );
    }
    Ok(present)
}

fn wanted(index: u32, config: &RouterConfig) -> BTreeMap<IpNet, Target> {
    let straight = |prefix| (prefix, Target::Interface(index));
    let hops = config.hops().into_iter().map(|(route, hop)| match hop {
        Some(address) => {
            let index = Some(index);
            (route, Target::Gateway { index, address })
        }
        None => straight(route),
    });
    let prefixes = config.prefixes().into_iter().map(straight);
    prefixes.chain(hops).collect()
}

/// Straight ones first: next hops must be reachable.
fn add_routes(
    socket: &mut Socket,
    index: u32,
    heir_of: &BTreeSet<u32>,
    entries: &[Entry],
    wanted: &BTreeMap<IpNet, Target>,
    failures: &mut Failures,
) {
    let (straight, by_hops): (Vec<_>, Vec<_>) =
        wanted.iter().partition(|(_, it)| it.gateway().is_none());
    for (&destination, &target) in straight.into_iter().chain(by_hops) {
        let same = |entry: &&Entry| {
            entry.destination == destination
                && entry.main
                && !(entry.owner == Some(Owner::Router) && entry.target == Target::Blackhole)
        };
        let present: Vec<_> = entries.iter().filter(same).collect();
        let is_there = |entry: &&Entry| entry.is_ours_by(index) && entry.target == target;
        if present.iter().any(is_there) {
            continue;
        }
        let route = Own::of_router(destination, target);
        let is_to_go = |entry: &Entry| {
            let mut before = heir_of.iter().chain([&index]);
            before.any(|it| entry.is_ours_by(*it))
        };
        let outcome = match present.first() {
            Some(other) if is_to_go(other) => kernel::replace(socket, &route),
            Some(other) => Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("there is one {}", other.target),
            )),
            None => kernel::add(socket, &route),
        };
        failures.note("add route", destination, outcome);
    }
}

fn delete_routes(
    socket: &mut Socket,
    index: u32,
    entries: &[Entry],
    wanted: &BTreeMap<IpNet, Target>,
    failures: &mut Failures,
) {
    for entry in entries.iter().filter(|entry| entry.is_ours_by(index)) {
        if !wanted.contains_key(&entry.destination) {
            let outcome = delete_route(socket, entry);
            failures.note("delete route", entry.destination, outcome);
        }
    }
}

fn delete_route(socket: &mut Socket, entry: &Entry) -> io::Result<()> {
    kernel::delete(socket, &Own::of_router(entry.destination, entry.target))
}
