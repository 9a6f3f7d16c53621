//! dtap's server container.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, bail};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum,
    DeviceMapping, HealthStatusEnum, HostConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder,
    RemoveVolumeOptions, StartContainerOptions, StopContainerOptionsBuilder,
};

use super::engine::{CONFLICT, status};
use super::leg::LEG_LABEL;
use super::{Engine, ImageId};

/// The container that forwards between tunnel and networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerContainer {
    pub id: String,
    pub name: String,
    pub state: ServerState,
    /// The image it was created from.
    pub image: ImageId,
    /// Absent where its image has no health check, and while it does not run.
    pub health: Option<Health>,
    /// How its process ended, if it did.
    pub exit_code: Option<i64>,
    /// Whether it is in the engine's own network namespace, as it must be.
    pub host_network: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    Created,
    Running,
    Paused,
    /// Ended and about to be started again by the engine.
    Restarting,
    Exited,
    /// Being removed, or half removed.
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

impl Engine {
    /// The server container, found by its label. Of several, the one that runs, else the youngest.
    pub async fn server(&self) -> Result<Option<ServerContainer>> {
        let filters = HashMap::from([("label".to_owned(), vec![SERVER_LABEL.to_owned()])]);
        let mut servers = Vec::new();

        for container in self.listed_containers(filters).await? {
            // The image's label is on it, too.
            if has_label(container.labels.as_ref(), LEG_LABEL) {
                continue;
            }
            let id = container.id.unwrap_or_default();
            if let Some(server) = self.inspected(&id).await? {
                servers.push((
                    server.state == ServerState::Running,
                    container.created,
                    server,
                ));
            }
        }
        servers.sort_by_key(|(is_running, created, _)| (*is_running, *created));

        Ok(servers.pop().map(|(_, _, server)| server))
    }

    /// Creates the server container, or returns the one that somebody else created. Does not start it.
    ///
    /// A name that a stranger's container has is left to it.
    pub async fn create_server(&self, image: &ImageId) -> Result<ServerContainer> {
        for name in NAMES {
            if let Some(server) = self.create_or_adopt(name, &body(image)).await? {
                return Ok(server);
            }
        }
        bail!(
            "create the server container: other containers have all of its names ({}): remove or rename one",
            NAMES.join(", ")
        )
    }

    /// Starts the server container, or lets a paused one go on; one that runs already is left alone.
    pub async fn start_server(&self, server: &ServerContainer) -> Result<()> {
        if server.state == ServerState::Paused {
            let attempt = format!("unpause the server container '{}'", server.name);
            let unpause = self.docker.unpause_container(&server.id);
            return self.ask(&attempt, unpause).await;
        }
        let attempt = format!("start the server container '{}'", server.name);
        let start = self
            .docker
            .start_container(&server.id, None::<StartContainerOptions>);

        match self.ask(&attempt, start).await {
            Err(error) if lacks_tun(&error) => Err(error.context(
                "the engine's machine has no /dev/net/tun: load its module there with `modprobe tun`",
            )),
            result => result,
        }
    }

    /// Lets the server undo its kernel state and end. One that does not run, or is gone, is none to stop.
    pub async fn stop_server(&self, server: &ServerContainer) -> Result<()> {
        let options = StopContainerOptionsBuilder::new().t(STOP_SECONDS).build();
        let stop = self.docker.stop_container(&server.id, Some(options));
        self.ask_for(
            &format!("stop the server container '{}'", server.name),
            stop,
        )
        .await?;
        Ok(())
    }

    /// Stops and removes the server container, but not its volume. One that is gone already is none to remove.
    pub async fn remove_server(&self, server: &ServerContainer) -> Result<()> {
        // Removal alone would kill it before it has undone its kernel state.
        self.stop_server(server).await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removal = self.docker.remove_container(&server.id, Some(options));
        let attempt = format!("remove the server container '{}'", server.name);
        self.ask_for(&attempt, removal).await?;
        Ok(())
    }

    /// Removes the volume with the server's keys and address assignments, if it is there.
    pub async fn remove_volume(&self) -> Result<()> {
        let removal = self
            .docker
            .remove_volume(VOLUME, None::<RemoveVolumeOptions>);

        self.ask_for(&format!("remove volume '{VOLUME}'"), removal)
            .await?;
        Ok(())
    }

    /// The server container of this name, created if nobody has the name; `None` if a stranger has it.
    pub(super) async fn create_or_adopt(
        &self,
        name: &str,
        body: &ContainerCreateBody,
    ) -> Result<Option<ServerContainer>> {
        let mut reserved = None;

        for _ in 0..RESERVATION_CHECKS {
            match self.create(name, body).await? {
                Creation::Done(id) => return self.inspected(&id).await,
                Creation::NameTaken(reason) => reserved = Some(reason),
            }
            if let Some(owner) = self.inspect(name).await? {
                let is_server = is_labelled(&owner);
                return Ok(is_server.then(|| server_container(owner)));
            }
            // Another client's request has reserved the name, and its container is not there yet.
            tokio::time::sleep(RESERVATION_CHECK_INTERVAL).await;
        }
        bail!(
            "create the server container '{name}': {}",
            reserved.unwrap_or_default()
        )
    }

    async fn create(&self, name: &str, body: &ContainerCreateBody) -> Result<Creation> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let creation = self.docker.create_container(Some(options), body.clone());

        self.ask("create the server container", async {
            match creation.await {
                Ok(created) => Ok(Creation::Done(created.id)),
                Err(error) if status(&error) == Some(CONFLICT) => {
                    Ok(Creation::NameTaken(error.to_string()))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn inspected(&self, id: &str) -> Result<Option<ServerContainer>> {
        Ok(self.inspect(id).await?.map(server_container))
    }

    pub(super) async fn inspect(
        &self,
        id_or_name: &str,
    ) -> Result<Option<ContainerInspectResponse>> {
        let inspection = self
            .docker
            .inspect_container(id_or_name, None::<InspectContainerOptions>);

        self.ask_for("inspect the server container", inspection)
            .await
    }
}

enum Creation {
    /// With the container's ID.
    Done(String),
    /// In the engine's words.
    NameTaken(String),
}

/// Least privilege, and nothing that changes on the engine's machine but the volume.
///
/// No `extra_hosts`: with any, Docker discards the VM's own hosts file, where Lima keeps `host.lima.internal`.
fn body(image: &ImageId) -> ContainerCreateBody {
    let tun = DeviceMapping {
        path_on_host: Some(TUN.to_owned()),
        path_in_container: Some(TUN.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    };
    let restart = RestartPolicy {
        name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
        maximum_retry_count: None,
    };

    ContainerCreateBody {
        image: Some(image.as_str().to_owned()),
        labels: Some(HashMap::from([(SERVER_LABEL.to_owned(), "1".to_owned())])),
        host_config: Some(HostConfig {
            network_mode: Some(HOST_NETWORK.to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(vec!["NET_ADMIN".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            restart_policy: Some(restart),
            devices: Some(vec![tun]),
            binds: Some(vec![format!("{VOLUME}:{STATE_DIRECTORY}")]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// runc names the device it cannot find, in every version's own words around it.
fn lacks_tun(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");

    text.contains(TUN) && text.contains("no such file or directory")
}

fn is_labelled(container: &ContainerInspectResponse) -> bool {
    let labels = container.config.as_ref().and_then(|it| it.labels.as_ref());

    has_label(labels, SERVER_LABEL) && !has_label(labels, LEG_LABEL)
}

fn has_label(labels: Option<&HashMap<String, String>>, label: &str) -> bool {
    labels.is_some_and(|it| it.contains_key(label))
}

fn server_container(container: ContainerInspectResponse) -> ServerContainer {
    let state = container.state.unwrap_or_default();
    let network_mode = container.host_config.and_then(|it| it.network_mode);
    let name = container.name.unwrap_or_default();
    let lifecycle = lifecycle(&state);

    ServerContainer {
        id: container.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        state: lifecycle,
        image: ImageId::new(container.image.unwrap_or_default()),
        health: health(&state),
        exit_code: state
            .exit_code
            .filter(|_| lifecycle != ServerState::Running),
        host_network: network_mode.as_deref() == Some(HOST_NETWORK),
    }
}

fn lifecycle(state: &ContainerState) -> ServerState {
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => ServerState::Running,
        Some(ContainerStateStatusEnum::PAUSED) => ServerState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => ServerState::Restarting,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::STOPPING) => {
            ServerState::Exited
        }
        Some(ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD) => {
            ServerState::Dead
        }
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => {
            ServerState::Created
        }
    }
}

fn health(state: &ContainerState) -> Option<Health> {
    match state.health.as_ref()?.status? {
        HealthStatusEnum::STARTING => Some(Health::Starting),
        HealthStatusEnum::HEALTHY => Some(Health::Healthy),
        HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
        HealthStatusEnum::NONE | HealthStatusEnum::EMPTY => None,
    }
}

pub(super) const SERVER_LABEL: &str = "dtap.server";
const NAMES: [&str; 3] = ["dtap", "dtap-server", "dtap-server-2"];
pub(super) const VOLUME: &str = "dtap";
const STATE_DIRECTORY: &str = "/var/lib/dtap";
const TUN: &str = "/dev/net/tun";

/// Together 5 s: creating a container takes less than one, except on a machine that is very busy.
const RESERVATION_CHECKS: u32 = 50;
const RESERVATION_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the server may take to undo its kernel state, before it is killed.
const STOP_SECONDS: i32 = 5;
const HOST_NETWORK: &str = "host";
