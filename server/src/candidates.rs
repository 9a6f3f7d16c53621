//! Where the two ends may find each other by UDP, as seen from the VM.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dtap_net::router;
use dtap_net::udp::is_dialable;

/// Names by which runtimes let the VM reach the host: Docker Desktop and
/// OrbStack, Lima and Colima, Podman.
const HOST_NAMES: [&str; 3] = [
    "host.docker.internal",
    "host.lima.internal",
    "host.containers.internal",
];

/// The VM's own addresses, at the tunnel's port, for the client to dial.
pub(crate) fn of_server(interface: &str, port: u16) -> Vec<SocketAddr> {
    let addresses = router::addresses().unwrap_or_default();
    addresses
        .iter()
        .filter(|(name, net)| name != interface && is_dialable(net.addr()))
        .map(|(_, net)| SocketAddr::new(net.addr(), port))
        .collect()
}

/// The VM's default gateways, at the host's port: on many runtimes the
/// gateway is the host.
pub(crate) fn gateways(port: u16) -> BTreeSet<SocketAddr> {
    let routes = router::routes().unwrap_or_default();
    routes
        .iter()
        .filter(|route| route.destination.prefix_len() == 0)
        .filter_map(|route| route.gateway)
        .map(|gateway| SocketAddr::new(gateway, port))
        .collect()
}

/// What one of [`HOST_NAMES`] resolves to in the VM; may take seconds where a
/// resolver does not answer.
pub(crate) async fn resolve(name: &'static str, port: u16) -> BTreeSet<SocketAddr> {
    match tokio::net::lookup_host((name, port)).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            tracing::debug!(name, %error, "no such host name");
            BTreeSet::new()
        }
    }
}

pub(crate) const fn host_names() -> [&'static str; 3] {
    HOST_NAMES
}
