//! NICs whose other end is a host's: by them it is reached without the tunnel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use dtap_net::bridge;
use dtap_net::router::{Router, RouterConfig};
use dtap_tunnel::HardwareAddress;
use dtap_tunnel::PublicKey;

use crate::client::Client;

/// Why clients are not reached by their NICs.
pub(crate) type NicProblems = BTreeMap<PublicKey, String>;

/// The owner of what they have while they are ours.
#[derive(Debug, Default)]
pub(crate) struct Nics {
    borrowed: BTreeMap<HardwareAddress, Nic>,
}

#[derive(Debug)]
struct Nic {
    interface: String,
    router: Router,
}

impl Nics {
    /// Borrows what these clients want and gives back the rest; nothing is routed by what is new.
    pub(crate) fn borrow(&mut self, clients: &BTreeMap<PublicKey, Client>) -> NicProblems {
        let wanted: BTreeSet<_> = clients.values().filter_map(|it| it.nic).collect();
        let unwanted = self.borrowed.keys().filter(|it| !wanted.contains(it));
        for address in unwanted.copied().collect::<Vec<_>>() {
            self.give_back(address);
        }
        let mut problems = NicProblems::new();
        for (key, client) in clients {
            if let Some(address) = client.nic
                && let Err(error) = self.find(address)
            {
                self.give_back(address);
                problems.insert(*key, error.to_string());
            }
        }
        problems
    }

    /// Their names in this machine, with the addresses of the hosts behind them.
    pub(crate) fn hosts(
        &self,
        clients: &BTreeMap<PublicKey, Client>,
    ) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let hosts = |(address, nic): (&HardwareAddress, &Nic)| {
            let own = clients.values().filter(|it| it.nic == Some(*address));
            let hosts = own.flat_map(|it| it.addresses.host()).collect();
            (nic.interface.clone(), hosts)
        };
        self.borrowed.iter().map(hosts).collect()
    }

    /// Routes to the hosts behind those that are borrowed.
    pub(crate) fn route(&mut self, clients: &BTreeMap<PublicKey, Client>) -> NicProblems {
        let mut problems = NicProblems::new();
        for (address, nic) in &mut self.borrowed {
            let own = clients
                .iter()
                .filter(|(_, client)| client.nic == Some(*address));
            let config = RouterConfig {
                addresses: own
                    .clone()
                    .flat_map(|(_, it)| it.addresses.interface())
                    .collect(),
                mtu: MTU,
                is_ethernet: true,
                ..RouterConfig::default()
            };
            if let Err(error) = nic.router.set(&config) {
                problems.extend(own.map(|(key, _)| (*key, error.to_string())));
            }
        }
        problems
    }

    fn find(&mut self, address: HardwareAddress) -> io::Result<()> {
        let interface = bridge::borrow_nic(address)?;
        let known = self.borrowed.get(&address);
        if known.is_none_or(|it| it.interface != interface) {
            tracing::info!(interface, %address, "NIC leads to a host");
            let router = Router::new(&interface)?;
            self.borrowed.insert(address, Nic { interface, router });
        }
        Ok(())
    }

    fn give_back(&mut self, address: HardwareAddress) {
        let Some(nic) = self.borrowed.remove(&address) else {
            return;
        };
        if let Err(error) = bridge::return_nic(&nic.interface) {
            tracing::warn!(nic.interface, "cannot give the NIC back: {error}");
        }
    }
}

/// That of Ethernet, in bytes: HyperKit's end knows no other.
const MTU: u32 = 1500;
