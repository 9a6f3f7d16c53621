//! What a connection shows of itself.

use std::collections::BTreeMap;

use dtap_net::driver::Driver;
use dtap_tunnel::{HardwareAddress, Path, PeerId};

use crate::docker::Endpoint;
use crate::engines::Chosen;
use crate::ls::Listing;
use crate::plan::ContainerState;
use crate::status::{ConnectionStatus, Tap, TapState};
use crate::tap::Wish;

/// The state of one connection; counters are asked for when needed.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(super) status: ConnectionStatus,
    pub(super) containers: Vec<ContainerState>,
    pub(super) tunnel: Option<(Driver, PeerId)>,
    /// The VM's interfaces of Ethernet, as its server says.
    pub(super) nics: BTreeMap<HardwareAddress, String>,
    /// The engine's identity, once it is known.
    pub(super) engine: Option<String>,
    /// Where it is, once that is known.
    pub(super) endpoint: Option<Endpoint>,
    /// What was wanted when the taps became what the status says.
    pub(super) wishes: Vec<Wish>,
}

impl View {
    pub(super) fn new(name: &str) -> Self {
        Self {
            status: ConnectionStatus {
                name: name.to_owned(),
                ..ConnectionStatus::default()
            },
            containers: Vec::new(),
            tunnel: None,
            nics: BTreeMap::new(),
            engine: None,
            endpoint: None,
            wishes: Vec::new(),
        }
    }

    /// What `ls` shows of it.
    pub(super) fn listing(&self) -> Listing {
        Listing {
            name: self.status.name.clone(),
            engine: self.engine.clone(),
            containers: self.containers.clone(),
        }
    }

    /// What `uninstall` is to know of it.
    pub(super) fn chosen(&self) -> Chosen {
        Chosen {
            name: self.status.name.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// What became of an earlier wish is no answer to one that was not looked at yet.
    pub(super) fn hide_unplanned(&self, taps: &mut [Tap], wishes: &[Wish]) {
        for tap in taps {
            let name = &self.status.name;
            let mut meant = wishes.iter().filter(|it| it.network.is(name, &tap.network));
            if meant.any(|it| !self.wishes.contains(it)) {
                tap.state = TapState::Attaching;
                tap.reason = None;
            }
        }
    }

    /// The status with what the tunnel knows at this moment.
    pub(super) async fn live(&self) -> ConnectionStatus {
        let mut status = self.status.clone();
        let Some((driver, peer)) = &self.tunnel else {
            return status;
        };
        let peer = *peer;
        let known = driver.call(move |tunnel, _| tunnel.status(peer)).await;
        if let Some(known) = known.flatten() {
            set_path(&mut status, known.path);
            status.last_handshake_s = known.last_handshake.map(|it| it.as_secs());
            status.rx_bytes = Some(known.rx_bytes);
            status.tx_bytes = Some(known.tx_bytes);
        }
        status
    }
}

/// Names a path as `status` does.
pub(super) fn set_path(status: &mut ConnectionStatus, path: Option<Path>) {
    let (name, endpoint) = match path {
        None => (None, None),
        Some(Path::Session) => (Some("session"), None),
        Some(Path::Udp(address)) => (Some("udp"), Some(address.to_string())),
    };
    status.path = name.map(str::to_owned);
    status.endpoint = endpoint;
}
