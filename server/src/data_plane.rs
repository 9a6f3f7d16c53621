//! Device, sockets and kernel state of the tunnel. They exist while a client is
//! paired: a server that waits for one is not to be seen on its machine.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context as _, Result};
use dtap_net::device::{Device, MTU};
use dtap_net::driver::{self, Driver};
use dtap_net::udp::Udp;
use dtap_tunnel::{PrivateKey, PublicKey, Tunnel};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::grounds::Problems;
use crate::kernel::{self, Kernel};
use crate::nics::NicProblems;
use crate::taps::{TapProblems, Taps};

pub(crate) struct DataPlane {
    pub(crate) driver: Driver,
    pub(crate) interface: String,
    /// Of the UDP sockets.
    pub(crate) port: u16,
    kernel: Kernel,
    taps: Taps,
    driving: JoinHandle<io::Result<()>>,
}

/// What clients want and do not get.
#[derive(Debug, Default)]
pub(crate) struct Lacks {
    pub(crate) networks: Problems,
    pub(crate) taps: TapProblems,
    pub(crate) nics: NicProblems,
}

impl DataPlane {
    /// Opens everything and routes nothing yet. The UDP port is `wanted`; if that
    /// is 0, `last` where it is still free: NATs and clients know it.
    pub(crate) fn open(runtime: &Handle, key: &PrivateKey, wanted: u16, last: u16) -> Result<Self> {
        let context = runtime.enter();
        let device = Device::create(MTU).context("create the tunnel interface")?;
        let interface = device.name().to_owned();
        let udp = bind(wanted, last)?;
        let port = udp.port();
        drop(context);
        let kernel = Kernel::new(&interface)?;
        let (driver, driving) = driver::start(Tunnel::new(key.clone()), device, udp);
        tracing::debug!(interface, port, "data plane opened");
        Ok(Self {
            driver,
            interface,
            port,
            kernel,
            taps: Taps::new(runtime),
            driving: runtime.spawn(driving),
        })
    }

    /// Brings kernel and tunnel to what these clients want now.
    pub(crate) async fn set(&mut self, clients: &BTreeMap<PublicKey, Client>) -> Result<Lacks> {
        let (networks, nics) = self.kernel.set(clients)?;
        let (inner, sources) = (kernel::inner(clients), kernel::sources(clients));
        let allowed: Vec<_> = clients
            .values()
            .map(|client| (client.peer, client.allowed_ips()))
            .collect();
        self.driver
            .call(move |tunnel, _| {
                tunnel.set_inner(inner);
                tunnel.set_sources(sources);
                for (peer, allowed) in allowed {
                    tunnel.set_allowed_ips(peer, &allowed);
                }
            })
            .await;
        Ok(Lacks {
            networks,
            taps: self.taps.set(&self.driver, clients).await,
            nics,
        })
    }

    /// Whether others may undo it without an announcement.
    pub(crate) const fn is_changed_silently(&self) -> bool {
        self.kernel.is_changed_silently()
    }

    /// Undoes what would outlive this process, except for what clients that are
    /// on their way back need.
    pub(crate) fn leave(&mut self, clients: &BTreeMap<PublicKey, Client>) -> Result<()> {
        self.kernel.leave(clients)
    }

    /// Undoes everything.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.taps.clear(&self.driver).await;
        let cleared = self.kernel.leave(&BTreeMap::new());
        self.driving.abort();
        // Aborted or ended before: either way the interface is gone now.
        let _ = self.driving.await;
        cleared
    }

    /// Returns when packets cannot be moved any more.
    pub(crate) async fn broken(&mut self) -> Result<()> {
        (&mut self.driving).await?.context("move packets")
    }
}

fn bind(wanted: u16, last: u16) -> Result<Udp> {
    if wanted == 0
        && last != 0
        && let Ok(udp) = Udp::bind(last)
    {
        return Ok(udp);
    }
    Udp::bind(wanted).with_context(|| format!("bind UDP port {wanted}"))
}
