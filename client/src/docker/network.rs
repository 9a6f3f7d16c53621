//! A Docker network as the engine lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bollard::models;
use ipnet::IpNet;

/// A network of the engine, whatever its driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub id: String,
    pub name: String,
    /// `bridge`, `host`, `null`, `overlay`, `macvlan`, `ipvlan` or a plugin's name.
    pub driver: String,
    /// `local` or `swarm`.
    pub scope: String,
    /// Created with `--internal`: its containers have no default route.
    pub internal: bool,
    /// Of a swarm's network: whether others than its services' containers may join.
    pub attachable: bool,
    /// The swarm's own network for published ports.
    pub ingress: bool,
    /// A template for other networks (`--config-only`), which no container can join.
    pub config_only: bool,
    pub subnets: Vec<Subnet>,
    /// Addresses that the user has reserved for others than containers (`--aux-address`).
    pub auxiliary: BTreeSet<IpAddr>,
    /// The driver's options, as given with `-o`.
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// One address pool of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    pub prefix: IpNet,
    /// The address of the engine's bridge, unless the network has none.
    pub gateway: Option<IpAddr>,
    /// Where containers' addresses are taken from, if not from all of it (`--ip-range`).
    pub range: Option<IpNet>,
}

impl Network {
    /// Whether it spans the nodes of a swarm and containers can be on it.
    pub fn is_overlay(&self) -> bool {
        self.driver == "overlay" && !self.ingress
    }

    /// The interface of a bridge network in the engine's network namespace.
    ///
    /// Docker names it `br-` and the first 12 digits of the network's ID unless an option names it; the
    /// network `bridge` always has that option (`docker0`).
    pub fn bridge_interface(&self) -> String {
        match self.options.get(BRIDGE_NAME_OPTION) {
            Some(name) if !name.is_empty() => name.clone(),
            Some(_) | None => format!("br-{}", self.id.get(..12).unwrap_or(&self.id)),
        }
    }

    /// Whether the firewall lets nothing pass from one port of its bridge to another.
    pub fn is_mute(&self) -> bool {
        let is_allowed = self.options.get(ICC_OPTION).map(String::as_str);
        // What Go's `strconv.ParseBool` takes for false.
        matches!(
            is_allowed,
            Some("0" | "f" | "F" | "false" | "False" | "FALSE")
        )
    }
}

impl From<models::Network> for Network {
    fn from(network: models::Network) -> Self {
        let pools = network.ipam.and_then(|ipam| ipam.config);
        let pools = pools.unwrap_or_default();
        let auxiliary = pools
            .iter()
            .flat_map(|it| it.auxiliary_addresses.iter().flatten());
        let auxiliary = auxiliary.filter_map(|(_, text)| address(text)).collect();
        let subnets = pools.into_iter();

        Self {
            id: network.id.unwrap_or_default(),
            name: network.name.unwrap_or_default(),
            driver: network.driver.unwrap_or_default(),
            scope: network.scope.unwrap_or_default(),
            internal: network.internal.unwrap_or_default(),
            attachable: network.attachable.unwrap_or_default(),
            ingress: network.ingress.unwrap_or_default(),
            config_only: network.config_only.unwrap_or_default(),
            subnets: subnets.filter_map(subnet).collect(),
            auxiliary,
            options: network.options.into_iter().flatten().collect(),
            labels: network.labels.into_iter().flatten().collect(),
        }
    }
}

fn subnet(pool: models::IpamConfig) -> Option<Subnet> {
    let prefix: IpNet = pool.subnet?.parse().ok()?;

    Some(Subnet {
        prefix: prefix.trunc(),
        gateway: pool.gateway.and_then(|gateway| address(&gateway)),
        range: pool.ip_range.and_then(|range| range.parse().ok()),
    })
}

/// Reads an address as engines write it: absent is empty, and some add the prefix length.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

const ICC_OPTION: &str = "com.docker.network.bridge.enable_icc";
const BRIDGE_NAME_OPTION: &str = "com.docker.network.bridge.name";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_named_by_its_option_or_after_its_id() {
        let mut network = Network {
            id: "0123456789abcdef".into(),
            ..Network::default()
        };
        assert_eq!(network.bridge_interface(), "br-0123456789ab");

        network
            .options
            .insert(BRIDGE_NAME_OPTION.into(), "docker0".into());
        assert_eq!(network.bridge_interface(), "docker0");
    }

    #[test]
    fn a_bridge_is_mute_where_containers_may_not_speak_to_one_another() {
        let with = |icc: &str| Network {
            options: [(ICC_OPTION.into(), icc.into())].into(),
            ..Network::default()
        };
        assert!(with("false").is_mute() && with("0").is_mute());
        assert!(!with("true").is_mute() && !Network::default().is_mute());
    }

    #[test]
    fn a_listed_network_keeps_its_pools_and_drops_what_is_no_prefix() {
        let listed: models::Network = serde_json::from_str(
            r#"{"Name":"web","Id":"abc","Driver":"bridge","Scope":"local","Internal":true,"EnableIPv6":true,
                "IPAM":{"Config":[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1","IPRange":"172.18.9.0/24",
                                   "AuxiliaryAddresses":{"router":"172.18.0.9"}},
                                  {"Subnet":"fd00:1::/64","Gateway":"fd00:1::1/64"},{"Subnet":""}]},
                "Options":{"com.docker.network.bridge.name":"br9"},"Labels":{"a":"b"}}"#,
        )
        .unwrap();

        let network = Network::from(listed);

        assert!(network.internal);
        assert_eq!(network.auxiliary, ["172.18.0.9".parse().unwrap()].into());
        assert_eq!(network.bridge_interface(), "br9");
        assert_eq!(
            network.subnets,
            [
                Subnet {
                    prefix: "172.18.0.0/16".parse().unwrap(),
                    gateway: Some("172.18.0.1".parse().unwrap()),
                    range: Some("172.18.9.0/24".parse().unwrap()),
                },
                Subnet {
                    prefix: "fd00:1::/64".parse().unwrap(),
                    gateway: Some("fd00:1::1".parse().unwrap()),
                    range: None,
                },
            ]
        );
    }
}
