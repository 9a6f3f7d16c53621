//! This host's end of one tap.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use dtap_net::device::{Device, MTU};
use dtap_net::driver::Driver;
use dtap_net::router::{Router, RouterConfig};
use dtap_tunnel::session::{Carrier, Tap, tap_ends};
use dtap_tunnel::{HardwareAddress, PeerId, TapConfig, TapId};
use ipnet::{IpNet, Ipv6Net};
use sha2::{Digest as _, Sha256};

use super::Probing;
use super::carrier::{BRIDGE, carrier_name};
use crate::connect::link::Link;
use crate::docker::Network;
use crate::plan;
use crate::status::{self, TapState};
use crate::tap::{CarrierChoice, Nic, Wish};

pub(super) struct HostTap {
    wish: Wish,
    network: Network,
    /// In the VM, that the other end is a port of.
    bridge: Option<String>,
    carrier: Carrier,
    pub(super) interface: String,
    own: HardwareAddress,
    /// In the tunnel, if that carries it.
    tap: Option<(PeerId, TapId)>,
    mtu: u16,
    router: Router,
    pub(super) addresses: BTreeSet<IpNet>,
    /// What containers have.
    pub(super) taken: BTreeSet<IpAddr>,
    /// What others than containers have.
    claimed: BTreeSet<IpAddr>,
    is_probing: bool,
    /// Whether the server's end is a port of the bridge.
    pub(super) is_joined: bool,
    pub(super) problem: Option<String>,
}

/// What a probe found.
pub(in crate::connect) struct Probed {
    pub(super) network_id: String,
    addresses: BTreeSet<IpNet>,
    claimed: BTreeSet<IpAddr>,
}

impl HostTap {
    pub(super) async fn by_tunnel(
        wish: &Wish,
        network: &Network,
        link: &Link,
        peer: PeerId,
        tunnel: Ipv6Net,
        number: u16,
    ) -> io::Result<Self> {
        let own = hardware_address(&link.public_key, &network.id);
        let mtu = MTU - TapConfig::OVERHEAD;
        let device = {
            let _context = link.runtime().enter();
            Device::create_tap(own.0, mtu)?
        };
        let interface = device.name().to_owned();
        let config = TapConfig {
            peer,
            ends: tap_ends(tunnel, number).reversed(),
            mtu: MTU,
            segment: None,
        };
        let tap = link.driver.add_tap(config, device).await;
        let tap = tap.ok_or_else(|| io::Error::other("the tunnel is gone"))?;
        let carrier = Carrier::Tunnel { number };
        let mut host_tap = Self::new(wish, network, carrier, &interface, mtu)?;
        host_tap.own = own;
        host_tap.tap = Some((peer, tap));
        Ok(host_tap)
    }

    pub(super) fn by_nic(wish: &Wish, network: &Network, nic: &Nic) -> io::Result<Self> {
        let carrier = Carrier::Nic {
            address: nic.address,
        };
        Self::new(wish, network, carrier, &nic.interface, ETHERNET_MTU)
    }

    fn new(
        wish: &Wish,
        network: &Network,
        carrier: Carrier,
        interface: &str,
        mtu: u16,
    ) -> io::Result<Self> {
        Ok(Self {
            wish: wish.clone(),
            bridge: (network.driver == BRIDGE).then(|| network.bridge_interface()),
            network: network.clone(),
            carrier,
            router: Router::new(interface)?,
            interface: interface.to_owned(),
            own: HardwareAddress([0; 6]),
            tap: None,
            mtu,
            addresses: BTreeSet::new(),
            taken: BTreeSet::new(),
            claimed: BTreeSet::new(),
            is_probing: false,
            is_joined: false,
            problem: None,
        })
    }

    /// Whether it is in the network that is wanted.
    pub(super) fn is_of(&self, wish: &Wish) -> bool {
        self.wish.network == wish.network
    }

    /// Whether it is in the network as is wanted.
    pub(super) fn does(&self, wish: &Wish) -> bool {
        self.wish == *wish
    }

    /// What others than containers have.
    pub(super) fn claimed(&self) -> BTreeSet<IpAddr> {
        self.claimed.clone()
    }

    /// Whether it does what is wanted, and still can.
    pub(super) fn serves(&self, wish: &Wish, peer: PeerId) -> bool {
        let is_there = nix::net::if_::if_nametoindex(self.interface.as_str()).is_ok();
        let is_of_peer = self.tap.is_none_or(|(it, _)| it == peer);
        self.wish == *wish && is_of_peer && is_there
    }

    pub(super) fn wanted_of_server(&self) -> Tap {
        Tap {
            id: self.network.id.clone(),
            network: self.network.name.clone(),
            bridge: self.bridge.clone(),
            carrier: self.carrier.clone(),
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.is_joined && !self.addresses.is_empty()
    }

    /// Asks for those addresses that this host should have and has not; none if there are none.
    pub(super) fn probe(&mut self, driver: Driver) -> Option<Probing> {
        if !self.is_joined || self.is_probing {
            return None;
        }
        let taken: BTreeSet<_> = self.taken.union(&self.claimed).copied().collect();
        let chosen = plan::tap::choose(&self.network, &taken, &self.addresses, self.wish.address);
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(reason) => {
                self.problem = Some(reason);
                return None;
            }
        };
        if chosen == self.addresses {
            return None;
        }
        self.is_probing = true;
        let network_id = self.network.id.clone();
        let new: Vec<_> = chosen.difference(&self.addresses).copied().collect();
        let Some((_, tap)) = self.tap else {
            // By a NIC of its own the host itself notices whoever has its address.
            let probed = Probed {
                network_id,
                addresses: chosen,
                claimed: BTreeSet::new(),
            };
            return Some(Box::pin(std::future::ready(probed)));
        };
        let own = self.own;
        Some(Box::pin(async move {
            for _ in 0..PROBES {
                let new = new.clone();
                let asked = driver.call(move |tunnel, now| {
                    for address in new {
                        tunnel.probe(tap, own, address.addr(), now);
                    }
                });
                asked.await;
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
            let claimed = driver.call(move |tunnel, _| {
                let addresses = new.iter().map(IpNet::addr);
                addresses.filter(|it| tunnel.end_probe(tap, *it)).collect()
            });
            Probed {
                network_id,
                addresses: chosen,
                claimed: claimed.await.unwrap_or_default(),
            }
        }))
    }

    /// Takes the addresses, if nobody has said that they are taken.
    pub(super) fn settle(&mut self, probed: Probed, tunnel: &str) {
        self.is_probing = false;
        if !probed.claimed.is_empty() {
            self.claimed.extend(&probed.claimed);
            return;
        }
        self.addresses = probed.addresses;
        self.hold(tunnel);
    }

    /// Makes the addresses and their routes what they were, should somebody have changed them: a NIC comes back bare
    /// when its VM does, and the tunnel is the heir of a tap that the server has lost.
    pub(super) fn hold(&mut self, tunnel: &str) {
        if !self.is_attached() {
            return;
        }
        let config = RouterConfig {
            addresses: self.addresses.clone(),
            mtu: self.mtu.into(),
            is_ethernet: true,
            heir_of: [tunnel.to_owned()].into(),
            ..RouterConfig::default()
        };
        let set = self.router.set(&config);
        let failure = set.map_err(|error| format!("set this host's address: {error}"));
        self.problem = failure.err();
    }

    pub(super) fn state(&self) -> status::Tap {
        let of_family = |is_v4| {
            let mut all = self.addresses.iter();
            all.find(|it| it.addr().is_ipv4() == is_v4).copied()
        };
        let state = match (&self.problem, self.is_attached()) {
            (Some(_), _) => TapState::Waiting,
            (None, true) => TapState::Attached,
            (None, false) => TapState::Attaching,
        };
        status::Tap {
            network: self.network.name.clone(),
            carrier: carrier_name(&self.carrier).to_owned(),
            interface: Some(self.interface.clone()),
            address: of_family(true),
            address6: of_family(false),
            state,
            reason: self.problem.clone(),
            is_by_parent: self.bridge.is_none(),
        }
    }

    pub(super) fn network_name(&self) -> &str {
        &self.network.name
    }

    /// The NIC this is by.
    pub(super) const fn nic(&self) -> Option<HardwareAddress> {
        match self.carrier {
            Carrier::Nic { address } => Some(address),
            Carrier::Tunnel { .. } | Carrier::Unknown => None,
        }
    }

    /// Whether the user has left the carrier to us.
    pub(super) fn is_auto(&self) -> bool {
        self.wish.carrier == CarrierChoice::Auto
    }

    /// A tap of the tunnel goes with its interface, addresses and routes; a NIC stays and loses them.
    pub(super) async fn remove(mut self, driver: &Driver) {
        match self.tap {
            Some((_, tap)) => driver.remove_tap(tap).await,
            None => {
                if let Err(error) = self.router.retire() {
                    tracing::warn!(self.interface, "cannot leave the NIC as it was: {error}");
                }
            }
        }
    }
}

/// The same for the same host and network; locally administered (IEEE 802, 8.2).
fn hardware_address(host: &dtap_tunnel::PublicKey, network_id: &str) -> HardwareAddress {
    let mut hash = Sha256::new();
    hash.update(host.as_bytes());
    hash.update(network_id);
    let [a, b, c, d, e, ..] = <[u8; 32]>::from(hash.finalize());
    HardwareAddress([0x02, a, b, c, d, e])
}

/// Bytes; what HyperKit's NICs carry.
const ETHERNET_MTU: u16 = 1500;
/// As ARP probes are sent (RFC 5227, 2.1.1), but faster: nobody is a second away.
const PROBES: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
