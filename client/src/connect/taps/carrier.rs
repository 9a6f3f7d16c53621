//! What carries the frames of a tap: a NIC that HyperKit has given the VM, or the tunnel.

use std::io;

use dtap_tunnel::HardwareAddress;
use dtap_tunnel::session::{Carrier, Paired, Tap};
use ipnet::Ipv6Net;

use super::host_tap::HostTap;
use super::{Ground, Taps};
use crate::borrowed;
use crate::docker::Network;
use crate::tap::{self, CarrierChoice, Nic, Wish};

impl Taps {
    pub(super) async fn open(
        &mut self,
        wish: &Wish,
        network: &Network,
        ground: &Ground<'_>,
        tunnel: Ipv6Net,
        parent: Option<HardwareAddress>,
    ) -> io::Result<HostTap> {
        let Ground { link, peer, .. } = *ground;
        let nics = tap::all_nics(&self.settings.root).map_err(io::Error::other)?;
        let nic = match parent {
            Some(parent) => Some(of_parent(nics, parent)?),
            None => self.choose_nic(wish, nics, &link.interface)?,
        };
        if let Some(nic) = nic {
            let directory = &self.settings.state_dir;
            borrowed::take(directory, &nic.interface).map_err(io::Error::other)?;
            return HostTap::by_nic(wish, network, &nic);
        }
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        HostTap::by_tunnel(wish, network, link, peer, tunnel, number).await
    }

    /// The NIC that carries it, another than the connection's own; none if the tunnel is to.
    fn choose_nic(&self, wish: &Wish, nics: Vec<Nic>, own: &str) -> io::Result<Option<Nic>> {
        if wish.carrier == CarrierChoice::Tunnel {
            return Ok(None);
        }
        let is_used = |nic: &Nic| {
            nic.interface == own
                || self.parents.borrow().contains(&nic.address)
                || self
                    .standing
                    .values()
                    .any(|it| it.nic() == Some(nic.address))
        };
        let is_usable = |nic: &&Nic| {
            let is_lost = wish.carrier == CarrierChoice::Auto && self.lost.contains(&nic.address);
            !is_used(nic) && nic.is_there() && !is_lost
        };
        let nic = nics.iter().find(is_usable);
        match (nic, wish.carrier) {
            (None, CarrierChoice::Hyperkit) => Err(io::Error::other(if nics.is_empty() {
                "no NIC of HyperKit's: `sudo dtap-client tap install`, or --carrier tunnel"
            } else if nics.iter().any(is_used) {
                "every NIC of HyperKit's is in use: `sudo dtap-client tap install --nics N` for more, or --carrier tunnel"
            } else {
                "HyperKit does not run with its new NIC yet: restart Docker, or --carrier tunnel"
            })),
            (nic, _) => Ok(nic.cloned()),
        }
    }
}

/// The NIC of the VM whose Ethernet the containers of a macvlan network are in.
pub(super) fn parent_nic(network: &Network, paired: &Paired) -> Option<HardwareAddress> {
    let parent = network.options.get("parent")?;
    let mut nics = paired.nics.iter();
    let nic = nics.find(|(_, name)| *name == parent);
    nic.map(|(address, _)| *address)
        .filter(|_| network.driver == MACVLAN)
}

fn of_parent(nics: Vec<Nic>, parent: HardwareAddress) -> io::Result<Nic> {
    let mut nics = nics.into_iter();
    let nic = nics.find(|nic| nic.address == parent && nic.is_there());
    nic.ok_or_else(|| {
        io::Error::other(
            "its parent leads nowhere on this host: `dtap-client tap parent` names one that does",
        )
    })
}

/// What the server is to do with a parent of networks.
pub(super) fn parent(address: HardwareAddress) -> Tap {
    Tap {
        id: address.to_string(),
        network: String::new(),
        bridge: None,
        carrier: Carrier::Nic { address },
    }
}

pub(super) const fn carrier_name(carrier: &Carrier) -> &'static str {
    match carrier {
        Carrier::Nic { .. } => HYPERKIT,
        Carrier::Tunnel { .. } | Carrier::Unknown => TUNNEL,
    }
}

pub(super) const BRIDGE: &str = "bridge";
pub(super) const MACVLAN: &str = "macvlan";
pub(super) const TUNNEL: &str = "tunnel";
pub(super) const HYPERKIT: &str = "hyperkit";
