//! `tap install` and its undoing by the real client, with the real shim, on a directory that stands for a Mac's `/`.
//! A program that prints its arguments stands for HyperKit.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use dtap_tests::client;
use dtap_tests::lab::can_run;
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;
use tempfile::TempDir;

const BIN: &str = "Applications/Docker.app/Contents/Resources/bin";
const NAME: &str = "com.docker.hyperkit";
const HYPERKIT: &str = "/bin/echo";
const ANOTHER: &str = "/bin/false";
const STARTED: [&str; 3] = ["-A", "-s", "1:0,virtio-vpnkit,path=x"];

struct Mac(TempDir);

impl Mac {
    fn new() -> Result<Self> {
        let mac = Self(tempfile::tempdir()?);
        fs::create_dir_all(mac.path("dev"))?;
        fs::create_dir_all(mac.path(BIN))?;
        mac.put(HYPERKIT)?;
        for unit in 0..3 {
            fs::write(mac.path(&format!("dev/tap{unit}")), "")?;
        }
        Ok(mac)
    }

    /// As an update of Docker does.
    fn put(&self, program: &str) -> Result<()> {
        let new = self.path(BIN).join("new");
        fs::copy(program, &new)?;
        Ok(fs::rename(new, self.place())?)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn place(&self) -> PathBuf {
        self.path(BIN).join(NAME)
    }

    fn tap(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(client::program());
        command
            .arg("tap")
            .args(arguments)
            .env("DTAP_TAP_ROOT", self.0.path())
            .env("HOME", "/Users/me")
            .env_remove("SUDO_UID");
        command
    }

    fn done(&self, arguments: &[&str]) -> Result<String> {
        text(self.tap(arguments).output()?)
    }

    /// What it says of why not.
    fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.tap(arguments).output()?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?)
    }

    fn status(&self) -> Result<Value> {
        let output = self.tap(&["status", "--json"]).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// What HyperKit is started with when Docker starts what is in its place.
    fn boot(&self) -> Result<String> {
        text(Command::new(self.place()).args(STARTED).output()?)
    }

    fn mac_address(&self) -> Result<String> {
        let status = self.status()?;
        let mac = status["nics"][0]["mac"].as_str();
        Ok(mac.context("no NIC in the status")?.to_owned())
    }

    fn tree(&self) -> Result<BTreeMap<PathBuf, (Vec<u8>, u32, u32, i64)>> {
        let mut tree = BTreeMap::new();
        let mut rest = vec![self.0.path().to_owned()];
        while let Some(directory) = rest.pop() {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let metadata = fs::symlink_metadata(&path)?;
                if metadata.is_dir() {
                    rest.push(path);
                    continue;
                }
                let facts = (
                    fs::read(&path)?,
                    metadata.uid(),
                    metadata.mode(),
                    metadata.mtime(),
                );
                tree.insert(path, facts);
            }
        }
        Ok(tree)
    }
}

fn text(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn docker_boots_with_one_nic_more_until_it_is_undone() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mac = Mac::new()?;
    let before = mac.tree()?;
    let unchanged = STARTED.join(" ") + "\n";
    assert_eq!(mac.boot()?, unchanged);
    assert!(mac.fails(&["status"])?.contains("not installed"));

    let said = mac.done(&["install", "--dry-run"])?;
    assert!(said.contains("would put the shim"), "{said}");
    assert_eq!(mac.tree()?, before);

    let said = mac.done(&["install"])?;
    assert!(said.contains("restart Docker"), "{said}");
    let address = mac.mac_address()?;
    let extended = format!(
        "{} -s 30:0,virtio-tap,tap1,mac={address}\n",
        STARTED.join(" ")
    );
    assert_eq!(mac.boot()?, extended);
    mac.done(&["status"])?;

    let said = mac.done(&["install", "--restart"])?;
    assert!(
        said.contains("installed already") && said.contains("no Docker Desktop"),
        "{said}"
    );
    assert_eq!(mac.boot()?, extended);
    mac.done(&["install", "--nics", "2"])?;
    assert!(
        mac.boot()?
            .contains(&format!("29:0,virtio-tap,tap1,mac={address}"))
    );
    assert!(mac.boot()?.contains("30:0,virtio-tap,tap2"));

    mac.done(&["uninstall"])?;
    assert_eq!(mac.tree()?, before);
    assert_eq!(mac.boot()?, unchanged);
    assert!(mac.done(&["uninstall"])?.contains("nothing is installed"));
    Ok(())
}

#[test]
fn an_update_of_docker_is_noticed_and_repaired() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mac = Mac::new()?;
    mac.done(&["install"])?;
    let address = mac.mac_address()?;
    fs::remove_dir_all(mac.path(BIN))?;
    fs::create_dir_all(mac.path(BIN))?;
    mac.put(ANOTHER)?;
    assert_eq!(mac.status()?["shim"], "replaced");
    assert!(mac.fails(&["status"])?.contains("tap install"));

    mac.done(&["install"])?;
    mac.done(&["status"])?;
    assert_eq!(mac.mac_address()?, address);
    assert_eq!(Command::new(mac.place()).status()?.code(), Some(1));

    mac.put(HYPERKIT)?;
    mac.done(&["uninstall"])?;
    assert_eq!(fs::read(mac.place())?, fs::read(HYPERKIT)?);
    assert_eq!(fs::read_dir(mac.path(BIN))?.count(), 1);
    Ok(())
}

#[test]
fn many_installs_at_once_leave_one_shim_and_the_original() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mac = Mac::new()?;
    let before = mac.tree()?;
    let start = |_| mac.tap(&["install"]).stdout(Stdio::null()).spawn();
    let installs: Vec<_> = (0..6).map(start).collect::<Result<_, _>>()?;
    for mut install in installs {
        assert!(install.wait()?.success());
    }
    assert!(mac.boot()?.contains(&mac.mac_address()?));
    mac.done(&["uninstall"])?;
    assert_eq!(mac.tree()?, before);
    Ok(())
}

#[test]
fn a_full_and_a_read_only_disk_leave_everything_as_it_was() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mac = Mac::new()?;
    let bin = mac.path(BIN);
    let size = fs::metadata(HYPERKIT)?.len() + 64 * 1024;
    let options = format!("size={size}");
    mount(
        Some("tmpfs"),
        &bin,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?;
    let _mounted = Mounted(bin.clone());
    mac.put(HYPERKIT)?;
    let before = mac.tree()?;
    let error = mac.fails(&["install"])?;
    assert!(
        error.contains("No space left") && error.contains("as it was"),
        "{error}"
    );
    assert_eq!(mac.tree()?, before);

    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &bin, None::<&str>, read_only, None::<&str>)?;
    let error = mac.fails(&["install"])?;
    assert!(error.contains("Read-only"), "{error}");
    assert_eq!(mac.tree()?, before);

    mount(
        None::<&str>,
        &bin,
        None::<&str>,
        MsFlags::MS_REMOUNT,
        Some("size=16m"),
    )?;
    mac.done(&["install"])?;
    assert!(mac.boot()?.contains("virtio-tap"));
    Ok(())
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount(&self.0);
    }
}

#[test]
fn what_cannot_be_is_refused_and_the_tunnel_named() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let mac = Mac::new()?;
    let refused = |reason: &str| -> Result<()> {
        let before = mac.tree()?;
        let error = mac.fails(&["install"])?;
        assert!(
            error.contains(reason) && error.contains("--carrier tunnel"),
            "{error}"
        );
        assert_eq!(mac.tree()?, before);
        assert!(mac.fails(&["status"])?.contains(reason));
        Ok(())
    };
    let settings = mac.path("Users/me/Library/Group Containers/group.com.docker");
    fs::create_dir_all(&settings)?;
    fs::write(
        settings.join("settings.json"),
        "{\"useVirtualizationFramework\":true}",
    )?;
    refused("Virtualization framework")?;
    fs::remove_dir_all(&settings)?;

    fs::rename(mac.path("dev"), mac.path("gone"))?;
    refused("kernel extension")?;
    fs::rename(mac.path("gone"), mac.path("dev"))?;

    fs::write(mac.place(), "#!/bin/bash\nexec $0.real \"$@\"\n")?;
    fs::copy(HYPERKIT, mac.path(BIN).join(format!("{NAME}.real")))?;
    refused("script of another tool")?;
    fs::remove_dir_all(mac.path("Applications"))?;
    refused("no HyperKit")?;

    let output = mac.tap(&["install"]).env_remove("DTAP_TAP_ROOT").output()?;
    let error = String::from_utf8(output.stderr)?;
    assert!(
        error.contains("not a Mac") && error.contains("--carrier tunnel"),
        "{error}"
    );
    Ok(())
}
