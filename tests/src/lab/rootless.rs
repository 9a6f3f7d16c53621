//! An engine without root: dockerd of an ordinary user on the lab's host, whose networks are behind slirp4netns.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use super::command::{Background, Output, run};
use super::image;
use crate::wait::holds_within;

/// A rootless dockerd beside the lab's own engine, of the same version. Dropped, it ends.
#[derive(Debug)]
pub struct Rootless<'a> {
    lab: &'a Lab,
    directory: PathBuf,
    dockerd: Background,
}

impl<'a> Rootless<'a> {
    /// Starts it and waits until it answers; the image of [`Lab::container`] is there.
    ///
    /// # Errors
    /// When a program is missing or it did not start; the reason includes what it wrote.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let directory = lab.directory().join("rootless");
        fs::create_dir(&directory).context("create a directory for the rootless engine")?;
        let [engine, runtime] = lab.engine().roots();
        let paths = [&directory, engine, runtime].map(|it| it.display().to_string());
        let mut program = vec!["unshare", "--mount", "sh", "-c", SCRIPT, "rootless"];
        program.extend(paths.iter().map(String::as_str));
        let rootless = Self {
            lab,
            directory,
            dockerd: lab.mac_background(&program)?,
        };
        let answers = || rootless.docker(&["version"]).is_ok();
        if !holds_within(STARTING, answers) {
            anyhow::bail!("no answer in {STARTING:?}: {}", rootless.dockerd.output());
        }
        let archive = rootless.directory.join("busybox.tar");
        fs::write(&archive, image::archive()?).context("write the image")?;
        let archive = archive.display().to_string();
        rootless.docker(&["load", "--input", &archive])?;
        Ok(rootless)
    }

    /// `DOCKER_HOST` for it.
    pub fn docker_host(&self) -> String {
        format!(
            "unix://{}",
            self.directory.join("run/docker.sock").display()
        )
    }

    /// Runs `docker` on it, as [`Lab::docker`] does on the lab's own engine.
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.lab.docker_command();
        command
            .env("DOCKER_HOST", self.docker_host())
            .args(arguments);
        run(&mut command, STARTING)
            .and_then(Output::text)
            .with_context(|| format!("docker {}", arguments.join(" ")))
    }
}

const SCRIPT: &str = include_str!("rootless.sh");
const STARTING: Duration = Duration::from_secs(30);
