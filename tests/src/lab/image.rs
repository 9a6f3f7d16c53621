//! The image of the lab's containers, made from this machine's static busybox.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::command::check;

/// The image `busybox` as `docker load` takes it. `docker import` would be shorter, but that of old engines cannot set the
/// stop signal, and busybox as a container's first process leaves a SIGTERM unheard for the 10 s of `docker stop`.
pub(super) fn archive() -> Result<Vec<u8>> {
    let layer = root_file_system()?;
    let configuration = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Cmd": ["httpd", "-f", "-h", "/www"],
            "Env": ["PATH=/bin"],
            "ExposedPorts": { "80/tcp": {} },
            "StopSignal": "SIGKILL",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{:x}", Sha256::digest(&layer))] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": ["busybox:latest"],
        "Layers": ["layer.tar"],
    }]);
    let mut archive = Builder::new(Vec::new());
    for (path, content) in [
        ("layer.tar", layer),
        ("config.json", configuration.to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        append(&mut archive, path, EntryType::Regular, &content)?;
    }
    archive.into_inner().context("finish the image")
}

/// Go's name for it.
fn architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Every busybox applet and two pages in /www: `index.html`, and `cgi-bin/peer`, which says the address that a request
/// came from.
fn root_file_system() -> Result<Vec<u8>> {
    let busybox = fs::read(BUSYBOX).context("read busybox; `dtap-lab setup` installs it")?;
    let applets = check(Command::new(BUSYBOX).arg("--list"))?;
    let mut archive = Builder::new(Vec::new());
    for directory in ["bin", "etc", "root", "tmp", "var", "www", "www/cgi-bin"] {
        append(&mut archive, directory, EntryType::Directory, &[])?;
    }
    append(&mut archive, "bin/busybox", EntryType::Regular, &busybox)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(EntryType::Symlink, 0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    append(
        &mut archive,
        "etc/passwd",
        EntryType::Regular,
        b"root:x:0:0:root:/root:/bin/sh\n",
    )?;
    append(
        &mut archive,
        "www/index.html",
        EntryType::Regular,
        PAGE.as_bytes(),
    )?;
    append(&mut archive, "www/cgi-bin/peer", EntryType::Regular, PEER)?;
    archive.into_inner().context("finish the file system")
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    content: &[u8],
) -> Result<()> {
    let mut header = header(kind, content.len().try_into()?);
    archive
        .append_data(&mut header, Path::new(path), content)
        .with_context(|| format!("put {path} into the image"))
}

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o755);
    header
}

/// What `index.html` holds.
pub const PAGE: &str = "hello from the lab\n";

/// httpd listens on IPv6 for both, hence names IPv4 addresses in its way: `[::ffff:172.17.0.1]`.
const PEER: &[u8] = br#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$REMOTE_ADDR" | sed 's/^\[//; s/\]$//; s/^::ffff://'
"#;
const BUSYBOX: &str = "/bin/busybox";
