//! What is in the VM: an engine, and what it needs.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::super::dockerd::CONTAINERD;
use super::super::engine::Engine;
use super::super::gateway::Link;
use super::super::machine::search_path;
use super::super::packages::found;
use super::super::vm::files::Files;
use super::super::vm::{ENGINE_MODULES, Kernel};

/// Writes the first file system of the VM.
pub(super) fn pack(to: &Path, kernel: &Kernel, engine: &Engine) -> Result<()> {
    let mut programs = engine.programs();
    // Its command is the Mac's.
    programs.retain(|it| *it != engine.docker());
    for name in PROGRAMS {
        programs.push(found(name)?);
    }
    let programs: Vec<_> = programs.iter().map(PathBuf::as_path).collect();
    let directories = engine.directories();
    let directories: Vec<_> = directories.iter().map(PathBuf::as_path).collect();
    let arguments = DOCKERD.join(" ");
    let extensions = Path::new(EXTENSIONS);
    Files {
        texts: &[
            ("/init", include_str!("init.sh")),
            ("/etc/answer", include_str!("answer.sh")),
            ("/etc/hosts", &hosts()),
            ("/etc/uplink", &Link::Gateway.vm_configuration()),
            (
                "/etc/engine",
                &engine_settings(&search_path(&directories), &arguments),
            ),
            ("/etc/containerd.toml", CONTAINERD),
        ],
        programs: &programs,
        files: &[(extensions, extensions)],
        modules: &[&ENGINE_MODULES[..], &DEVICES].concat(),
    }
    .pack(to, kernel)
}

fn hosts() -> String {
    format!("127.0.0.1 localhost\n{}", Link::Gateway.hosts())
}

/// For a shell.
fn engine_settings(path: &str, arguments: &str) -> String {
    format!("export PATH={path}\nset -- {arguments}\n")
}

/// Those of which busybox has none, or a lesser one.
const PROGRAMS: [&str; 6] = [
    "ip",
    "mount",
    "nft",
    "nsenter",
    "socat",
    "xtables-nft-multi",
];
const EXTENSIONS: &str = "/usr/lib/x86_64-linux-gnu/xtables";
/// Drivers of what the arguments of HyperKit name.
const DEVICES: [&str; 5] = [
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "macvlan",
];
const DOCKERD: &[&str] = &[
    "--containerd=/run/containerd.sock",
    "--exec-opt=native.cgroupdriver=cgroupfs",
];
