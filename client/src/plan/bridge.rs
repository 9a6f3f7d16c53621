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
///
/// Docker disables IPv6 on a bridge without an IPv6 address. `br_netfilter` hands replies to a masqueraded address to
/// the bridge itself (the kernel's `br_nf_pre_routing_finish_ipv6`), and so to nobody; without masquerade the
/// container, which has no gateway, does not reply.
pub(super) fn obstacle(network: &Network, subnet: IpNet, reach: Reach) -> Option<String> {
    if !is_bare(network, subnet) {
        return None;
    }
    match (reach, subnet) {
        (Reach::Direct, _) => Some(format!(
            "{subnet} has no address on its bridge: this host itself has no way to its containers"
        )),
        (Reach::Tunnel, IpNet::V6(_)) => Some(format!(
            "{subnet} is isolated: its bridge is closed to IPv6"
        )),
        (Reach::Tunnel, IpNet::V4(_)) => None,
    }
}
