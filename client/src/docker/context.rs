//! Docker contexts, as the `docker` command keeps them under `~/.docker`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::endpoint::{Certificates, Endpoint};

/// The context that stands for `DOCKER_HOST` and the default socket; it has no file.
pub(super) const DEFAULT: &str = "default";

/// The context chosen by `docker context use`.
pub(super) fn current(configuration: &Path) -> Result<Option<String>> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Config {
        current_context: String,
    }

    let path = configuration.join("config.json");
    let config: Config = match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| {
            format!("read {}: it is not Docker's configuration", path.display())
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound => Config::default(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };

    Ok(Some(config.current_context).filter(|it| !it.is_empty()))
}

/// Where the engine of a context is.
pub(super) fn endpoint(configuration: &Path, name: &str) -> Result<Endpoint> {
    let contexts = configuration.join("contexts");
    let digest = format!("{:x}", Sha256::digest(name));
    let path = contexts.join("meta").join(&digest).join("meta.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(unknown(&contexts, name)),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let meta: Meta = serde_json::from_slice(&text)
        .with_context(|| format!("read context '{name}' in {}", path.display()))?;
    let Some(docker) = meta.endpoints.docker else {
        bail!("context '{name}' has no Docker endpoint: choose one of `docker context ls`");
    };
    if docker.skip_tls_verify {
        bail!(
            "context '{name}' does not verify its engine's certificate, so anyone could pose as the engine: \
             give it the engine's CA with `docker context update {name} --docker host={},ca=FILE`",
            docker.host
        );
    }

    let tls = contexts.join("tls").join(&digest).join("docker");
    let certificates = tls.join("ca.pem").exists();
    let certificates = certificates.then(|| Certificates::in_directory(&tls));
    Endpoint::parse(&docker.host, certificates).with_context(|| format!("read context '{name}'"))
}

fn unknown(contexts: &Path, name: &str) -> String {
    let mut names = vec![DEFAULT.to_owned()];
    names.extend(existing(contexts));
    names.sort();

    format!(
        "there is no Docker context '{name}': choose one of {}",
        names.join(", ")
    )
}

fn existing(contexts: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(contexts.join("meta")) else {
        return Vec::new();
    };

    entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("meta.json")).ok())
        .filter_map(|text| serde_json::from_slice::<Meta>(&text).ok())
        .map(|meta| meta.name)
        .collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    name: String,
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}
