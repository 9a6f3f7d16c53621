//! Bridges that Docker gives no address.

use ipnet::IpNet;

use super::Reach;
use crate::docker::Network;

/// Whether the bridge has no address of the subnet's family.
///
/// Options of the bridge driver: `inhibit_ipv4` since 20.10, `gateway_mode_ipv4|6=isolated` since 27.1.
pub(super) fn is_bare(network: &Network, subnet: IpNet) -> bool {
    let option = |name: &str| {
        let name = format!("com.docker.network.bridge.{name}");
        network.options.get(&name).map(String::as_str)
    };

    match subnet {
        IpNet::V4(_) => {
            option("gateway_mode_ipv4") == Some("isolated")
                || option("inhibit_ipv4") == Some("true")
        }
        IpNet::V6(_) => option("gateway_mode_ipv6") == Some("isolated"),
    }
}

/// Why a subnet of a bridge network cannot be reached, if so.
pub(super) fn obstacle(network: &Network, subnet: IpNet, reach: Reach) -> Option<String> {
    match reach {
        Reach::Direct if is_bare(network, subnet) => Some(format!(
            "{subnet} has no address on its bridge: this host itself has no way to its containers"
        )),
        Reach::Direct | Reach::Tunnel | Reach::Nic => None,
    }
}
