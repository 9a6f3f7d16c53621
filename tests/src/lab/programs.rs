//! Running programs in the machines of a lab.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use super::command::{Background, Nesting, Output, run};
use super::machine::search_path;
use super::place;

impl Lab {
    /// Runs a program on the host to its end, for half a minute at most: `lab.mac(&["ping", "-c1", "172.17.0.2"])`.
    ///
    /// `dtap-client`, as cargo built it, and the engine's `docker` are in its PATH, `DOCKER_HOST` is the engine's socket,
    /// and `HOME` an empty directory.
    ///
    /// # Panics
    /// When the lab cannot start programs any more.
    #[track_caller]
    pub fn mac(&self, program: &[&str]) -> Output {
        self.mac_within(PATIENCE, program)
    }

    /// As [`Self::mac`], for `deadline` at most.
    ///
    /// # Panics
    /// As [`Self::mac`].
    #[track_caller]
    pub fn mac_within(&self, deadline: Duration, program: &[&str]) -> Output {
        finish(self.mac_command(program[0]).args(&program[1..]), deadline)
    }

    /// Runs a program in the VM as [`Self::mac`] does on the host. Its iptables is dockerd's.
    ///
    /// # Panics
    /// As [`Self::mac`].
    #[track_caller]
    pub fn vm(&self, program: &[&str]) -> Output {
        self.vm_within(PATIENCE, program)
    }

    /// As [`Self::vm`], for `deadline` at most.
    ///
    /// # Panics
    /// As [`Self::mac`].
    #[track_caller]
    pub fn vm_within(&self, deadline: Duration, program: &[&str]) -> Output {
        finish(self.vm_command(program[0]).args(&program[1..]), deadline)
    }

    /// Runs a program on another host of the VM's LAN, one that takes the VM for its router: 192.168.65.1, or
    /// 192.168.106.3 with [`super::Link::Veth`]. Its interface `vm` is the far end of the VM's uplink.
    ///
    /// # Panics
    /// As [`Self::mac`].
    #[track_caller]
    pub fn neighbour(&self, program: &[&str]) -> Output {
        finish(self.gateway.namespace().command().args(program), PATIENCE)
    }

    /// Runs `docker` with these arguments and returns what it wrote to standard output.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        run(self.docker_command().args(arguments), PATIENCE)
            .and_then(Output::text)
            .with_context(|| format!("docker {}", arguments.join(" ")))
    }

    /// A program that will run on the host. The process of the command is the program itself, so that a signal reaches it.
    pub fn mac_command(&self, program: &str) -> Command {
        let mut command = self.mac.command(program);
        self.equip(&mut command);
        command
    }

    /// A program that will run in the VM. The process of the command only waits for it: use [`Self::vm_background`] where
    /// it needs a signal.
    pub fn vm_command(&self, program: &str) -> Command {
        let mut command = self.vm.command(program);
        command.env("PATH", self.dockerd.path());
        command
    }

    /// The engine's docker command.
    pub fn docker_command(&self) -> Command {
        let mut command = Command::new(self.engine.docker());
        self.equip(&mut command);
        command
    }

    /// Starts a program on the host that runs until it is dropped.
    pub fn mac_background(&self, program: &[&str]) -> Result<Background> {
        let mut command = self.mac_command(program[0]);
        Background::spawn(command.args(&program[1..]), Nesting::Direct)
    }

    /// Starts a program in the VM that runs until it is dropped.
    pub fn vm_background(&self, program: &[&str]) -> Result<Background> {
        let mut command = self.vm_command(program[0]);
        Background::spawn(command.args(&program[1..]), self.vm.nesting())
    }

    /// Starts a program as [`Self::neighbour`] does, such as a tcpdump of `vm`, that runs until it is dropped.
    pub fn neighbour_background(&self, program: &[&str]) -> Result<Background> {
        let mut command = self.gateway.namespace().command();
        Background::spawn(command.args(program), Nesting::Direct)
    }

    fn equip(&self, command: &mut Command) {
        let mut directories = place::programs();
        directories.extend(self.engine.docker().parent().map(Path::to_owned));
        let directories: Vec<_> = directories.iter().map(PathBuf::as_path).collect();
        command
            .env("PATH", search_path(&directories))
            .env("HOME", self.place.home())
            .env("DOCKER_HOST", self.docker_host());
    }
}

#[track_caller]
fn finish(command: &mut Command, deadline: Duration) -> Output {
    match run(command, deadline) {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error:#}"),
    }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
