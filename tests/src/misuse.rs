//! Commands that cannot work: each says why and what to do in one sentence, and changes nothing.

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::lab::{Lab, Output};
use crate::machines::Machines;

/// What is expected of one command line.
#[derive(Clone, Copy, Debug)]
pub struct Misuse<'a> {
    pub arguments: &'a [&'a str],
    /// What the client is started by, such as `unshare` and its arguments.
    pub wrapper: &'a [&'a str],
    pub code: i32,
    /// What the sentence contains: what is wrong, and the fix.
    pub says: &'a [&'a str],
}

impl Default for Misuse<'_> {
    fn default() -> Self {
        Self {
            arguments: &[],
            wrapper: &[],
            code: 1,
            says: &[],
        }
    }
}

impl Misuse<'_> {
    /// Runs it.
    ///
    /// # Errors
    /// When the exit code, the sentence or a change is not as it should be.
    pub fn commit(&self, lab: &Lab, client: &Client<'_>) -> Result<()> {
        let before = everything(lab)?;
        let command = client.command(self.arguments);
        let command = command.iter().map(String::as_str);
        let command: Vec<_> = self.wrapper.iter().copied().chain(command).collect();
        let said = lab.mac(&command);
        eprintln!("{}: {}", self.arguments.join(" "), said.stderr.trim_end());
        self.judge(&said)?;
        let (machines, containers) = everything(lab)?;
        ensure!(
            before.0 == machines,
            "{:?} changed a machine",
            self.arguments
        );
        ensure!(
            before.1 == containers,
            "{:?} left {containers}",
            self.arguments
        );
        ensure!(
            !client.state_dir().exists(),
            "{:?} left a state directory",
            self.arguments
        );
        Ok(())
    }

    fn judge(&self, said: &Output) -> Result<()> {
        ensure!(
            said.code == self.code,
            "not exit code {}: {said:?}",
            self.code
        );
        ensure!(said.stdout.is_empty(), "on standard output: {said:?}");
        let sentence = said.stderr.lines().next().unwrap_or_default();
        ensure!(sentence.starts_with("error: "), "no sentence: {said:?}");
        // What follows a wrong flag is clap's summary of the right ones.
        let is_alone = said.stderr.lines().count() == 1 || self.code == USAGE;
        ensure!(is_alone, "more than a sentence: {said:?}");
        for words in self.says {
            ensure!(said.stderr.contains(words), "not {words:?}: {said:?}");
        }
        Ok(())
    }
}

fn everything(lab: &Lab) -> Result<(Machines, String)> {
    let containers = lab.docker(&["ps", "--all", "--format", "{{.Names}} {{.State}}"])?;
    Ok((Machines::of(lab)?, containers))
}

const USAGE: i32 = 2;
