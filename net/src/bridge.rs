//! Ports of the machine's bridges: interfaces of ours that are in the Ethernet of a Docker network. And NICs, which are
//! ours for a while only, as ports or otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use dtap_tunnel::HardwareAddress;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use crate::netlink::Socket;
use crate::netlink::link::{self, Link};
use crate::netlink::route;

/// Makes an interface a port of a bridge, up and without addresses of its own; cheap if it is one already. Gives the
/// bridge's number.
///
/// # Errors
/// There is no such bridge or interface, or the kernel refused.
pub fn join(interface: &str, bridge: &str) -> io::Result<u32> {
    let index = if_nametoindex(bridge).map_err(|_| missing("bridge", bridge))?;
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let port = find(&mut socket, "interface", interface)?;
    if port.master != Some(index) || !port.is_up {
        link::enslave(&mut socket, port.index, index)?;
    }
    Ok(index)
}

/// Brings an interface up, as the parent of others; cheap if it is up already.
///
/// # Errors
/// There is no such interface, or the kernel refused.
pub fn raise(interface: &str) -> io::Result<()> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let link = find(&mut socket, "interface", interface)?;
    if link.is_up {
        return Ok(());
    }
    link::raise(&mut socket, link.index)
}

/// The names of this machine's interfaces of Ethernet that no other is below.
///
/// # Errors
/// The kernel refused to list them.
pub fn nics() -> io::Result<BTreeMap<HardwareAddress, String>> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let links = link::links(&mut socket)?.into_iter();
    let nics = links.filter(|link| !link.is_made);
    Ok(nics
        .filter_map(|link| Some((HardwareAddress(link.hardware?), link.name)))
        .collect())
}

/// Bytes of the longest packet in a bridge's frames.
///
/// # Errors
/// There is no such bridge.
pub fn mtu(bridge: &str) -> io::Result<u16> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let mtu = find(&mut socket, "bridge", bridge)?.mtu;
    Ok(mtu.try_into().unwrap_or(u16::MAX))
}

/// The name of the interface with this hardware address, from now on marked as ours.
///
/// # Errors
/// There is none, or the kernel refused.
pub fn borrow_nic(address: HardwareAddress) -> io::Result<String> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let nic = link::links(&mut socket)?
        .into_iter()
        .find(|link| link.hardware == Some(address.0))
        .ok_or_else(|| {
            let what = "the engine's machine has no such NIC: restart Docker, so that HyperKit gives it one";
            io::Error::new(io::ErrorKind::NotFound, what)
        })?;
    if nic.alias != ALIAS {
        link::set_alias(&mut socket, nic.index, ALIAS)?;
    }
    Ok(nic.name)
}

/// The names of the NICs that are ours, be it by an earlier run.
///
/// # Errors
/// The kernel refused to list them.
pub fn borrowed_nics() -> io::Result<BTreeSet<String>> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let links = link::links(&mut socket)?.into_iter();
    Ok(links
        .filter(|link| link.alias == ALIAS)
        .map(|link| link.name)
        .collect())
}

/// Makes the NIC again what it was: no port, without addresses and routes, down.
///
/// # Errors
/// The kernel refused.
pub fn return_nic(interface: &str) -> io::Result<()> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    let nic = find(&mut socket, "interface", interface)?;
    release(&mut socket, nic.index)
}

/// Returns every NIC that an earlier run has borrowed.
///
/// # Errors
/// The kernel refused.
pub fn sweep() -> io::Result<()> {
    let mut socket = Socket::new(SockProtocol::NetlinkRoute)?;
    for link in link::links(&mut socket)? {
        if link.alias == ALIAS {
            release(&mut socket, link.index)?;
        }
    }
    Ok(())
}

/// Routes go with the addresses, or at the latest when it is down.
fn release(socket: &mut Socket, index: u32) -> io::Result<()> {
    for address in route::addresses(socket, index)? {
        route::delete_address(socket, index, address)?;
    }
    link::release(socket, index)
}

fn find(socket: &mut Socket, kind: &str, name: &str) -> io::Result<Link> {
    let mut links = link::links(socket)?.into_iter();
    let link = links.find(|link| link.name == name);
    link.ok_or_else(|| missing(kind, name))
}

fn missing(kind: &str, name: &str) -> io::Error {
    let what = format!("the engine's machine has no {kind} {name}");
    io::Error::new(io::ErrorKind::NotFound, what)
}

/// Marks a NIC that is ours for a while.
const ALIAS: &str = "dtap";
