//! The lab: a host (`mac`) and Docker's Linux (`vm`) as network namespaces of this machine, with a real dockerd.
//!
//! ```text
//!   ┌ mac ───────────────┐      ┌ gw ────────────┐      ┌ vm ──────────────────────────┐
//!   │ dtap-client        │┄Link┄│ gateway, or    │──────│ eth0   dockerd, containerd   │
//!   │ 127.0.0.1          │      │ bridge; strays │      │ docker0, br-…   containers   │
//!   └─────────┬──────────┘      └────────────────┘      └──────────────┬───────────────┘
//!             └──────────────── docker.sock, a file ───────────────────┘
//! ```
//!
//! [`DockerDesktop`] is another such host, whose VM is a real one.
//!
//! Several labs can run at once. Whatever a lab made is gone when it is dropped; what a killed one left is removed when
//! the next one starts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::runtime::{self, Handle, Runtime};

mod apt;
mod command;
mod container;
mod desktop;
mod dockerd;
mod engine;
mod gateway;
mod image;
mod leftovers;
mod machine;
mod namespace;
mod packages;
mod place;
mod privilege;
mod programs;
mod proxy;
mod rootless;
mod snapshot;
mod vm;
mod worker;

pub use apt::cache;
pub use command::{Background, Output};
pub use container::Container;
pub use desktop::DockerDesktop;
pub use dockerd::Firewall;
pub use engine::Engine;
pub use gateway::Link;
pub use image::PAGE;
pub use namespace::Namespace;
pub use packages::{found, install};
pub use privilege::{can_run, require_root};
pub use proxy::ApiProxy;
pub use rootless::Rootless;
pub use vm::{ENGINE_MODULES, Vm, VmOptions};
pub use worker::Worker;

use dockerd::Dockerd;
use gateway::Gateway;
use machine::{Machine, Processes};
use place::Place;

/// What a lab shall be like. The default is the newest engine behind Docker Desktop's kind of link.
#[derive(Clone, Debug)]
pub struct Options {
    pub link: Link,
    /// The newest when None.
    pub engine: Option<Engine>,
    pub firewall: Firewall,
    pub dockerd_arguments: Vec<String>,
    /// After how long without a datagram the gateway forgets a UDP flow.
    pub udp_idle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            link: Link::default(),
            engine: None,
            firewall: Firewall::default(),
            dockerd_arguments: Vec::new(),
            udp_idle: Duration::from_secs(60),
        }
    }
}

/// A running lab. Fields are dropped in this order: first who uses, then what is used.
#[derive(Debug)]
pub struct Lab {
    engine: Engine,
    dockerd: Dockerd,
    vm: Machine,
    mac: Machine,
    gateway: Gateway,
    threads: Threads,
    place: Place,
}

impl Lab {
    /// Brings a lab up: dockerd answers, and the image of [`Self::container`] is there.
    ///
    /// # Errors
    /// When not root, when a program or the engine is missing, or when something did not start; the reason includes what
    /// it wrote to its log.
    pub fn start(options: Options) -> Result<Self> {
        require_root()?;
        let engine = options.engine.clone().map_or_else(Engine::newest, Ok)?;
        leftovers::remove();
        let place = Place::new()?;
        let threads = Threads::start()?;

        let namespace = |machine: &str| Namespace::create(place.namespace(machine));
        let gateway = namespace("gw")?;
        let mac = Machine::boot(namespace("mac")?, Processes::Shared, "")?;
        let vm = Machine::boot(namespace("vm")?, Processes::Own, options.link.hosts())?;
        let gateway = Gateway::connect(
            gateway,
            vm.namespace(),
            mac.namespace(),
            &options,
            &threads.handle(),
        )
        .context("connect the VM and the host")?;
        let dockerd = Dockerd::start(&vm, place.directory(), &engine, &options)?;
        let lab = Self {
            engine,
            dockerd,
            vm,
            mac,
            gateway,
            threads,
            place,
        };
        container::load_image(lab.docker_command())?;
        Ok(lab)
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A directory that goes with the lab, seen under this name from everywhere.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        dockerd::socket(self.place.directory())
    }

    /// `DOCKER_HOST` for it.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The host's namespace, for sockets of the test's own.
    pub fn mac_namespace(&self) -> &Namespace {
        self.mac.namespace()
    }

    /// The VM's namespace, for sockets of the test's own.
    pub fn vm_namespace(&self) -> &Namespace {
        self.vm.namespace()
    }

    /// A TCP address of the Docker API in `mac` whose bytes can be made to stall.
    pub fn api_proxy(&self) -> Result<ApiProxy> {
        ApiProxy::start(self.mac.namespace(), self.socket(), &self.threads.handle())
    }

    /// How many packets with an address in 10.75.0.0/16 or fc00::/7 have crossed the VM's uplink so far, in the clear and
    /// in either direction. The addresses of [`Link::Veth`] itself do not count.
    pub fn strays(&self) -> Result<u64> {
        self.gateway.strays()
    }

    /// Loses every packet between the VM and its uplink from now on. Nobody is told; the Docker API is not affected.
    pub fn link_down(&self) -> Result<()> {
        self.gateway.cut()
    }

    /// Undoes [`Self::link_down`].
    pub fn link_up(&self) -> Result<()> {
        self.gateway.mend()
    }

    /// Stops dockerd as an init system would. Its containers end too.
    pub fn stop_dockerd(&self) -> Result<()> {
        self.dockerd.end(Signal::SIGTERM)
    }

    /// Kills dockerd. Its containers live on.
    pub fn kill_dockerd(&self) -> Result<()> {
        self.dockerd.end(Signal::SIGKILL)
    }

    /// Starts dockerd and waits until it answers.
    pub fn start_dockerd(&self) -> Result<()> {
        self.dockerd.spawn(&self.vm)?;
        self.dockerd.await_answer()
    }

    pub fn restart_dockerd(&self) -> Result<()> {
        self.stop_dockerd()?;
        self.start_dockerd()
    }

    /// What the present dockerd has logged.
    pub fn dockerd_log(&self) -> String {
        self.dockerd.log()
    }
}

/// The threads that carry bytes through the gateway and the API proxies.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the gateway's threads")?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> Handle {
        let Self(Some(runtime)) = self else {
            unreachable!("only dropping takes it");
        };
        runtime.handle().clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A lab may be dropped within a test's own runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}
