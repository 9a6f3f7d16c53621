//! The image of the lab's containers, made from this machine's static busybox.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

use super::command::check;

/// A root file system with every busybox applet and two pages in /www: `index.html`, and `cgi-bin/peer`, which says the
/// address that a request came from.
pub(super) fn root_file_system() -> Result<Vec<u8>> {
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
    archive.into_inner().context("finish the image")
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
