//! Networks whose containers share a parent interface: macvlan and ipvlan.

use dtap_tunnel::session::SiblingKind;

use super::Reach;
use crate::docker::Network;

/// What an interface beside the containers' must be; `None` for a network of another driver.
pub(super) fn kind(network: &Network) -> Option<SiblingKind> {
    match network.driver.as_str() {
        "macvlan" => Some(SiblingKind::Macvlan),
        "ipvlan" => Some(match option(network, "ipvlan_mode") {
            Some("l3") => SiblingKind::IpvlanL3,
            Some("l3s") => SiblingKind::IpvlanL3s,
            Some(_) | None => SiblingKind::IpvlanL2,
        }),
        _ => None,
    }
}

/// The parent's name. Docker makes a dummy one, named after the network's ID, where the user names none (moby's
/// `drivers/macvlan/macvlan_setup.go` and `drivers/ipvlan/ipvlan_setup.go`).
pub(super) fn interface(network: &Network) -> String {
    if let Some(parent) = option(network, "parent").filter(|it| !it.is_empty()) {
        return parent.to_owned();
    }
    let prefix = match network.driver.as_str() {
        "ipvlan" => "di-",
        _ => "dm-",
    };
    format!("{prefix}{}", network.id.get(..12).unwrap_or(&network.id))
}

/// Why nobody gets to the containers, if so.
///
/// The kernel hands nothing from a parent interface's own machine to the interfaces it has below it
/// (`drivers/net/macvlan.c`, `Documentation/networking/ipvlan.rst`); one beside them would get through, but dtap makes
/// none on this host.
pub(super) fn obstacle(network: &Network, reach: Reach) -> Option<String> {
    match reach {
        Reach::Direct => Some(format!(
            "{}: this host itself has no way to its containers",
            network.driver
        )),
        Reach::Tunnel | Reach::Nic => isolation(network),
    }
}

/// Why no interface beside the containers' could talk to them, if so.
fn isolation(network: &Network) -> Option<String> {
    let mode = option(network, "macvlan_mode").or_else(|| option(network, "ipvlan_flag"))?;
    let why = match mode {
        "private" => "containers on it talk to nobody on their own parent interface",
        "passthru" => "its only container has the parent interface for itself",
        "vepa" => "its traffic leaves for a switch outside, even between containers",
        _ => return None,
    };
    Some(format!("{} mode '{mode}': {why}", network.driver))
}

/// The driver's options, which were given with `-o`; `mode` had its long name from the start.
fn option<'a>(network: &'a Network, name: &str) -> Option<&'a str> {
    network.options.get(name).map(String::as_str)
}
