//! The leg: a container of ours that stands in overlay networks, which only the engine can let anything into.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;

use anyhow::Result;
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};
use tokio::io::AsyncWrite;

use super::server::SERVER_LABEL;
use super::{Engine, ImageId};

/// What a leg reads: it ends when nothing has come for a while.
pub struct LegInput(Pin<Box<dyn AsyncWrite + Send>>);

impl Engine {
    /// Creates and starts a leg for these addresses of a tunnel.
    pub async fn start_leg(&self, name: &str, image: &ImageId, hosts: &[IpAddr]) -> Result<()> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let creation = self
            .docker
            .create_container(Some(options), body(image, hosts));
        self.ask(&format!("create the leg '{name}'"), creation)
            .await?;
        let start = self
            .docker
            .start_container(name, None::<StartContainerOptions>);

        self.ask(&format!("start the leg '{name}'"), start).await
    }

    /// Where to write to a leg, as often as one likes.
    pub async fn leg_input(&self, name: &str) -> Result<LegInput> {
        let options = AttachContainerOptionsBuilder::new()
            .stream(true)
            .stdin(true)
            .build();
        let attachment = self.docker.attach_container(name, Some(options));
        let attached = self
            .ask(&format!("attach to the leg '{name}'"), attachment)
            .await?;

        Ok(LegInput(attached.input))
    }

    pub async fn connect_leg(&self, name: &str, network_id: &str) -> Result<()> {
        let request = NetworkConnectRequest {
            container: name.to_owned(),
            endpoint_config: None,
        };
        let connection = self.docker.connect_network(network_id, request);

        self.ask("connect the leg to the network", connection).await
    }

    /// A network or leg that is gone already is nothing to disconnect.
    pub async fn disconnect_leg(&self, name: &str, network_id: &str) -> Result<()> {
        let request = NetworkDisconnectRequest {
            container: name.to_owned(),
            force: Some(false),
        };
        let disconnection = self.docker.disconnect_network(network_id, request);

        self.ask_for("disconnect the leg from the network", disconnection)
            .await
            .map(|_| ())
    }

    /// Removes a leg, running or not, if it is there.
    pub async fn remove_leg(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let removal = self.docker.remove_container(name, Some(options));

        self.ask_for(&format!("remove the leg '{name}'"), removal)
            .await
            .map(|_| ())
    }

    /// Removes the legs of all clients.
    pub async fn remove_legs(&self) -> Result<()> {
        let filters = HashMap::from([("label".to_owned(), vec![LEG_LABEL.to_owned()])]);

        for leg in self.listed_containers(filters).await? {
            self.remove_leg(&leg.id.unwrap_or_default()).await?;
        }
        Ok(())
    }
}

impl LegInput {
    /// Lets the leg live on.
    pub async fn beat(&mut self) -> std::io::Result<()> {
        use tokio::io::AsyncWriteExt as _;

        self.0.write_all(b"\n").await?;
        self.0.flush().await
    }
}

impl std::fmt::Debug for LegInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegInput").finish_non_exhaustive()
    }
}

/// Whatever the image says about servers does not hold for it: label, volume and health check.
fn body(image: &ImageId, hosts: &[IpAddr]) -> ContainerCreateBody {
    let hosts = hosts.iter().map(|host| format!("--host={host}"));
    let health = HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    };
    let labels = [(LEG_LABEL, "1"), (SERVER_LABEL, "0")];
    let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());

    ContainerCreateBody {
        image: Some(image.as_str().to_owned()),
        cmd: Some(std::iter::once("leg".to_owned()).chain(hosts).collect()),
        labels: Some(labels.map(text).into()),
        healthcheck: Some(health),
        attach_stdin: Some(false),
        open_stdin: Some(true),
        // Who attaches after a restart of the engine continues where another was cut off.
        stdin_once: Some(false),
        host_config: Some(HostConfig {
            network_mode: Some(UPLINK.to_owned()),
            auto_remove: Some(true),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(vec!["NET_ADMIN".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            sysctls: Some(HashMap::from([text(("net.ipv4.ip_forward", "1"))])),
            tmpfs: Some(HashMap::from([text(("/var/lib/dtap", ""))])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Marks a leg. Nobody's destination, and no server.
pub const LEG_LABEL: &str = "dtap.leg";
/// The network between the leg and the engine's machine.
pub const UPLINK: &str = "bridge";
