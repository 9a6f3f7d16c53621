//! A second node of a swarm whose manager is the lab's VM.
//!
//! ```text
//!   ┌ vm ────────────────────────┐          ┌ worker ────────────────────┐
//!   │ 192.168.107.2     manager  │─ cable ──│ 192.168.107.3              │
//!   │ overlay networks           │          │ dockerd, containerd        │
//!   └────────────────────────────┘          └────────────────────────────┘
//! ```

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::command::{Output, run};
use super::dockerd::{self, Dockerd};
use super::machine::{Machine, Processes};
use super::programs::PATIENCE;
use super::{Container, Lab, Namespace, Options, container};

/// A machine with an engine of its own; gone when dropped. Its socket is a file, as the lab's is.
#[derive(Debug)]
pub struct Worker<'a> {
    lab: &'a Lab,
    directory: PathBuf,
    _dockerd: Dockerd,
    machine: Machine,
}

impl<'a> Worker<'a> {
    /// Makes the lab's engine a swarm's manager and joins it with a machine that has the same engine.
    ///
    /// # Errors
    /// As [`Lab::start`], or when the swarm does not form.
    pub fn join(lab: &'a Lab) -> Result<Self> {
        let directory = lab.directory().join("worker");
        fs::create_dir(&directory).context("create the worker's directory")?;
        let namespace = Namespace::create(lab.place.namespace("worker"))?;
        let machine = Machine::boot(namespace, Processes::Own, "")?;
        lab.vm.namespace().ip(&format!(
            "link add swarm type veth peer name eth0 netns {}\n\
             link set swarm up\n\
             address add {MANAGER}/24 dev swarm\n",
            machine.namespace().name()
        ))?;
        // Without a default route, an engine finds no address to be a node by.
        machine.namespace().ip(&format!(
            "link set eth0 up\n\
             address add 192.168.107.3/24 dev eth0\n\
             route add default via {MANAGER}\n"
        ))?;
        let dockerd = Dockerd::start(&machine, &directory, lab.engine(), &Options::default())?;
        let worker = Self {
            lab,
            directory,
            _dockerd: dockerd,
            machine,
        };
        container::load_image(worker.docker_command())?;
        lab.docker(&["swarm", "init", "--advertise-addr", MANAGER])?;
        let token = lab.docker(&["swarm", "join-token", "--quiet", "worker"])?;
        worker.docker(&[
            "swarm",
            "join",
            "--token",
            &token,
            &format!("{MANAGER}:2377"),
        ])?;
        Ok(worker)
    }

    /// `DOCKER_HOST` for its engine.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", dockerd::socket(&self.directory).display())
    }

    /// Runs `docker` against its engine as [`Lab::docker`] does against the manager's.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        run(self.docker_command().args(arguments), PATIENCE)
            .and_then(Output::text)
            .with_context(|| format!("docker {} on the worker", arguments.join(" ")))
    }

    /// As [`Lab::container`].
    pub fn container(&self, name: &str, arguments: &[&str]) -> Result<Container> {
        container::run(|arguments| self.docker(arguments), name, arguments)
    }

    /// Its namespace, for sockets of the test's own.
    pub fn namespace(&self) -> &Namespace {
        self.machine.namespace()
    }

    fn docker_command(&self) -> Command {
        let mut command = self.lab.docker_command();
        command.env("DOCKER_HOST", self.docker_host());
        command
    }
}

const MANAGER: &str = "192.168.107.2";
