//! What the engine's machine lacks to reach some containers itself: an interface beside those of
//! macvlan and ipvlan containers, or on a bridge that has no address; routes by next hops.
//!
//! The interface's address is the subnet's own network address. Docker's IPAM never hands it out
//! (moby's `ipams/defaultipam` reserves it in both families), so nobody else gets it, no container is
//! in its way, and the gateway's address stays with the router that may have it.
//!
//! A bridge without an address gets no address either, but a macvlan interface on top: Docker
//! disables IPv6 on such a bridge, and what is not on a user's interface need not be removed from it.
//!
//! The kernel's tables are the state: interfaces by their name and alias, routes by their protocol
//! number.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use dtap_tunnel::session::SiblingKind;
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::netlink::Socket;
use crate::netlink::link::{self, Link, Mode};
use crate::netlink::route::{self, Entry, Own, Owner, Target};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foothold {
    /// An interface of our own on `parent`.
    Sibling {
        parent: String,
        kind: SiblingKind,
        subnet: IpNet,
        /// What is led to by it. A whole subnet only where the machine itself has no way there: it
        /// may be that of its own LAN, or one its gateway knows.
        destinations: BTreeSet<IpNet>,
    },
    /// A next hop.
    Hop {
        destination: IpNet,
        address: IpAddr,
        interface: String,
    },
}

/// The interface that packets to and from the containers pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    pub interface: String,
    /// Its hardware address, if it is ours and has one.
    pub hardware: Option<[u8; 6]>,
}

/// Makes these footholds the only ones. Gives the passages in their order, or why there is none;
/// the others stand nevertheless.
///
/// # Errors
/// The kernel refused to list what it has, or to remove what is not wanted any more.
pub fn set(wanted: &[Foothold]) -> io::Result<Vec<io::Result<Passage>>> {
    let mut ground = Ground::survey()?;
    let outcomes = wanted
        .iter()
        .map(|foothold| ground.stand(foothold))
        .collect();
    ground.withdraw()?;
    Ok(outcomes)
}

/// Removes all, also those of a killed predecessor.
///
/// # Errors
/// The kernel refused.
pub fn clear() -> io::Result<()> {
    set(&[]).map(|_| ())
}

/// What there is, and what of it is to stay.
struct Ground {
    socket: Socket,
    links: Vec<Link>,
    entries: Vec<Entry>,
    kept_links: BTreeSet<u32>,
    kept_routes: BTreeSet<(IpNet, Option<u32>)>,
}

impl Ground {
    fn survey() -> io::Result<Self> {
        let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
        Ok(Self {
            links: link::links(&mut socket)?,
            entries: route::entries(&mut socket)?,
            socket,
            kept_links: BTreeSet::new(),
            kept_routes: BTreeSet::new(),
        })
    }

    fn stand(&mut self, foothold: &Foothold) -> io::Result<Passage> {
        match foothold {
            Foothold::Sibling {
                parent,
                kind,
                subnet,
                destinations,
            } => {
                let link = self.sibling(parent, *kind, *subnet)?;
                let source = self.occupy(link.index, *subnet)?;
                for destination in destinations {
                    self.lead(*destination, Target::Interface(link.index), Some(source))?;
                }
                Ok(Passage {
                    interface: link.name,
                    hardware: link.hardware,
                })
            }
            Foothold::Hop {
                destination,
                address,
                interface,
            } => {
                let target = Target::Gateway {
                    index: Some(index_of(interface)?),
                    address: *address,
                };
                self.lead(*destination, target, None)?;
                Ok(Passage {
                    interface: interface.clone(),
                    hardware: None,
                })
            }
        }
    }

    /// Takes the subnet's network address.
    fn occupy(&mut self, index: u32, subnet: IpNet) -> io::Result<IpAddr> {
        let address = IpNet::from(subnet.network());
        if !route::addresses(&mut self.socket, index)?.contains(&address) {
            route::add_address(&mut self.socket, index, address)
                .map_err(|error| said(format_args!("add address {address}"), &error))?;
        }
        Ok(address.addr())
    }

    fn lead(
        &mut self,
        destination: IpNet,
        target: Target,
        source: Option<IpAddr>,
    ) -> io::Result<()> {
        let route = Own {
            destination,
            target,
            owner: Owner::Footholds,
            source,
        };
        let same = |entry: &&Entry| is_ours(entry) && entry.destination == destination;
        let present: Vec<_> = self.entries.iter().filter(same).cloned().collect();
        if !present.iter().any(|entry| own(entry) == route) {
            for entry in &present {
                route::delete(&mut self.socket, &own(entry))?;
            }
            route::add(&mut self.socket, &route)
                .map_err(|error| said(format_args!("add route {destination} {target}"), &error))?;
        }
        self.kept_routes.insert((destination, target.interface()));
        Ok(())
    }

    fn sibling(&mut self, parent: &str, kind: SiblingKind, subnet: IpNet) -> io::Result<Link> {
        let index = index_of(parent)?;
        let alias = format!("dtap {} {subnet} on {parent}", driver(kind));
        let found = self
            .links
            .iter()
            .find(|it| it.is_up && is_sibling(it) && it.alias == alias);
        let link = match found {
            Some(link) => link.clone(),
            None => self.make_sibling(index, kind, subnet, &alias)?,
        };
        self.kept_links.insert(link.index);
        Ok(link)
    }

    fn make_sibling(
        &mut self,
        parent: u32,
        kind: SiblingKind,
        subnet: IpNet,
        alias: &str,
    ) -> io::Result<Link> {
        let is_free = |name: &String| self.links.iter().all(|it| it.name != *name);
        let name = (0..)
            .map(|number| format!("{PREFIX}{number}"))
            .find(is_free);
        let name = name.unwrap_or_default();
        link::create(&mut self.socket, &name, parent, mode(kind))
            .map_err(|error| refused(alias, kind, &error))?;
        link::commission(&mut self.socket, &name, alias, subnet)?;
        self.links = link::links(&mut self.socket)?;
        let made = self.links.iter().find(|it| it.name == name);
        made.cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is gone")))
    }

    fn withdraw(mut self) -> io::Result<()> {
        for link in self.links.iter().filter(|it| is_sibling(it)) {
            if !self.kept_links.contains(&link.index) {
                link::delete(&mut self.socket, link.index)?;
            }
        }
        for entry in self.entries.iter().filter(|it| is_ours(it)) {
            let index = entry.target.interface();
            if !self.kept_routes.contains(&(entry.destination, index)) {
                route::delete(&mut self.socket, &own(entry))?;
            }
        }
        Ok(())
    }
}

fn own(entry: &Entry) -> Own {
    Own {
        destination: entry.destination,
        target: entry.target,
        owner: Owner::Footholds,
        source: entry.source,
    }
}

fn is_ours(entry: &Entry) -> bool {
    entry.owner == Some(Owner::Footholds)
}

fn is_sibling(link: &Link) -> bool {
    let number = link.name.strip_prefix(PREFIX);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

fn index_of(interface: &str) -> io::Result<u32> {
    if_nametoindex(interface).map_err(|_| {
        let what = format!("the engine's machine has no interface {interface}");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}

fn mode(kind: SiblingKind) -> Mode {
    match kind {
        SiblingKind::Macvlan => Mode::Macvlan,
        SiblingKind::IpvlanL2 => Mode::Ipvlan(0),
        SiblingKind::IpvlanL3 => Mode::Ipvlan(1),
        SiblingKind::IpvlanL3s => Mode::Ipvlan(2),
    }
}

fn driver(kind: SiblingKind) -> &'static str {
    match kind {
        SiblingKind::Macvlan => "macvlan",
        SiblingKind::IpvlanL2 => "ipvlan-l2",
        SiblingKind::IpvlanL3 => "ipvlan-l3",
        SiblingKind::IpvlanL3s => "ipvlan-l3s",
    }
}

fn refused(alias: &str, kind: SiblingKind, error: &io::Error) -> io::Error {
    if error.raw_os_error() == Some(libc::EOPNOTSUPP) {
        let what = format!("the engine's kernel has no {}", driver(kind));
        return io::Error::new(error.kind(), what);
    }
    said(format_args!("make interface '{alias}'"), error)
}

fn said(attempt: std::fmt::Arguments<'_>, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{attempt}: {error}"))
}

/// Of our interfaces' names, and nobody else's.
pub(crate) const PREFIX: &str = "dtaps";
