//! A server container that has the lock of iptables, in the place of one that has not.
//!
//! Only an engine that filters by iptables-legacy needs it, and only there the file is sure to exist: on any other it would
//! have to be made first, and that changes the engine's machine.

use anyhow::{Result, bail};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, Mount, MountType,
};
use bollard::query_parameters::RenameContainerOptionsBuilder;
use dtap_tunnel::session::XTABLES_LOCK;

use super::engine::{CONFLICT, status};
use super::{Engine, ServerContainer};

impl Engine {
    /// Replaces the server container by one that differs in this file only: image, settings and volume stay. On an error the
    /// old one runs as before.
    pub async fn equip_server(&self, server: &ServerContainer) -> Result<()> {
        let Some(inspected) = self.inspect(&server.id).await? else {
            return Ok(());
        };
        if has_lock(&inspected) {
            bail!(
                "the server container {} has {XTABLES_LOCK} already",
                server.name
            );
        }
        let body = with_lock(inspected, server);
        let Some(successor) = self.create_or_adopt(SUCCESSOR, &body).await? else {
            bail!("another container is called {SUCCESSOR}: remove or rename it");
        };
        // Another client, which has the same in mind, keeps that name until the old container is gone.
        if self.inspect(&server.id).await?.is_none() {
            return self.remove_server(&successor).await;
        }
        self.stop_server(server).await?;
        if let Err(error) = self.start_server(&successor).await {
            let removed = self.remove_server(&successor).await;
            self.start_server(server).await?;
            removed?;
            return Err(error);
        }
        self.remove_server(server).await?;
        self.rename(&successor, &server.name).await
    }

    /// Gives it this name, unless it is taken or somebody else has done so.
    async fn rename(&self, server: &ServerContainer, name: &str) -> Result<()> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let renaming = self.docker.rename_container(&server.id, options);

        self.ask_for("rename the server container", async {
            match renaming.await {
                Err(error) if status(&error) == Some(CONFLICT) => Ok(()),
                result => result,
            }
        })
        .await?;
        Ok(())
    }
}

fn with_lock(container: ContainerInspectResponse, server: &ServerContainer) -> ContainerCreateBody {
    let config = container.config.unwrap_or_default();
    let mut host = container.host_config.unwrap_or_default();
    // Read-only is enough to lock it.
    host.mounts.get_or_insert_default().push(Mount {
        target: Some(XTABLES_LOCK.to_owned()),
        source: Some(XTABLES_LOCK.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(true),
        ..Mount::default()
    });

    ContainerCreateBody {
        image: Some(server.image.as_str().to_owned()),
        user: config.user,
        env: config.env,
        cmd: config.cmd,
        entrypoint: config.entrypoint,
        healthcheck: config.healthcheck,
        labels: config.labels,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        volumes: config.volumes,
        working_dir: config.working_dir,
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn has_lock(container: &ContainerInspectResponse) -> bool {
    let HostConfig { binds, mounts, .. } = container.host_config.clone().unwrap_or_default();
    let mut targets = mounts.iter().flatten().map(|it| it.target.as_deref());
    let is_bound = |bind: &String| bind.split(':').nth(1) == Some(XTABLES_LOCK);

    targets.any(|target| target == Some(XTABLES_LOCK)) || binds.iter().flatten().any(is_bound)
}

/// Until it can have its predecessor's.
const SUCCESSOR: &str = "dtap-server-next";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::{ImageId, ServerState};

    #[test]
    fn what_the_user_chose_stays() {
        let container = container(
            r#"{"Image":"sha256:1","Config":{"Image":"dtap/server","Env":["DTAP_PORT=4711"],"Labels":{"dtap.server":"1"}},
                "HostConfig":{"NetworkMode":"host","CapAdd":["NET_ADMIN"],"Binds":["other:/var/lib/dtap"],
                              "Mounts":[{"Type":"bind","Source":"/a","Target":"/b"}]}}"#,
        );
        let server = ServerContainer {
            id: "1".to_owned(),
            name: "dtap".to_owned(),
            state: ServerState::Running,
            image: ImageId::new("sha256:1".to_owned()),
            health: None,
            exit_code: None,
            host_network: true,
        };

        let body = with_lock(container, &server);

        assert_eq!(
            body.image.as_deref(),
            Some("sha256:1"),
            "not another of the same tag"
        );
        assert_eq!(body.env, Some(vec!["DTAP_PORT=4711".to_owned()]));
        assert!(body.labels.unwrap().contains_key("dtap.server"));
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        assert_eq!(host.binds, Some(vec!["other:/var/lib/dtap".to_owned()]));
        let targets: Vec<_> = host
            .mounts
            .iter()
            .flatten()
            .map(|it| it.target.as_deref())
            .collect();
        assert_eq!(targets, [Some("/b"), Some(XTABLES_LOCK)]);
    }

    #[test]
    fn a_lock_is_seen_however_it_was_mounted() {
        for host in [
            r#"{"Binds":["/run/xtables.lock:/run/xtables.lock:ro"]}"#,
            r#"{"Mounts":[{"Type":"bind","Source":"/run/xtables.lock","Target":"/run/xtables.lock"}]}"#,
        ] {
            assert!(
                has_lock(&container(&format!(r#"{{"HostConfig":{host}}}"#))),
                "{host}"
            );
        }
        assert!(!has_lock(&container(
            r#"{"HostConfig":{"Binds":["/run/xtables.lock:/tmp/lock"]}}"#
        )));
        assert!(!has_lock(&container("{}")));
    }

    fn container(inspected: &str) -> ContainerInspectResponse {
        serde_json::from_str(inspected).unwrap()
    }
}
