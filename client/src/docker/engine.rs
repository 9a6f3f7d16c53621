//! A connection to an engine, and what it has.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bollard::query_parameters::{ListContainersOptionsBuilder, ListNetworksOptions};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker, errors::Error};

use super::endpoint::Endpoint;
use super::find::Target;
use super::{Container, Network, dial, refusal};

/// Talks to one engine. Clones share its connections.
///
/// No request waits for ever on a dead engine: each ends within 10 s, loading an image within 2 minutes.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    pub(super) route: Arc<dial::Route>,
    endpoint: Arc<Endpoint>,
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The host name of the engine's machine, such as `docker-desktop`.
    pub name: String,
    /// Such as `28.5.2`.
    pub version: String,
    /// The version of the API that is spoken, such as `1.51`.
    pub api_version: String,
    /// As Docker names it: `amd64`, `arm64`.
    pub architecture: String,
    /// Such as `Docker Desktop` or `Debian GNU/Linux 12 (bookworm)`.
    pub system: String,
    /// Such as `iptables` or `nftables`. Engines before 28.1 do not say, and use iptables.
    pub firewall: Option<String>,
}

impl Engine {
    /// Connects to an engine and agrees on a version of its API.
    ///
    /// # Errors
    ///
    /// One sentence with the fix: no permission, not running, no answer, or too old.
    pub async fn connect(target: &Target) -> Result<Self> {
        let route = Arc::new(dial::Route::new(target)?);
        let docker = dial::client(route.clone(), REQUEST_TIMEOUT)?;
        let endpoint = Arc::new(target.endpoint.clone());
        let negotiated = in_time(&endpoint, REQUEST_TIMEOUT, docker.negotiate_version()).await;
        let docker = negotiated.with_context(|| format!("connect to engine '{}'", target.name))?;

        let version = docker.client_version();
        if version < MINIMUM_API {
            bail!(
                "engine '{}' is too old: its API is {version}, and dtap needs {MINIMUM_API} (Docker 20.10): upgrade Docker",
                target.name
            );
        }
        Ok(Self {
            docker,
            route,
            endpoint,
        })
    }

    /// What the engine is.
    pub async fn facts(&self) -> Result<Facts> {
        let info = self.ask("describe the engine", self.docker.info()).await?;
        let version = self
            .ask("ask the engine's version", self.docker.version())
            .await?;

        Ok(Facts {
            name: info.name.unwrap_or_default(),
            version: version.version.unwrap_or_default(),
            api_version: self.docker.client_version().to_string(),
            architecture: version.arch.unwrap_or_default(),
            system: info.operating_system.unwrap_or_default(),
            firewall: info.firewall_backend.and_then(|it| it.driver),
        })
    }

    /// All networks, in no particular order.
    pub async fn networks(&self) -> Result<Vec<Network>> {
        let networks = self.docker.list_networks(None::<ListNetworksOptions>);
        let networks = self.ask("list networks", networks).await?;

        Ok(networks.into_iter().map(Network::from).collect())
    }

    /// All containers, running or not, in no particular order.
    pub async fn containers(&self) -> Result<Vec<Container>> {
        let containers = self.listed_containers(HashMap::new()).await?;

        Ok(containers.into_iter().map(Container::from).collect())
    }

    pub(super) async fn listed_containers(
        &self,
        filters: HashMap<String, Vec<String>>,
    ) -> Result<Vec<bollard::models::ContainerSummary>> {
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();

        self.ask(
            "list containers",
            self.docker.list_containers(Some(options)),
        )
        .await
    }

    /// Waits for an ordinary request, and says what was attempted if it fails.
    pub(super) async fn ask<T>(
        &self,
        attempt: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T> {
        in_time(&self.endpoint, REQUEST_TIMEOUT, request)
            .await
            .with_context(|| attempt.to_owned())
    }

    /// As `ask`, but `None` where the engine says that it has no such thing.
    pub(super) async fn ask_for<T>(
        &self,
        attempt: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>> {
        self.ask(attempt, async {
            match request.await {
                Err(error) if status(&error) == Some(NOT_FOUND) => Ok(None),
                result => result.map(Some),
            }
        })
        .await
    }

    pub(super) fn explained(&self, error: Error) -> anyhow::Error {
        refusal::explained(&self.endpoint, error)
    }

    pub(super) fn timed_out(&self, limit: Duration) -> anyhow::Error {
        refusal::timed_out(&self.endpoint, limit)
    }
}

/// The HTTP status the engine refused a request with.
pub(super) fn status(error: &Error) -> Option<u16> {
    if let Error::DockerResponseServerError { status_code, .. } = error {
        return Some(*status_code);
    }
    None
}

async fn in_time<T>(
    endpoint: &Endpoint,
    limit: Duration,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(result) => result.map_err(|error| refusal::explained(endpoint, error)),
        Err(_) => Err(refusal::timed_out(endpoint, limit)),
    }
}

/// How long an ordinary request may take: listing hundreds of containers on a busy VM takes seconds.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const NOT_FOUND: u16 = 404;
pub(super) const CONFLICT: u16 = 409;

/// The API of Docker 20.10.
const MINIMUM_API: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 41,
};
const _: () = assert!(API_DEFAULT_VERSION.minor_version >= MINIMUM_API.minor_version);

#[cfg(test)]
mod tests;
