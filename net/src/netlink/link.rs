//! Interfaces that share a parent with those of containers.

use std::io;

use ipnet::IpNet;
use netlink_bindings::rt_link::{Ifinfomsg, Request};
use netlink_bindings::traits::Pusher;
use netlink_bindings::utils::{finalize_nested_header, push_header, push_nested_header};

use super::Socket;

/// An interface of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What its maker wrote on it (`ip link show`: `alias`).
    pub(crate) alias: String,
    pub(crate) is_up: bool,
    /// Of Ethernet.
    pub(crate) hardware: Option<[u8; 6]>,
    /// The bridge it is a port of, by its number.
    pub(crate) master: Option<u32>,
    /// Bytes.
    pub(crate) mtu: u32,
    /// Whether software has made it, as bridges, veths and VLANs are.
    pub(crate) is_made: bool,
}

/// How the interfaces of one parent exchange frames or packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// macvlan in bridge mode.
    Macvlan,
    /// ipvlan in the mode of this number: `enum` of `IPVLAN_MODE_L2` in the kernel's `if_link.h`.
    Ipvlan(u16),
}

impl Mode {
    fn kind(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        }
    }
}

/// Every interface.
pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let request = Request::new().op_getlink_dump(&Ifinfomsg::default());
    socket.dump(&request, |(header, link)| {
        let text =
            |value: Result<&std::ffi::CStr, _>| value.map(|it| it.to_string_lossy().into_owned());
        let Ok(name) = text(link.get_ifname()) else {
            return Ok(None);
        };
        Ok(Some(Link {
            index: header.ifi_index as u32,
            name,
            alias: text(link.get_ifalias()).unwrap_or_default(),
            is_up: header.ifi_flags & libc::IFF_UP as u32 != 0,
            hardware: link.get_address().ok().and_then(|it| it.try_into().ok()),
            master: link.get_master().ok().filter(|it| *it != 0),
            mtu: link.get_mtu().unwrap_or_default(),
            is_made: link.get_linkinfo().is_ok(),
        }))
    })
}

/// Makes an interface on the one with the index `parent`.
///
/// # Errors
/// `EOPNOTSUPP` where the kernel has no such kind, `EBUSY` where the parent serves another. A second mode of ipvlan is no error, but
/// becomes that of every interface on the parent (the kernel's `ipvlan_main.c`).
pub(crate) fn create(socket: &mut Socket, name: &str, parent: u32, mode: Mode) -> io::Result<()> {
    let mut request = Request::new()
        .set_create()
        .set_excl()
        .op_newlink_do(&Ifinfomsg::default());
    let attributes = request
        .encode()
        .push_ifname_bytes(name.as_bytes())
        .push_link(parent);
    let mut info = attributes
        .nested_linkinfo()
        .push_kind_bytes(mode.kind().as_bytes());
    let bytes = info.as_vec_mut();
    let data = push_nested_header(bytes, IFLA_INFO_DATA);
    match mode {
        Mode::Macvlan => attribute(bytes, IFLA_MACVLAN_MODE, &MACVLAN_MODE_BRIDGE.to_ne_bytes()),
        Mode::Ipvlan(mode) => attribute(bytes, IFLA_IPVLAN_MODE, &mode.to_ne_bytes()),
    }
    finalize_nested_header(bytes, data);
    info.end_nested();
    socket.execute(&request)
}

/// Writes an alias on an interface and brings it up, to be one in this subnet and nothing else: it answers nobody who asks
/// for the machine's other addresses, and for an IPv4 subnet it has no IPv6 address at all.
pub(crate) fn commission(
    socket: &mut Socket,
    name: &str,
    alias: &str,
    subnet: IpNet,
) -> io::Result<()> {
    let up = libc::IFF_UP as u32;
    let header = Ifinfomsg {
        ifi_flags: up,
        ifi_change: up,
        ..Default::default()
    };
    let mut request = Request::new().op_setlink_do(&header);
    let mut attributes = request
        .encode()
        .push_ifname_bytes(name.as_bytes())
        .push_ifalias_bytes(alias.as_bytes());
    let bytes = attributes.as_vec_mut();
    let families = push_nested_header(bytes, IFLA_AF_SPEC);
    let v4 = push_nested_header(bytes, libc::AF_INET as u16);
    let settings = push_nested_header(bytes, IFLA_INET_CONF);
    attribute(
        bytes,
        IPV4_DEVCONF_ARP_IGNORE,
        &OWN_ADDRESSES_ONLY.to_ne_bytes(),
    );
    finalize_nested_header(bytes, settings);
    finalize_nested_header(bytes, v4);
    if matches!(subnet, IpNet::V4(_)) {
        let v6 = push_nested_header(bytes, libc::AF_INET6 as u16);
        attribute(bytes, IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        finalize_nested_header(bytes, v6);
    }
    finalize_nested_header(bytes, families);
    drop(attributes);
    socket.execute(&request)
}

/// Brings an interface up.
pub(crate) fn raise(socket: &mut Socket, index: u32) -> io::Result<()> {
    let up = libc::IFF_UP as u32;
    let header = Ifinfomsg {
        ifi_flags: up,
        ifi_change: up,
        ..numbered(index)
    };
    socket.execute(&Request::new().op_setlink_do(&header))
}

/// Writes an alias on an interface.
pub(crate) fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> io::Result<()> {
    let mut request = Request::new().op_setlink_do(&numbered(index));
    request.encode().push_ifalias_bytes(alias.as_bytes());
    socket.execute(&request)
}

/// Takes an interface from its bridge and down, and its alias from it.
pub(crate) fn release(socket: &mut Socket, index: u32) -> io::Result<()> {
    let header = Ifinfomsg {
        ifi_change: libc::IFF_UP as u32,
        ..numbered(index)
    };
    let mut request = Request::new().op_setlink_do(&header);
    let mut attributes = request.encode().push_master(0);
    push_header(attributes.as_vec_mut(), IFLA_IFALIAS, 0);
    drop(attributes);
    socket.execute(&request)
}

/// Makes an interface a port of a bridge, up, and without any IPv6 address of its own.
pub(crate) fn enslave(socket: &mut Socket, index: u32, bridge: u32) -> io::Result<()> {
    let mut header = numbered(index);
    // First, as an interface that comes up takes an address at once.
    let mut request = Request::new().op_setlink_do(&header);
    let mut attributes = request.encode();
    let bytes = attributes.as_vec_mut();
    let families = push_nested_header(bytes, IFLA_AF_SPEC);
    let v6 = push_nested_header(bytes, libc::AF_INET6 as u16);
    attribute(bytes, IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
    finalize_nested_header(bytes, v6);
    finalize_nested_header(bytes, families);
    drop(attributes);
    socket.execute(&request)?;

    header.ifi_flags = libc::IFF_UP as u32;
    header.ifi_change = header.ifi_flags;
    let mut request = Request::new().op_setlink_do(&header);
    request.encode().push_master(bridge);
    socket.execute(&request)
}

pub(crate) fn delete(socket: &mut Socket, index: u32) -> io::Result<()> {
    match socket.execute(&Request::new().op_dellink_do(&numbered(index))) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        outcome => outcome,
    }
}

fn numbered(index: u32) -> Ifinfomsg {
    Ifinfomsg {
        ifi_index: index as i32,
        ..Default::default()
    }
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    push_header(bytes, kind, value.len() as u16);
    bytes.extend(value);
}

/// The kernel's `if_link.h`.
const IFLA_INFO_DATA: u16 = 2;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_BRIDGE: u32 = 4;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// The kernel's `ip.h`, and its `ip-sysctl.rst`, `arp_ignore`.
const IPV4_DEVCONF_ARP_IGNORE: u16 = 19;
const OWN_ADDRESSES_ONLY: u32 = 1;
