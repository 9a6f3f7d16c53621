//! Running programs on the Mac and in its VM.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::super::command::{Output, run};
use super::super::container::{self, Container};
use super::super::machine::search_path;
use super::super::place;
use super::{DockerDesktop, PATIENCE, backend};

impl DockerDesktop {
    /// Runs a program on the Mac to its end, as [`super::super::Lab::mac`] does.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn mac(&self, program: &[&str]) -> Output {
        let mut command = self.mac_command(program[0]);
        match run(command.args(&program[1..]), PATIENCE) {
            Ok(output) => output,
            Err(error) => panic!("{command:?}: {error:#}"),
        }
    }

    /// Runs a program in the VM to its end.
    ///
    /// # Panics
    /// When the VM does not answer.
    #[track_caller]
    pub fn vm(&self, program: &[&str]) -> Output {
        let quoted: Vec<_> = program
            .iter()
            .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
            .collect();
        match backend::run(self.mac.namespace(), &quoted.join(" "), PATIENCE) {
            Ok(output) => output,
            Err(error) => panic!("{program:?} in the VM: {error:#}\n{}", self.console()),
        }
    }

    /// A program that will run on the Mac. The process of the command is the program itself.
    pub fn mac_command(&self, program: &str) -> Command {
        let mut command = self.mac.command(program);
        self.equip(&mut command);
        command
    }

    /// As [`super::super::Lab::docker`].
    ///
    /// # Errors
    /// When it failed, with all it said.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        run(self.docker_command().args(arguments), PATIENCE)
            .and_then(Output::text)
            .with_context(|| format!("docker {}", arguments.join(" ")))
    }

    /// As [`super::super::Lab::container`].
    ///
    /// # Errors
    /// When it did not start.
    pub fn container(&self, name: &str, arguments: &[&str]) -> Result<Container> {
        container::run(|arguments| self.docker(arguments), name, arguments)
    }

    /// A container as it is now.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn inspect(&self, name: &str) -> Result<Container> {
        container::inspect(|arguments| self.docker(arguments), name)
    }

    pub(super) fn docker_command(&self) -> Command {
        let mut command = Command::new(self.engine.docker());
        self.equip(&mut command);
        command
    }

    fn equip(&self, command: &mut Command) {
        let mut directories = place::programs();
        directories.extend(self.engine.docker().parent().map(Path::to_owned));
        let directories: Vec<_> = directories.iter().map(PathBuf::as_path).collect();
        command
            .env("PATH", search_path(&directories))
            .env("HOME", self.bundle.home())
            .env("DOCKER_HOST", self.docker_host())
            .env("DTAP_TAP_ROOT", self.root());
    }
}
