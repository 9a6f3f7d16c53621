//! A container as the engine lists it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::models;

use super::leg::LEG_LABEL;
use super::network::address;

/// A container of the engine, running or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub running: bool,
    /// As in `docker run --network`: `default`, `host`, `none`, `container:ID` or a network's name or ID.
    pub network_mode: String,
    /// Sorted by the network's name.
    pub endpoints: Vec<Endpoint>,
    /// Ports the image or the user declared, published or not, such as `80/tcp`.
    pub ports: BTreeSet<Port>,
}

/// A container's place on one network. Without addresses while the container does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    pub network_id: String,
    pub network: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub ipv4_gateway: Option<Ipv4Addr>,
    pub ipv6_gateway: Option<Ipv6Addr>,
    pub aliases: Vec<String>,
}

/// A port inside a container; displayed as Docker does, `80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Container {
    /// Whether dtap made it to stand in overlay networks: no destination.
    pub fn is_leg(&self) -> bool {
        self.labels.contains_key(LEG_LABEL)
    }
}

impl Endpoint {
    /// The addresses of this endpoint, each with the gateway of its family.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, Option<IpAddr>)> {
        let ipv4 = self.ipv4.map(IpAddr::from);
        let ipv6 = self.ipv6.map(IpAddr::from);
        let ipv4_gateway = self.ipv4_gateway.map(IpAddr::from);
        let ipv6_gateway = self.ipv6_gateway.map(IpAddr::from);

        let ipv4 = ipv4.map(|address| (address, ipv4_gateway));
        let ipv6 = ipv6.map(|address| (address, ipv6_gateway));
        ipv4.into_iter().chain(ipv6)
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{protocol}", self.number)
    }
}

impl From<models::ContainerSummary> for Container {
    fn from(container: models::ContainerSummary) -> Self {
        let names = container.names.unwrap_or_default();
        let networks = container.network_settings.and_then(|it| it.networks);
        let ports = container.ports.unwrap_or_default();

        Self {
            id: container.id.unwrap_or_default(),
            name: own_name(&names).to_owned(),
            labels: container.labels.into_iter().flatten().collect(),
            running: container.state == Some(models::ContainerSummaryStateEnum::RUNNING),
            network_mode: container
                .host_config
                .and_then(|it| it.network_mode)
                .unwrap_or_default(),
            endpoints: endpoints(networks.unwrap_or_default()),
            ports: ports.iter().filter_map(port).collect(),
        }
    }
}

/// The engine lists `/other/alias` beside a container's own name where `--link` is in use.
fn own_name(names: &[String]) -> &str {
    let mut names = names.iter().map(|name| name.trim_start_matches('/'));

    names.find(|name| !name.contains('/')).unwrap_or_default()
}

fn endpoints(
    networks: std::collections::HashMap<String, models::EndpointSettings>,
) -> Vec<Endpoint> {
    let networks: BTreeMap<_, _> = networks.into_iter().collect();

    networks
        .into_iter()
        .map(|(network, settings)| Endpoint {
            network,
            network_id: settings.network_id.unwrap_or_default(),
            ipv4: ipv4(settings.ip_address),
            ipv6: ipv6(settings.global_ipv6_address),
            ipv4_gateway: ipv4(settings.gateway),
            ipv6_gateway: ipv6(settings.ipv6_gateway),
            aliases: settings.aliases.unwrap_or_default(),
        })
        .collect()
}

fn ipv4(text: Option<String>) -> Option<Ipv4Addr> {
    match address(&text?)? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn ipv6(text: Option<String>) -> Option<Ipv6Addr> {
    match address(&text?)? {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

fn port(summary: &models::PortSummary) -> Option<Port> {
    let protocol = match summary.typ? {
        models::PortSummaryTypeEnum::TCP => Protocol::Tcp,
        models::PortSummaryTypeEnum::UDP => Protocol::Udp,
        models::PortSummaryTypeEnum::SCTP => Protocol::Sctp,
        models::PortSummaryTypeEnum::EMPTY => return None,
    };

    Some(Port {
        number: summary.private_port,
        protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_container_keeps_its_own_name_addresses_and_ports() {
        let listed: models::ContainerSummary = serde_json::from_str(
            r#"{"Id":"c1","Names":["/db/web","/web"],"State":"running","Labels":{"k":"v"},
                "HostConfig":{"NetworkMode":"front"},
                "Ports":[{"PrivatePort":80,"PublicPort":8080,"Type":"tcp","IP":"0.0.0.0"},
                         {"PrivatePort":80,"PublicPort":8080,"Type":"tcp","IP":"::"},
                         {"PrivatePort":53,"Type":"udp"}],
                "NetworkSettings":{"Networks":{
                  "front":{"NetworkID":"n1","IPAddress":"172.18.0.2","Gateway":"172.18.0.1",
                           "GlobalIPv6Address":"fd00::2","IPv6Gateway":"","Aliases":null},
                  "back":{"NetworkID":"n2","IPAddress":"","Gateway":""}}}}"#,
        )
        .unwrap();

        let container = Container::from(listed);

        assert_eq!(container.name, "web");
        assert!(container.running);
        assert_eq!(container.network_mode, "front");
        let ports: Vec<_> = container.ports.iter().map(Port::to_string).collect();
        assert_eq!(ports, ["53/udp", "80/tcp"]);

        let [back, front] = container.endpoints.as_slice() else {
            panic!("two endpoints")
        };
        assert_eq!((back.network.as_str(), back.ipv4), ("back", None));
        let gateway: IpAddr = "172.18.0.1".parse().unwrap();
        assert_eq!(
            front.addresses().collect::<Vec<_>>(),
            [
                ("172.18.0.2".parse().unwrap(), Some(gateway)),
                ("fd00::2".parse().unwrap(), None),
            ]
        );
    }
}
