//! This host's end of one tunnel: interface, routes, and the server as peer.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use dtap_net::device::{Device, MTU};
use dtap_net::driver::{self, Driver};
use dtap_net::router::{Router, RouterConfig};
use dtap_net::thread::PacketThread;
use dtap_net::udp::Udp;
use dtap_tunnel::session::Paired;
use dtap_tunnel::{Path, PathPolicy, PeerConfig, PeerId, PrivateKey, PublicKey, Tunnel};
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::claims::Others;
use super::taps::Taps;
use crate::plan::Plan;
use crate::tap::Nic;

/// Lives as long as the connection, over all its sessions: routes stay while
/// the engine restarts.
pub(super) struct Link {
    pub(super) driver: Driver,
    /// By which packets go: the tunnel's, or this end of the NIC.
    pub(super) interface: String,
    pub(super) nic: Option<Nic>,
    pub(super) port: u16,
    pub(super) public_key: PublicKey,
    router: Router,
    server: Option<Server>,
    driving: JoinHandle<std::io::Result<()>>,
    thread: PacketThread,
}

struct Server {
    run: Run,
    peer: PeerId,
}

/// One run of one server: another has lost the keys.
#[derive(PartialEq, Eq)]
struct Run {
    public_key: PublicKey,
    boot: Option<String>,
}

impl Link {
    /// A tunnel with this key; where there is a NIC of the VM, packets go by that, and by the tunnel only what belongs to
    /// taps.
    pub(super) fn open(key: &PrivateKey, nic: Option<Nic>) -> Result<Self> {
        let thread = PacketThread::start().context("start the thread that moves packets")?;
        let context = thread.runtime().enter();
        let device = Device::create(MTU).context(
            "create the tunnel interface (on Linux this needs /dev/net/tun: `modprobe tun`)",
        )?;
        let interface = match &nic {
            Some(nic) => nic.interface.clone(),
            None => device.name().to_owned(),
        };
        let router = Router::new(&interface).context("open the routing socket")?;
        let udp = Udp::bind(0).context("bind a UDP port")?;
        let port = udp.port();
        drop(context);
        let (driver, driving) = driver::start(Tunnel::new(key.clone()), device, udp);
        Ok(Self {
            driver,
            interface,
            nic,
            port,
            public_key: key.public(),
            router,
            server: None,
            driving: thread.runtime().spawn(driving),
            thread,
        })
    }

    /// Where whatever carries datagrams belongs.
    pub(super) const fn runtime(&self) -> &Handle {
        self.thread.runtime()
    }

    /// False once the interface broke; a new link is needed then.
    pub(super) fn is_open(&self) -> bool {
        !self.driving.is_finished()
    }

    /// The server as a peer: the same over all sessions with one run of it.
    pub(super) async fn peer(
        &mut self,
        paired: &Paired,
        boot: Option<String>,
        policy: PathPolicy,
    ) -> Result<PeerId> {
        let run = Run {
            public_key: paired.public_key,
            boot,
        };
        if let Some(server) = &self.server
            && server.run == run
        {
            return Ok(server.peer);
        }
        let old = self.server.take().map(|server| server.peer);
        let config = PeerConfig {
            public_key: paired.public_key,
            allowed_ips: paired.prefixes.iter().copied().collect(),
            policy,
            initiates: true,
        };
        let peer = self.call(move |tunnel, now| {
            if let Some(old) = old {
                tunnel.remove_peer(old);
            }
            tunnel.add_peer(config, now)
        });
        let peer = peer.await?;
        self.server = Some(Server { run, peer });
        Ok(peer)
    }

    /// Whether there has been a session, and so a plan.
    pub(super) const fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// No datagram goes to or comes from what this plan, or those of others, lead to.
    pub(super) async fn keep_out(
        &self,
        paired: &Paired,
        plan: &Plan,
        others: &Others,
    ) -> Result<()> {
        let inner = inner(paired, plan, None, others);
        self.call(move |tunnel, _| tunnel.set_inner(inner)).await
    }

    /// Addresses, routes and cryptokey routing for this plan, which was made for this endpoint, beside those of others;
    /// but no routes to the subnets of taps.
    pub(super) async fn set(
        &mut self,
        paired: &Paired,
        plan: &Plan,
        endpoint: Option<IpAddr>,
        others: &Others,
        taps: &Taps,
    ) -> Result<()> {
        let allowed = plan.subnets().into_iter().chain(paired.prefixes.clone());
        let allowed = allowed.collect();
        let translations = plan.translations.clone();
        let inner = inner(paired, plan, endpoint, others);
        let local = paired.host.iter().copied().collect();
        let peer = self.server.as_ref().map(|server| server.peer);
        // All at once, and before any route leads there.
        self.call(move |tunnel, _| {
            tunnel.set_local(local);
            if let Some(peer) = peer {
                tunnel.set_allowed_ips(peer, &allowed);
                tunnel.set_translations(peer, &translations);
            }
            tunnel.set_inner(inner);
        })
        .await?;
        let prefixes = || paired.prefixes.iter();
        let addresses = paired.host.iter().filter_map(|address| {
            let prefix = prefixes().find(|prefix| prefix.contains(address))?;
            IpNet::new(*address, prefix.prefix_len()).ok()
        });
        let next_hops = self.nic.iter().flat_map(|_| &paired.server);
        let config = RouterConfig {
            addresses: addresses.collect(),
            mtu: self.mtu().into(),
            is_ethernet: self.nic.is_some(),
            next_hops: next_hops.copied().collect(),
            routes: plan.routes.difference(&taps.subnets()).copied().collect(),
            heir_of: taps.interfaces(),
            ..RouterConfig::default()
        };
        self.router.set(&config).with_context(|| match &self.nic {
            Some(_) if if_nametoindex(self.interface.as_str()).is_err() => {
                "use HyperKit's network interface, which is there once Docker was restarted"
                    .to_owned()
            }
            Some(_) | None => "set addresses and routes of this host".to_owned(),
        })
    }

    /// Bytes of the largest packet.
    pub(super) const fn mtu(&self) -> u16 {
        match self.nic {
            Some(_) => ETHERNET_MTU,
            None => MTU,
        }
    }

    /// Nothing is routed to the engine until the next plan.
    pub(super) fn withdraw(&mut self) -> Result<()> {
        self.router
            .clear()
            .context("clear addresses and routes of this host")
    }

    /// Where the peer's datagrams go now.
    pub(super) async fn path(&self, peer: PeerId) -> Result<Option<Path>> {
        let status = self.call(move |tunnel, _| tunnel.status(peer)).await?;
        Ok(status.and_then(|status| status.path))
    }

    pub(super) async fn dial(&self, peer: PeerId, candidates: Vec<SocketAddr>) -> Result<()> {
        self.call(move |tunnel, now| tunnel.set_candidates(peer, &candidates, now))
            .await
    }

    /// Undoes everything; the interface goes with the driver's last handle.
    pub(super) async fn close(mut self) -> Result<()> {
        let cleared = match &self.nic {
            Some(_) => self.router.retire(),
            None => self.router.clear(),
        };
        let cleared = cleared.context("clear addresses and routes");
        self.driving.abort();
        // Aborted or ended before: either way the interface is gone now.
        let _ = self.driving.await;
        cleared
    }

    async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Tunnel, std::time::Instant) -> R + Send + 'static,
    ) -> Result<R> {
        self.driver
            .call(call)
            .await
            .context("reach the tunnel: its interface is gone")
    }
}

/// That of HyperKit's end, in bytes.
const ETHERNET_MTU: u16 = 1500;

/// Mapped subnets by their own prefixes, too: whoever answers there may be a
/// container. But not around the live endpoint, which was there before: no
/// route leads it into the tunnel.
fn inner(
    paired: &Paired,
    plan: &Plan,
    endpoint: Option<IpAddr>,
    others: &Others,
) -> BTreeSet<IpNet> {
    let holds_endpoint = |subnet: &&IpNet| endpoint.is_some_and(|it| subnet.contains(&it));
    let mapped = plan.translations.keys().filter(|it| !holds_endpoint(it));
    let own = paired.prefixes.iter().chain(&plan.routes);
    own.chain(mapped)
        .chain(others.prefixes.keys())
        .copied()
        .collect()
}
