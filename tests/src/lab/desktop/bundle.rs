//! A directory that stands for `/` of a Mac with Docker Desktop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::super::command::check;
use super::super::engine::Engine;
use super::super::place;
use super::super::vm::Kernel;
use super::files;

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    root: PathBuf,
}

impl Bundle {
    /// Lays everything out.
    pub(super) fn install(root: PathBuf, engine: &Engine) -> Result<Self> {
        let bundle = Self { root };
        let (contents, data) = (bundle.contents(), bundle.data());
        for directory in [
            contents.join("Resources/bin"),
            contents.join("Resources/linuxkit"),
            data.join("vms/0"),
            bundle.root.join("dev"),
        ] {
            fs::create_dir_all(&directory)
                .with_context(|| format!("create {}", directory.display()))?;
        }
        fs::write(contents.join("Info.plist"), INFO).context("write Info.plist")?;
        // Sixteen are there on a Mac, as soon as its kernel extension is.
        for number in 0..TAPS {
            fs::write(bundle.root.join(format!("dev/tap{number}")), "").context("write a tap")?;
        }
        let own = hyperkit()?;
        fs::copy(&own, bundle.hyperkit()).with_context(|| format!("copy {}", own.display()))?;
        let kernel = Kernel::find().context("find the kernel of the virtual machine")?;
        let image = bundle.kernel();
        fs::copy(kernel.image(), &image).with_context(|| format!("write {}", image.display()))?;
        files::pack(&bundle.initrd(), &kernel, engine)?;
        bundle.make_disk()?;
        Ok(bundle)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Of whoever uses the Mac.
    pub(super) fn home(&self) -> PathBuf {
        self.root.join("Users/dev")
    }

    /// The directory that HyperKit runs in.
    pub(super) fn data(&self) -> PathBuf {
        self.home()
            .join("Library/Containers/com.docker.docker/Data")
    }

    pub(super) fn hyperkit(&self) -> PathBuf {
        self.contents().join("Resources/bin/com.docker.hyperkit")
    }

    /// What the VM's console says.
    pub(super) fn console(&self) -> String {
        let console = fs::read(self.data().join("vms/0/console-ring")).unwrap_or_default();
        String::from_utf8_lossy(&console).into_owned()
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.data().join("vms/0/hyperkit.pid")
    }

    pub(super) fn vpnkit(&self) -> PathBuf {
        self.data().join("vpnkit.eth.sock")
    }

    pub(super) fn api(&self) -> PathBuf {
        self.home().join(".docker/run/docker.sock")
    }

    /// As Docker Desktop 2.1 and later pass them.
    pub(super) fn arguments(&self) -> Vec<String> {
        let recorded = RECORDED
            .replace("KERNEL", &self.kernel().display().to_string())
            .replace("INITRD", &self.initrd().display().to_string())
            .replace("DISK", &self.disk().display().to_string());
        recorded
            .lines()
            .flat_map(|line| match line.split_once(' ') {
                Some((option, value)) => vec![option.to_owned(), value.to_owned()],
                None => vec![line.to_owned()],
            })
            .collect()
    }

    fn contents(&self) -> PathBuf {
        self.root.join("Applications/Docker.app/Contents")
    }

    fn kernel(&self) -> PathBuf {
        self.contents().join("Resources/linuxkit/kernel")
    }

    fn initrd(&self) -> PathBuf {
        self.contents().join("Resources/linuxkit/initrd.img")
    }

    fn disk(&self) -> PathBuf {
        self.data().join("vms/0/data/Docker.raw")
    }

    /// Empty, but formatted.
    fn make_disk(&self) -> Result<()> {
        let disk = self.disk();
        if let Some(directory) = disk.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = fs::File::create(&disk).context("create the disk")?;
        file.set_len(DISK).context("make the disk large")?;
        check(Command::new("mkfs.ext4").arg("-q").arg(&disk))?;
        Ok(())
    }
}

/// The program beside the one that runs.
fn hyperkit() -> Result<PathBuf> {
    let mut programs = place::programs().into_iter().rev();
    programs
        .find_map(|directory| Some(directory.join("dtap-hyperkit")).filter(|it| it.is_file()))
        .context("find dtap-hyperkit; cargo builds it with the tests")
}

/// From PEERS: options and values as the processes of a Mac show them, with paths of the lab and a shorter list of disks.
const RECORDED: &str = include_str!("hyperkit.arguments");

const INFO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>CFBundleIdentifier</key>
	<string>com.docker.docker</string>
	<key>CFBundleShortVersionString</key>
	<string>4.11.1</string>
	<key>CFBundleVersion</key>
	<string>84025</string>
</dict>
</plist>
"#;
const TAPS: u8 = 4;
/// 8 GiB, of which the file system's tables are all that is written.
const DISK: u64 = 8 << 30;
