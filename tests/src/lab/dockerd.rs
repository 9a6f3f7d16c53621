//! containerd and dockerd in the VM.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Options;
use super::command::Background;
use super::engine::Engine;
use super::machine::{Machine, search_path};
use super::place;
use crate::wait::holds_within;

/// Which iptables dockerd finds in its PATH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firewall {
    /// iptables that writes to nftables, as nearly everywhere.
    #[default]
    IptablesNft,
    /// iptables on the kernel's older tables, which nftables does not show.
    IptablesLegacy,
}

impl Firewall {
    /// Those that a test of every flavour shall take: the ones `DTAP_LAB_FIREWALLS` names (such as `iptables-nft`), else
    /// all.
    pub fn required() -> Vec<Self> {
        let all = [Self::IptablesNft, Self::IptablesLegacy];
        let Ok(wanted) = std::env::var("DTAP_LAB_FIREWALLS") else {
            return all.to_vec();
        };
        let wanted: Vec<_> = wanted.split(',').map(str::trim).collect();
        let chosen = |it: &Self| wanted.contains(&it.to_string().as_str());
        all.into_iter().filter(chosen).collect()
    }
}

impl std::fmt::Display for Firewall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
        })
    }
}

/// The Docker engine of a lab, in a directory of its own.
#[derive(Debug)]
pub(super) struct Dockerd {
    directory: PathBuf,
    arguments: Vec<String>,
    path: String,
    dockerd: Mutex<Option<Background>>,
    _containerd: Background,
}

impl Dockerd {
    pub(super) fn start(
        vm: &Machine,
        directory: &Path,
        engine: &Engine,
        options: &Options,
    ) -> Result<Self> {
        let programs = directory.join("bin");
        link_iptables(&programs, options.firewall)?;
        let directories = engine.directories();
        let mut path: Vec<&Path> = vec![&programs];
        path.extend(directories.iter().map(PathBuf::as_path));
        let path = search_path(&path);

        let configuration = directory.join("containerd.toml");
        fs::write(&configuration, CONTAINERD).context("write containerd's configuration")?;
        let file = |name: &str| directory.join(name).display().to_string();
        let containerd = Background::spawn(
            vm.command("containerd")
                .env("PATH", &path)
                .args([
                    "--config",
                    &file("containerd.toml"),
                    "--root",
                    &file("containerd"),
                ])
                .args(["--address", CONTAINERD_SOCKET, "--state", "/run/containerd"]),
            vm.nesting(),
        )?;
        fs::write(directory.join("daemon.json"), "{}").context("write dockerd's configuration")?;
        let mut arguments: Vec<String> = [
            ("--config-file", file("daemon.json")),
            ("--data-root", file("data")),
            ("--exec-root", "/run/docker".to_owned()),
            ("--pidfile", "/run/docker.pid".to_owned()),
            ("--host", format!("unix://{}", socket(directory).display())),
            ("--containerd", CONTAINERD_SOCKET.to_owned()),
            ("--cgroup-parent", format!("/{}", cgroup(directory))),
            // No systemd runs in the VM, whatever the machine has.
            ("--exec-opt", "native.cgroupdriver=cgroupfs".to_owned()),
            ("--fixed-cidr-v6", "fd00:d0c:e0::/64".to_owned()),
        ]
        .map(|(option, value)| format!("{option}={value}"))
        .into();
        arguments.push("--ipv6".to_owned());
        arguments.extend(engine.ipv6_arguments().iter().map(ToString::to_string));
        arguments.extend(options.dockerd_arguments.iter().cloned());

        let started = Self {
            directory: directory.to_owned(),
            arguments,
            path,
            dockerd: Mutex::new(None),
            _containerd: containerd,
        };
        started.spawn(vm)?;
        started.await_answer()?;
        Ok(started)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Starts dockerd again, without waiting for its first answer.
    pub(super) fn spawn(&self, vm: &Machine) -> Result<()> {
        let mut command = vm.command("dockerd");
        command.env("PATH", &self.path).args(&self.arguments);
        *self.process() = Some(Background::spawn(&mut command, vm.nesting())?);
        Ok(())
    }

    pub(super) fn await_answer(&self) -> Result<()> {
        let socket = socket(&self.directory);
        let answered = holds_within(START, || pings(&socket) || !self.is_running());
        if !answered || !self.is_running() {
            bail!("dockerd does not answer; it said:\n{}", self.log());
        }
        Ok(())
    }

    /// Ends dockerd with `signal` and waits until it is gone.
    pub(super) fn end(&self, signal: Signal) -> Result<()> {
        let Some(mut dockerd) = self.process().take() else {
            bail!("dockerd does not run");
        };
        dockerd.signal(signal)?;
        dockerd.wait(STOP).context("wait for dockerd to end")?;
        Ok(())
    }

    pub(super) fn log(&self) -> String {
        self.process()
            .as_ref()
            .map_or_else(String::new, Background::output)
    }

    fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(Background::is_running)
    }

    fn process(&self) -> MutexGuard<'_, Option<Background>> {
        self.dockerd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn socket(directory: &Path) -> PathBuf {
    directory.join("docker.sock")
}

/// The cgroup under which an engine's containers are, named like its directory: a worker's lies inside its lab's.
fn cgroup(directory: &Path) -> String {
    let name = directory.strip_prefix(place::directories());
    name.map_or_else(|_| String::new(), |name| name.display().to_string())
}

fn link_iptables(programs: &Path, firewall: Firewall) -> Result<()> {
    fs::create_dir_all(programs).context("create a directory for programs")?;
    let multi = match firewall {
        Firewall::IptablesNft => "xtables-nft-multi",
        Firewall::IptablesLegacy => "xtables-legacy-multi",
    };
    for family in ["iptables", "ip6tables"] {
        for end in ["", "-save", "-restore"] {
            symlink(
                format!("/usr/sbin/{multi}"),
                programs.join(format!("{family}{end}")),
            )
            .with_context(|| format!("link {family}{end}"))?;
        }
    }
    Ok(())
}

pub(super) fn pings(socket: &Path) -> bool {
    let ping = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ping().is_ok_and(|answer| answer.contains(" 200 OK"))
}

const CONTAINERD_SOCKET: &str = "/run/containerd.sock";

/// Without the plugins that only Kubernetes and other storage need.
pub(super) const CONTAINERD: &str = "version = 2
disabled_plugins = [
  \"io.containerd.grpc.v1.cri\",
  \"io.containerd.snapshotter.v1.aufs\",
  \"io.containerd.snapshotter.v1.btrfs\",
  \"io.containerd.snapshotter.v1.devmapper\",
  \"io.containerd.snapshotter.v1.zfs\",
]
";

const START: Duration = Duration::from_secs(60);
/// dockerd gives its containers 15 s to stop, after what it was doing.
const STOP: Duration = Duration::from_secs(60);
