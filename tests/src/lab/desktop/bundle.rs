//! A directory that stands for `/` of a Mac with Docker Desktop.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

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
        let settings = bundle.settings();
        if let Some(directory) = settings.parent() {
            fs::create_dir_all(directory).context("create the directory of settings")?;
        }
        fs::write(settings, SETTINGS).context("write the settings")?;
        // Sixteen are there on a Mac, as soon as its kernel extension is.
        for number in 0..TAPS {
            let tap = bundle.root.join(format!("dev/tap{number}"));
            fs::write(&tap, "").context("write a tap")?;
            fs::set_permissions(&tap, Permissions::from_mode(0o660))?;
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

    /// Removes what a VM has left that was killed, as Docker Desktop does, and what the last has said.
    pub(super) fn clear(&self) {
        for file in ["hyperkit.pid", "console-ring"] {
            let _ = fs::remove_file(self.data().join("vms/0").join(file));
        }
    }

    /// Writes down what was started, as Docker Desktop does, whose library for HyperKit reads it after a crash.
    pub(super) fn record(&self, pid: i32, arguments: &[String]) -> Result<()> {
        let hyperkit = self.hyperkit().display().to_string();
        let state = json!({
            "hyperkit": hyperkit,
            "pid": pid,
            "arguments": arguments,
            "cmdline": format!("{hyperkit} {}", arguments.join(" ")),
        });
        let file = self.data().join("vms/0/hyperkit.json");
        fs::write(&file, state.to_string()).with_context(|| format!("write {}", file.display()))
    }

    pub(super) fn vpnkit(&self) -> PathBuf {
        self.data().join("vpnkit.eth.sock")
    }

    pub(super) fn api(&self) -> PathBuf {
        self.home().join(".docker/run/docker.sock")
    }

    /// What HyperKit is given.
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

    fn settings(&self) -> PathBuf {
        self.home()
            .join("Library/Group Containers/group.com.docker/settings.json")
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

/// Options and their values, in the order that moby/hyperkit's `go/hyperkit.go` gives them: fewer disks than on a Mac, and the
/// lab's kernel.
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
const SETTINGS: &str = "{\"useVirtualizationFramework\": false}\n";
const TAPS: u8 = 4;
/// 8 GiB, of which the file system's tables are all that is written.
const DISK: u64 = 8 << 30;
