//! The server's image: from the bytes the client carries, or one the engine has.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    ImportImageOptions, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use flate2::read::GzDecoder;
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::Engine;
use super::server::SERVER_LABEL;

/// An image of the engine, by the digest that no tag can move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageId(String);

impl ImageId {
    pub(super) fn new(id: String) -> Self {
        Self(id)
    }

    /// Such as `sha256:0123…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Engine {
    /// The image with this tag or ID, if the engine has it.
    pub async fn image(&self, reference: &str) -> Result<Option<ImageId>> {
        let attempt = format!("look for image {reference}");
        let image = self.docker.inspect_image(reference);
        let image = self.ask_for(&attempt, image).await?;

        Ok(image.and_then(|it| it.id).map(ImageId))
    }

    /// Loads an image as `docker save` and gzip write it, unless the engine has the same one already.
    pub async fn load_image(&self, archive: Bytes) -> Result<ImageId> {
        let contents = Contents::read(&archive).context("read the server image")?;
        let tag = contents.tag.as_str();
        let attempt = format!("look for image {tag}");

        if let Some(existing) = self
            .ask_for(&attempt, self.docker.inspect_image(tag))
            .await?
            && contents.equals(&existing)
            && let Some(id) = existing.id
        {
            return Ok(ImageId(id));
        }
        self.load(archive)
            .await
            .with_context(|| format!("load image {tag}"))?;
        let loaded = self.image(tag).await?;

        loaded.with_context(|| format!("load image {tag}: the engine does not list it afterwards"))
    }

    /// Removes every image of the server, whatever its version. Containers must not use them any more.
    pub async fn remove_images(&self) -> Result<()> {
        let filters = HashMap::from([("label", vec![SERVER_LABEL])]);
        let options = ListImagesOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let images = self.docker.list_images(Some(options));

        for image in self.ask("list images", images).await? {
            let options = RemoveImageOptionsBuilder::new().force(true).build();
            let removal = self.docker.remove_image(&image.id, Some(options), None);
            self.ask_for(&format!("remove image {}", image.id), removal)
                .await?;
        }
        Ok(())
    }

    async fn load(&self, archive: Bytes) -> Result<()> {
        let docker = self.docker.clone().with_timeout(LOAD_TIMEOUT);
        let body = bollard::body_full(archive);
        let progress = docker.import_image(ImportImageOptions::default(), body, None);
        let loading = progress.try_for_each(|_| std::future::ready(Ok(())));

        match tokio::time::timeout(LOAD_TIMEOUT, loading).await {
            Ok(result) => result.map_err(|error| self.explained(error)),
            Err(_) => Err(self.timed_out(LOAD_TIMEOUT)),
        }
    }
}

/// What identifies the image in an archive.
///
/// Its ID does not: with the containerd image store, the engine computes one of its own.
#[derive(Debug)]
struct Contents {
    tag: String,
    layers: Vec<String>,
    labels: BTreeMap<String, String>,
}

impl Contents {
    fn read(archive: &[u8]) -> Result<Self> {
        let files = json_files(archive)?;
        let manifest = files
            .get("manifest.json")
            .context("it has no manifest.json")?;
        let manifest: Vec<Manifest> =
            serde_json::from_slice(manifest).context("read manifest.json")?;
        let [manifest] = manifest.as_slice() else {
            bail!("it does not contain exactly one image");
        };
        let config = files
            .get(&manifest.config)
            .context("it has no configuration")?;
        let config: Config = serde_json::from_slice(config).context("read its configuration")?;
        let tag = manifest.repo_tags.first().context("it has no tag")?;

        Ok(Self {
            tag: tag.clone(),
            layers: config.rootfs.diff_ids,
            labels: config.config.labels,
        })
    }

    fn equals(&self, image: &ImageInspect) -> bool {
        let layers = image.root_fs.as_ref().and_then(|it| it.layers.as_ref());
        let labels = image.config.as_ref().and_then(|it| it.labels.as_ref());
        let labels = labels.into_iter().flatten();
        let labels: BTreeMap<_, _> = labels.map(|(k, v)| (k.clone(), v.clone())).collect();

        layers == Some(&self.layers) && labels == self.labels
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    repo_tags: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    config: Execution,
    rootfs: RootFs,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// The small files of an archive by name: manifest and configuration, but no layer.
fn json_files(archive: &[u8]) -> Result<HashMap<String, Vec<u8>>> {
    let mut tar = tar::Archive::new(GzDecoder::new(archive));
    let mut files = HashMap::new();

    for entry in tar.entries()? {
        let mut entry = entry?;
        if entry.size() <= LARGEST_JSON {
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut text = Vec::new();
            entry.read_to_end(&mut text)?;
            files.insert(name, text);
        }
    }
    Ok(files)
}

/// Bytes; a configuration has about a thousand.
const LARGEST_JSON: u64 = 1 << 20;

/// A few MB over ssh to a slow machine.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
