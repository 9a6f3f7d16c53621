//! A Mac with Docker Desktop: the VM is a real one, which a program in HyperKit's place starts.
//!
//! ```text
//!   ┌ mac ──────────────────────────────────────────────┐      ┌ gw ─────────────┐
//!   │ dtap-client          Docker.app, in which         │      │ gateway; strays │
//!   │ docker.sock, a file  com.docker.hyperkit is ours  │      └────────┬────────┘
//!   │      ┊                                            │               ┊
//!   │ 127.0.0.1: 2376, 1525          tap1 …             │   vpnkit.eth.sock, a file
//!   └──────┊───────────────────────────┊────────────────┘               ┊
//!   ┌ qemu ┊───────────────────────────┊────────────────────────────────┊────────┐
//!   │ ┌ vsock ─────┐          virtio-tap, if asked for                eth0       │
//!   │ │ NIC, socat │                eth1 …                                       │
//!   │ └────┬───────┘                                                             │
//!   │   docker.sock, a shell       dockerd, containers                           │
//!   └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The NIC in `vsock` stands for HyperKit's virtio-sock. It is no way for data: qemu passes nothing on but connections to
//! those two ports, and in the VM only socat shares its namespace.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::command::{Background, Nesting};
use super::container;
use super::engine::Engine;
use super::gateway::Gateway;
use super::machine::{Machine, Processes};
use super::namespace::Namespace;
use super::place::Place;
use super::{Options, Threads, dockerd, leftovers, require_root};
use crate::wait::holds_within;
use bundle::Bundle;

mod backend;
mod bundle;
mod files;
mod programs;
mod vpnkit;

/// Dropped, it ends with all that is in it.
#[derive(Debug)]
pub struct DockerDesktop {
    hyperkit: Mutex<Option<Background>>,
    engine: Engine,
    mac: Machine,
    gateway: Gateway,
    bundle: Bundle,
    _threads: Threads,
    place: Place,
}

impl DockerDesktop {
    /// Installs it, and starts it with [`Self::arguments`]: the engine answers, and the image of [`Self::container`] is there.
    ///
    /// # Errors
    /// When not root, when a program is missing, or when something did not start; the reason includes what the console said.
    pub fn start() -> Result<Self> {
        let desktop = Self::install()?;
        desktop.boot(&desktop.arguments())?;
        container::load_image(desktop.docker_command())?;
        Ok(desktop)
    }

    /// Installs it: for a story that comes before the first [`Self::boot`]. No image is in the engine then.
    ///
    /// # Errors
    /// When not root, or when a program is missing.
    pub fn install() -> Result<Self> {
        require_root()?;
        // Of the years of HyperKit, and what boots quickest.
        let engine = Engine::version("20.10").or_else(|_| Engine::newest())?;
        leftovers::remove();
        let place = Place::new()?;
        let threads = Threads::start()?;
        let namespace = |machine: &str| Namespace::create(place.namespace(machine));
        let gateway = namespace("gw")?;
        let mac = Machine::boot(namespace("mac")?, Processes::Shared, "")?;
        let bundle = Bundle::install(place.directory().join("mac"), &engine)?;
        vpnkit::serve(&gateway, &bundle.vpnkit(), &threads.handle())?;
        let options = Options::default();
        let gateway = Gateway::behind(gateway, mac.namespace(), &options, &threads.handle())
            .context("connect the VM and the host")?;
        backend::serve(mac.namespace(), &bundle.api(), &threads.handle())?;
        Ok(Self {
            hyperkit: Mutex::new(None),
            engine,
            mac,
            gateway,
            bundle,
            _threads: threads,
            place,
        })
    }

    /// The arguments that Docker Desktop gives HyperKit.
    pub fn arguments(&self) -> Vec<String> {
        self.bundle.arguments()
    }

    /// Starts what is in HyperKit's place, and waits until the engine answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn boot(&self, arguments: &[String]) -> Result<()> {
        ensure!(!self.is_running(), "the VM runs already");
        self.bundle.clear();
        let mut command = self.mac_command("env");
        command.arg("-C").arg(self.bundle.data());
        command.arg(self.hyperkit()).args(arguments);
        let hyperkit = Background::spawn(&mut command, Nesting::Direct)?;
        self.bundle.record(hyperkit.pid()?.as_raw(), arguments)?;
        *self.process() = Some(hyperkit);
        let api = self.bundle.api();
        let answers = || self.console().contains(LISTENS) && dockerd::pings(&api);
        let mut answered = false;
        holds_within(BOOT, || {
            answered = answers();
            answered || !self.is_running()
        });
        if !answered {
            let said = self.process().take().map(|it| it.output());
            let (said, console) = (said.unwrap_or_default(), self.console());
            bail!("the VM did not start: {said}\n{console}");
        }
        Ok(())
    }

    /// Ends the VM as its user would, containers first.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub fn stop(&self) -> Result<()> {
        // The answer may be lost with the VM that gave it.
        let _ = backend::run(self.mac.namespace(), STOP_DOCKERD, PATIENCE);
        let Some(mut hyperkit) = self.process().take() else {
            bail!("the VM does not run");
        };
        let code = hyperkit.wait(PATIENCE).with_context(|| self.console())?;
        ensure!(
            code == 0,
            "HyperKit ended with {code}: {}",
            hyperkit.output()
        );
        Ok(())
    }

    /// Ends the VM and starts it again with [`Self::arguments`].
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::boot`].
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.boot(&self.arguments())
    }

    /// Whether the VM runs.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(Background::is_running)
    }

    /// What stands for `/` of the Mac: its programs have it as `DTAP_TAP_ROOT`.
    pub fn root(&self) -> &Path {
        self.bundle.root()
    }

    /// Where HyperKit is.
    pub fn hyperkit(&self) -> PathBuf {
        self.bundle.hyperkit()
    }

    /// A directory that goes with it, seen under this name from everywhere.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// `DOCKER_HOST` for the engine.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.bundle.api().display())
    }

    /// The Mac's namespace, for sockets of the test's own.
    pub fn mac_namespace(&self) -> &Namespace {
        self.mac.namespace()
    }

    /// As [`super::Lab::strays`].
    ///
    /// # Errors
    /// When they cannot be counted.
    pub fn strays(&self) -> Result<u64> {
        self.gateway.strays()
    }

    /// What the VM's kernel and its first process have said since it was started.
    pub fn console(&self) -> String {
        self.bundle.console()
    }

    fn process(&self) -> MutexGuard<'_, Option<Background>> {
        self.hyperkit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the VM's first process says when it makes sense to ask.
const LISTENS: &str = "dockerd listens";
/// The first process of the VM waits for it, and then ends the VM.
const STOP_DOCKERD: &str = "kill $(cat /var/run/docker.pid)\n";
const BOOT: Duration = Duration::from_secs(180);
/// An emulated processor takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
