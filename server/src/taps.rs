//! Taps: what lets hosts into the Ethernet of the engine's networks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use dtap_net::bridge;
use dtap_net::device::{Device, MTU};
use dtap_net::driver::Driver;
use dtap_tunnel::session::{Carrier, Tap, tap_ends};
use dtap_tunnel::{PeerId, PublicKey, SegmentId, TapConfig, TapId};
use tokio::runtime::Handle;

use crate::client::Client;

/// Why taps could not be attached, by client and network ID.
pub(crate) type TapProblems = BTreeMap<(PublicKey, String), String>;

/// The owner of the ports of bridges.
#[derive(Debug)]
pub(crate) struct Taps {
    runtime: Handle,
    ports: BTreeMap<(PublicKey, Carrier), Port>,
}

/// A port that stands.
#[derive(Debug)]
struct Port {
    interface: String,
    /// None where it is the parent of others.
    bridge: Option<u32>,
    /// Of the tunnel.
    tap: Option<(PeerId, TapId)>,
}

impl Taps {
    pub(crate) fn new(runtime: &Handle) -> Self {
        Self {
            runtime: runtime.clone(),
            ports: BTreeMap::new(),
        }
    }

    /// Makes those of these clients the only ones; gives the reasons of those that cannot be.
    pub(crate) async fn set(
        &mut self,
        driver: &Driver,
        clients: &BTreeMap<PublicKey, Client>,
    ) -> TapProblems {
        let wanted = clients.iter().flat_map(|(key, client)| {
            let taps = client.taps.iter();
            taps.map(move |tap| (*key, client, tap))
        });
        let ways: BTreeSet<_> = clients.values().filter_map(|it| it.nic).collect();
        let is_way =
            |tap: &Tap| matches!(tap.carrier, Carrier::Nic { address } if ways.contains(&address));
        let (taken, wanted): (Vec<_>, Vec<_>) = wanted.partition(|(_, _, tap)| is_way(tap));
        let names: BTreeSet<_> = wanted
            .iter()
            .map(|(key, _, tap)| (*key, tap.carrier.clone()))
            .collect();
        let unwanted = self.ports.keys().filter(|it| !names.contains(it));
        for name in unwanted.cloned().collect::<Vec<_>>() {
            self.withdraw(driver, &name).await;
        }
        let taken = taken.into_iter().map(|(key, _, tap)| {
            let reason = "packets are routed by this NIC, and each has one use: install one more";
            ((key, tap.id.clone()), reason.to_owned())
        });
        let mut problems: TapProblems = taken.collect();
        for (key, client, tap) in wanted {
            if let Err(error) = self.stand(driver, key, client, tap).await {
                self.withdraw(driver, &(key, tap.carrier.clone())).await;
                problems.insert((key, tap.id.clone()), error.to_string());
            }
        }
        problems
    }

    /// Withdraws all.
    pub(crate) async fn clear(&mut self, driver: &Driver) {
        self.set(driver, &BTreeMap::new()).await;
    }

    async fn stand(
        &mut self,
        driver: &Driver,
        key: PublicKey,
        client: &Client,
        tap: &Tap,
    ) -> io::Result<()> {
        let name = (key, tap.carrier.clone());
        if let Some(port) = self.ports.get(&name) {
            let joined = place(&port.interface, tap.bridge.as_deref());
            let is_same = matches!(joined, Ok(bridge) if bridge == port.bridge);
            if is_same && port.tap.is_none_or(|(peer, _)| peer == client.peer) {
                return Ok(());
            }
            self.withdraw(driver, &name).await;
        }
        let port = match &tap.carrier {
            Carrier::Tunnel { number } => {
                let bridge = tap.bridge.as_deref();
                let bridge = bridge.ok_or_else(|| io::Error::other("no bridge is named"))?;
                self.open(driver, key, client, *number, bridge).await?
            }
            Carrier::Nic { address } => {
                let interface = bridge::borrow_nic(*address)?;
                Port {
                    bridge: place(&interface, tap.bridge.as_deref())?,
                    interface,
                    tap: None,
                }
            }
            Carrier::Unknown => {
                return Err(io::Error::other(
                    "the server is older than this client and knows no such carrier",
                ));
            }
        };
        tracing::info!(network = tap.network, port.interface, "host attached");
        self.ports.insert(name, port);
        Ok(())
    }

    async fn open(
        &self,
        driver: &Driver,
        key: PublicKey,
        client: &Client,
        number: u16,
        bridge: &str,
    ) -> io::Result<Port> {
        let mtu = bridge::mtu(bridge)?;
        let device = {
            let _context = self.runtime.enter();
            Device::create_tap(hardware_address(key, number), mtu)?
        };
        let interface = device.name().to_owned();
        let bridge = bridge::join(&interface, bridge)?;
        let config = TapConfig {
            peer: client.peer,
            ends: tap_ends(client.addresses.v6(), number),
            mtu: MTU,
            segment: Some(SegmentId(bridge)),
        };
        let added = driver.add_tap(config, device).await;
        let tap = added.ok_or_else(|| io::Error::other("the client has left"))?;
        Ok(Port {
            interface,
            bridge: Some(bridge),
            tap: Some((client.peer, tap)),
        })
    }

    async fn withdraw(&mut self, driver: &Driver, name: &(PublicKey, Carrier)) {
        let Some(port) = self.ports.remove(name) else {
            return;
        };
        match port.tap {
            Some((_, tap)) => driver.remove_tap(tap).await,
            None => {
                if let Err(error) = bridge::return_nic(&port.interface) {
                    tracing::warn!(port.interface, "cannot give the NIC back: {error}");
                }
            }
        }
    }
}

/// Makes an interface what it is to be: a port of this bridge, or by itself and up.
fn place(interface: &str, bridge: Option<&str>) -> io::Result<Option<u32>> {
    match bridge {
        Some(bridge) => bridge::join(interface, bridge).map(Some),
        None => bridge::raise(interface).map(|()| None),
    }
}

/// Higher than any other: a bridge may take the lowest of its ports' addresses for its own (the kernel's
/// `br_stp_recalculate_bridge_id`).
fn hardware_address(client: PublicKey, number: u16) -> [u8; 6] {
    let [a, b, c, ..] = *client.as_bytes();
    let [high, low] = number.to_be_bytes();
    [0xfe, a, b, c, high, low]
}
