//! A container's network, entered by the test: the sockets it makes there are like the container's own.

use std::fs::{self, File};
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::lab::{Background, Container, Lab};

/// The network namespace of one container, as long as somebody holds this.
#[derive(Debug)]
pub struct Inside<'a> {
    lab: &'a Lab,
    id: String,
    namespace: File,
}

impl<'a> Inside<'a> {
    /// # Errors
    /// When the container does not run.
    pub fn of(lab: &'a Lab, container: &Container) -> Result<Self> {
        Ok(Self {
            lab,
            id: container.id.clone(),
            namespace: namespace(&container.id)?,
        })
    }

    /// Runs `inside` in the container's network, on a thread of its own.
    ///
    /// # Errors
    /// When it cannot be entered, and those of `inside`.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).context("enter a container")?;
                inside()
            });
            match entered.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a program of this machine in the container's network: busybox's ping cannot forbid fragments.
    ///
    /// # Errors
    /// When it cannot be started, or the container is not the lab's own engine's.
    pub fn background(&self, program: &[&str]) -> Result<Background> {
        // As the VM counts.
        let pid = ["inspect", "--format", "{{.State.Pid}}", &self.id];
        let enter = format!("--net=/proc/{}/ns/net", self.lab.docker(&pid)?);
        self.lab
            .vm_background(&[&["nsenter", &enter], program].concat())
    }
}

/// The namespace of whatever process is in the container's cgroup.
fn namespace(id: &str) -> Result<File> {
    let is_inside = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id))
    };
    let processes = fs::read_dir("/proc").context("list processes")?;
    let pid = processes
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.parse::<u32>().is_ok() && is_inside(name))
        .with_context(|| format!("find a process of container {id}"))?;
    File::open(format!("/proc/{pid}/ns/net")).context("open a container's network")
}
