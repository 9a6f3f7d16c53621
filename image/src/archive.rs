//! The archive that `docker load` takes.

use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType};

use crate::layer::{append, layer};
use crate::{Arch, VERSION, config, elf};

/// The image that holds `binary`, as a gzipped archive for `docker load`.
///
/// Engines 20.10 to 29 take this format, with either image store; newer engines write a longer
/// one, which the old ones take for the sake of the very `manifest.json` that is written here.
///
/// # Errors
/// When `binary` is not a static program for `arch`.
pub fn archive(arch: Arch, binary: &[u8]) -> Result<Vec<u8>> {
    elf::check_static(binary, arch)?;
    let layer = layer(binary).context("write the layer")?;
    let layer_digest = digest(&layer);
    let config = config::config(arch, &layer_digest).to_string();
    let config_path = format!("{}.json", digest(config.as_bytes()));
    let layer_path = format!("{layer_digest}.tar");
    let manifest = json!([{
        "Config": config_path,
        "RepoTags": [format!("{REPOSITORY}:{VERSION}"), format!("{REPOSITORY}:latest")],
        "Layers": [layer_path],
    }])
    .to_string();

    let mut files = [
        (config_path.as_str(), config.as_bytes()),
        (layer_path.as_str(), layer.as_slice()),
        ("manifest.json", manifest.as_bytes()),
    ];
    files.sort_unstable_by_key(|(path, _)| *path);
    gzip(&files).context("write the archive")
}

fn gzip(files: &[(&str, &[u8])]) -> std::io::Result<Vec<u8>> {
    let compressed = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = Builder::new(compressed);
    for (path, content) in files {
        append(&mut tar, path, EntryType::Regular, 0o644, content)?;
    }
    let mut compressed = tar.into_inner()?;
    compressed.flush()?;
    compressed.finish()
}

/// A SHA-256 digest in lower-case hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

const REPOSITORY: &str = "dtap/server";

#[cfg(test)]
mod tests;
