//! What a swarm's node knows of overlay networks beyond their listing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use anyhow::Result;
use bollard::models::{NetworkInspect, ServiceInfo, Task, TaskState};
use bollard::query_parameters::{InspectNetworkOptionsBuilder, ListTasksOptionsBuilder};

use super::network::address;
use super::{Container, Engine, Network};

/// An engine's view of its swarm, whether it is a manager or a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swarm {
    /// Who is on overlay networks elsewhere, by network ID.
    pub remote: BTreeMap<String, BTreeSet<Remote>>,
    /// Where containers of this node leave overlay networks for the engine's machine: their addresses on
    /// [`GATEWAY_BRIDGE`], by container ID.
    pub exits: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// Something on another node that has an address on an overlay network, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// As managers list it: a service's, or what stands for a plain container.
    Task { id: String },
    /// As the nodes tell each other. Only those that are on a network themselves hear of it.
    Endpoint { name: String, address: IpAddr },
}

impl Engine {
    /// What is known of these networks; the containers are those of this node.
    pub async fn swarm(&self, networks: &[Network], containers: &[Container]) -> Result<Swarm> {
        let overlays: Vec<_> = networks.iter().filter(|it| it.is_overlay()).collect();
        if overlays.is_empty() {
            return Ok(Swarm::default());
        }
        let exits = self.exits().await?;
        // Managers that have lost each other answer no question; that is no reason to reach nothing at all.
        let mut remote = self.tasks().await.unwrap_or_else(|error| {
            tracing::debug!("{error:#}");
            BTreeMap::new()
        });
        for network in overlays {
            let known = self.endpoints(network, containers).await?;
            remote.entry(network.id.clone()).or_default().extend(known);
        }
        Ok(Swarm { remote, exits })
    }

    /// Running tasks of other nodes by network ID; none on a worker, which is not told.
    async fn tasks(&self) -> Result<BTreeMap<String, BTreeSet<Remote>>> {
        let info = self
            .ask("ask for the swarm", self.docker.info())
            .await?
            .swarm
            .unwrap_or_default();
        if info.control_available != Some(true) {
            return Ok(BTreeMap::new());
        }
        let own = info.node_id.unwrap_or_default();
        // Without the filter, what stands for plain containers is left out.
        let runtimes = vec!["attachment", "container"];
        let filters = HashMap::from([("desired-state", vec!["running"]), ("runtime", runtimes)]);
        let options = ListTasksOptionsBuilder::new().filters(&filters).build();
        let tasks = self.docker.list_tasks(Some(options));
        let mut remote: BTreeMap<String, BTreeSet<Remote>> = BTreeMap::new();

        for task in self.ask("list the swarm's tasks", tasks).await? {
            if task.node_id.as_deref() == Some(&own) || !is_running(&task) {
                continue;
            }
            let networks = task.spec.and_then(|it| it.networks).unwrap_or_default();
            for id in networks.into_iter().filter_map(|it| it.target) {
                let task = Remote::Task {
                    id: task.id.clone().unwrap_or_default(),
                };
                remote.entry(id).or_default().insert(task);
            }
        }
        Ok(remote)
    }

    async fn exits(&self) -> Result<BTreeMap<String, BTreeSet<IpAddr>>> {
        let gateway = self.inspected_network(GATEWAY_BRIDGE).await?;
        let endpoints = gateway.and_then(|it| it.containers).unwrap_or_default();

        Ok(endpoints
            .into_iter()
            .map(|(container, endpoint)| {
                let texts = [endpoint.ipv4_address, endpoint.ipv6_address];
                let addresses = texts.into_iter().flatten();
                (container, addresses.filter_map(|it| address(&it)).collect())
            })
            .collect())
    }

    /// What the network's nodes have told this one of others. They tell it while it is on the network itself.
    async fn endpoints(
        &self,
        network: &Network,
        containers: &[Container],
    ) -> Result<BTreeSet<Remote>> {
        let mut places = containers.iter().flat_map(|it| &it.endpoints);
        if !places.any(|it| it.network_id == network.id) {
            return Ok(BTreeSet::new());
        }
        let inspection = self.inspected_network(&network.id).await?;

        Ok(inspection.map(elsewhere).unwrap_or_default())
    }

    async fn inspected_network(&self, id_or_name: &str) -> Result<Option<NetworkInspect>> {
        let options = InspectNetworkOptionsBuilder::new().verbose(true).build();
        let inspection = self.docker.inspect_network(id_or_name, Some(options));

        self.ask_for(&format!("inspect network '{id_or_name}'"), inspection)
            .await
    }
}

fn is_running(task: &Task) -> bool {
    let state = task.status.as_ref().and_then(|it| it.state);

    state == Some(TaskState::RUNNING)
}

/// The endpoints of other nodes, as far as the listing has an address for them.
fn elsewhere(network: NetworkInspect) -> BTreeSet<Remote> {
    let own = network.containers.unwrap_or_default().into_values();
    let own: BTreeSet<_> = own.filter_map(|it| it.endpoint_id).collect();
    let services = network.services.unwrap_or_default().into_values();

    services
        .filter_map(|it| serde_json::from_value::<ServiceInfo>(it).ok())
        .flat_map(|it| it.tasks.unwrap_or_default())
        .filter(|it| it.endpoint_id.as_ref().is_none_or(|id| !own.contains(id)))
        .filter_map(|task| {
            Some(Remote::Endpoint {
                name: task.name?,
                address: address(&task.endpoint_ip?)?,
            })
        })
        .collect()
}

/// The bridge by which containers of overlay networks reach the world.
pub const GATEWAY_BRIDGE: &str = "docker_gwbridge";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbose_inspection_names_what_runs_on_other_nodes() {
        let inspection: NetworkInspect = serde_json::from_str(
            r#"{"Name":"ov","Id":"n1",
                "Containers":{"c1":{"Name":"here","EndpointID":"e1","IPv4Address":"10.0.9.2/24"}},
                "Services":{"":{"VIP":"<nil>","Ports":[],"LocalLBIndex":0,"Tasks":[
                {"Name":"here","EndpointID":"e1","EndpointIP":"10.0.9.2","Info":{"Host IP":"192.168.107.2"}},
                {"Name":"there","EndpointID":"e2","EndpointIP":"10.0.9.4","Info":{"Host IP":"192.168.107.3"}},
                {"Name":"nowhere","EndpointID":"e3","EndpointIP":"<nil>","Info":{}}]}}}"#,
        )
        .unwrap();

        let there = Remote::Endpoint {
            name: "there".to_owned(),
            address: "10.0.9.4".parse().unwrap(),
        };
        assert_eq!(elsewhere(inspection), BTreeSet::from([there]));
    }
}
