use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;
use tar::Archive;

use super::*;
use crate::elf::tests::{PT_LOAD, program};

/// What one entry of a tar holds.
#[derive(Debug)]
struct Entry {
    mode: u32,
    owner: u64,
    mtime: u64,
    content: Vec<u8>,
}

fn entries(tar: impl Read) -> BTreeMap<String, Entry> {
    Archive::new(tar)
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            let read = Entry {
                mode: header.mode().unwrap(),
                owner: header.uid().unwrap() + header.gid().unwrap(),
                mtime: header.mtime().unwrap(),
                content,
            };
            (entry.path().unwrap().display().to_string(), read)
        })
        .collect()
}

fn files(arch: Arch) -> BTreeMap<String, Entry> {
    let archive = archive(arch, &program(arch, PT_LOAD)).unwrap();
    entries(GzDecoder::new(archive.as_slice()))
}

fn json(files: &BTreeMap<String, Entry>, path: &str) -> Value {
    serde_json::from_slice(&files[path].content).unwrap()
}

#[test]
fn every_file_is_named_by_the_digest_of_its_content() {
    let files = files(Arch::Amd64);
    let manifest = &json(&files, "manifest.json")[0];
    let config_path = manifest["Config"].as_str().unwrap();
    let layer_path = manifest["Layers"][0].as_str().unwrap();
    assert_eq!(files.len(), 3);

    let config_digest = digest(&files[config_path].content);
    assert_eq!(config_path, format!("{config_digest}.json"));
    let layer_digest = digest(&files[layer_path].content);
    assert_eq!(layer_path, format!("{layer_digest}.tar"));
    let diff_ids = &json(&files, config_path)["rootfs"]["diff_ids"];
    assert_eq!(*diff_ids, json!([format!("sha256:{layer_digest}")]));
}

#[test]
fn the_layer_holds_the_binary_and_a_private_state_directory() {
    let files = files(Arch::Arm64);
    let manifest = &json(&files, "manifest.json")[0];
    let layer_path = manifest["Layers"][0].as_str().unwrap();
    let layer = entries(files[layer_path].content.as_slice());

    let paths: Vec<_> = layer.keys().map(String::as_str).collect();
    assert_eq!(paths, ["dtap-server", "var/", "var/lib/", "var/lib/dtap/"]);
    let binary = &layer["dtap-server"];
    assert_eq!(binary.content, program(Arch::Arm64, PT_LOAD));
    assert_eq!(binary.mode, 0o755);
    assert_eq!(layer["var/lib/dtap/"].mode, 0o700);
    assert!(layer.values().all(|e| e.owner == 0 && e.mtime == 0));
}

#[test]
fn the_configuration_starts_the_server_and_names_its_architecture() {
    for (arch, name) in [(Arch::Amd64, "amd64"), (Arch::Arm64, "arm64")] {
        let files = files(arch);
        let manifest = &json(&files, "manifest.json")[0];
        let config = json(&files, manifest["Config"].as_str().unwrap());
        assert_eq!(config["architecture"], name);
        assert_eq!(config["os"], "linux");

        let run = &config["config"];
        assert_eq!(run["Entrypoint"], json!(["/dtap-server"]));
        assert_eq!(run["Cmd"], json!(["run"]));
        assert_eq!(
            run["Healthcheck"]["Test"],
            json!(["CMD", "/dtap-server", "health"])
        );
        assert_eq!(run["Volumes"], json!({ "/var/lib/dtap": {} }));
        assert_eq!(run["Labels"]["dtap.server"], "1");
        assert_eq!(run["Labels"]["org.opencontainers.image.version"], VERSION);
    }
}

#[test]
fn the_image_is_tagged_with_its_version_and_latest() {
    let files = files(Arch::Amd64);
    assert_eq!(
        json(&files, "manifest.json")[0]["RepoTags"],
        json!([format!("dtap/server:{VERSION}"), "dtap/server:latest"])
    );
}

#[test]
fn the_same_binary_gives_the_same_bytes() {
    let binary = program(Arch::Amd64, PT_LOAD);
    let once = archive(Arch::Amd64, &binary).unwrap();
    assert_eq!(once, archive(Arch::Amd64, &binary).unwrap());
}

#[test]
fn the_dockerfile_builds_the_same_configuration() {
    let dockerfile = include_str!("../../Dockerfile");
    let version = format!("ARG VERSION={VERSION}\n");
    for line in [
        version.as_str(),
        "FROM scratch",
        "ENTRYPOINT [\"/dtap-server\"]",
        "CMD [\"run\"]",
        "VOLUME /var/lib/dtap",
        "CMD [\"/dtap-server\", \"health\"]",
        "--interval=30s --timeout=5s --start-period=5s --retries=3",
        "dtap.server=1",
        env!("CARGO_PKG_DESCRIPTION"),
        env!("CARGO_PKG_REPOSITORY"),
    ] {
        assert!(dockerfile.contains(line), "the Dockerfile lacks: {line}");
    }
}
