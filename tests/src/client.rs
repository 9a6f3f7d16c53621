//! The real `dtap-client` on a lab's host.

use std::fmt::Debug;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::host::Host;
use crate::lab::{DockerDesktop, Lab, Output};
use crate::wait::wait_until;

/// Where a client can run.
pub trait Site: Debug + Sync {
    /// A directory that goes with it.
    fn directory(&self) -> &Path;
    /// `DOCKER_HOST` for its engine.
    fn docker_host(&self) -> String;
    /// Runs a program on the host to its end.
    fn mac(&self, program: &[&str]) -> Output;
    /// Runs a program in the VM to its end.
    fn vm(&self, program: &[&str]) -> Output;
}

impl Site for Lab {
    fn directory(&self) -> &Path {
        self.directory()
    }

    fn docker_host(&self) -> String {
        self.docker_host()
    }

    fn mac(&self, program: &[&str]) -> Output {
        self.mac(program)
    }

    fn vm(&self, program: &[&str]) -> Output {
        self.vm(program)
    }
}

impl Site for DockerDesktop {
    fn directory(&self) -> &Path {
        self.directory()
    }

    fn docker_host(&self) -> String {
        self.docker_host()
    }

    fn mac(&self, program: &[&str]) -> Output {
        self.mac(program)
    }

    fn vm(&self, program: &[&str]) -> Output {
        self.vm(program)
    }
}

/// One client with its own state directory; disconnected when dropped.
#[derive(Debug)]
pub struct Client<'a> {
    lab: &'a dyn Site,
    program: PathBuf,
    machine: Machine,
    entrance: Vec<String>,
    state_dir: PathBuf,
    /// None where the current context decides.
    docker_host: Option<String>,
}

/// Where a client runs.
#[derive(Clone, Copy, Debug)]
enum Machine {
    Mac,
    Vm,
}

/// `make build` leaves it there; `DTAP_CLIENT` names another.
const PROGRAM: &str = "target/release/dtap-client";
/// Longer than any promise of the client: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

impl<'a> Client<'a> {
    /// A client that has not connected yet. Several on one lab differ in `name`.
    pub fn new(lab: &'a dyn Site, name: &str) -> Self {
        Self {
            lab,
            program: program(),
            machine: Machine::Mac,
            entrance: Vec::new(),
            state_dir: lab.directory().join(format!("client-{name}")),
            docker_host: Some(lab.docker_host()),
        }
    }

    /// Runs on the engine's own machine, as on a Linux host with Docker.
    #[must_use]
    pub fn beside_the_engine(mut self) -> Self {
        self.machine = Machine::Vm;
        self
    }

    /// Is another program than [`program`].
    #[must_use]
    pub fn made_by(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Runs on another host.
    #[must_use]
    pub fn on(mut self, host: &Host<'_>) -> Self {
        self.entrance = host.entrance().into();
        self
    }

    /// Reaches the engine by another address, such as that of a proxy.
    #[must_use]
    pub fn by(mut self, docker_host: String) -> Self {
        self.docker_host = Some(docker_host);
        self
    }

    /// Reaches the engine of the lab's current context, as `docker context use` leaves it.
    #[must_use]
    pub fn by_the_context(mut self) -> Self {
        self.docker_host = None;
        self
    }

    /// Where its key is.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Runs `dtap-client` with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        match self.machine {
            Machine::Mac => self.lab.mac(&command),
            Machine::Vm => self.lab.vm(&command),
        }
    }

    /// The command line of [`Self::run`], for one that stays in the background.
    pub fn command(&self, arguments: &[&str]) -> Vec<String> {
        let docker_host = match &self.docker_host {
            Some(docker_host) => vec![format!("DOCKER_HOST={docker_host}")],
            None => ["--unset", "DOCKER_HOST"].map(str::to_owned).to_vec(),
        };
        // env wants its options first.
        let own = std::iter::once("env".to_owned()).chain(docker_host).chain([
            format!("DTAP_STATE_DIR={}", self.state_dir.display()),
            self.program.display().to_string(),
        ]);
        let given = arguments.iter().map(|&argument| argument.to_owned());
        let entrance = self.entrance.iter().cloned();
        entrance.chain(own).chain(given).collect()
    }

    /// `connect --detach` with further arguments.
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub fn connect(&self, arguments: &[&str]) -> Result<()> {
        let command = [&["connect", "--detach"], arguments].concat();
        self.run(&command).text().map(drop)
    }

    /// `disconnect`.
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub fn disconnect(&self) -> Result<()> {
        self.run(&["disconnect"]).text().map(drop)
    }

    /// What `status --json` says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn status(&self) -> Result<Value> {
        let output = self.run(&["status", "--json"]);
        serde_json::from_str(&output.stdout).with_context(|| format!("read the status: {output:?}"))
    }

    /// What it says of its first or only connection.
    ///
    /// # Errors
    /// When there is none.
    pub fn connection(&self) -> Result<Value> {
        let mut status = self.status()?;
        match status["connections"].get_mut(0) {
            Some(connection) => Ok(connection.take()),
            None => bail!("no connection: {status}"),
        }
    }

    /// What it says of the connection of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn connection_to(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let mut connections = status["connections"].as_array().into_iter().flatten();
        let found = connections.find(|it| it["name"] == name);
        found
            .cloned()
            .with_context(|| format!("no connection '{name}': {status}"))
    }

    /// The text of one field of [`Self::connection`], such as `path`; empty when it is null.
    pub fn field(&self, name: &str) -> String {
        let connection = self.connection().unwrap_or_default();
        connection[name].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the path is this one.
    pub fn wait_for_path(&self, path: &str) {
        let what = format!("the path is {path}");
        wait_until(PATIENCE, &what, || self.field("path") == path);
    }

    /// The addresses of its interface that containers can answer to.
    ///
    /// # Errors
    /// When it has no interface.
    pub fn host_addresses(&self) -> Result<Vec<IpAddr>> {
        let interface = self.field("interface");
        let show = ["ip", "-o", "address", "show", "scope", "global", "dev"];
        let listed = self.lab.mac(&[&show[..], &[&interface]].concat()).text()?;
        let prefixes = listed.lines().map(|line| {
            let prefix = line.split_whitespace().nth(3).unwrap_or_default();
            prefix.split('/').next().unwrap_or_default()
        });
        prefixes
            .map(|address| address.parse().with_context(|| format!("read {listed}")))
            .collect()
    }

    /// What its background process has written.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state_dir.join("client.log")).unwrap_or_default()
    }

    /// The process that holds the tunnel.
    ///
    /// # Errors
    /// When none runs.
    pub fn pid(&self) -> Result<i32> {
        let lock = self.state_dir.join("lock");
        let pid = std::fs::read_to_string(&lock).context("read the client's pid")?;
        pid.trim().parse().context("read the client's pid")
    }

    /// Sends a signal to the process that holds the tunnel and waits until it is gone.
    ///
    /// # Errors
    /// When none runs.
    pub fn end(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?);
        kill(pid, signal).with_context(|| format!("send {signal} to the client"))?;
        let lock = File::open(self.state_dir.join("lock")).context("open the client's lock")?;
        // It may have become a zombie before the last of its threads let go of its files.
        wait_until(PATIENCE, "the client is gone", || lock.try_lock().is_ok());
        Ok(())
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the client's log:\n{}", self.log());
        }
        // A client that never ran, or was killed, has nothing to undo.
        let _ = self.disconnect();
    }
}

/// The client that is tested.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("DTAP_CLIENT") {
        return program.into();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    match target {
        Some(target) => workspace.join(target).join("release/dtap-client"),
        None => workspace.join(PROGRAM),
    }
}
