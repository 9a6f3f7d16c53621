//! Quits and starts Docker Desktop, in the session of its user.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::docker::User;
use crate::stdout::say;

/// A VM with many containers takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn docker(user: &User) -> Result<()> {
    say("restarting Docker");
    run(&quit(user))?;
    let start_of_wait = Instant::now();
    // pgrep(1) finds nothing: exit code 1.
    while started(&running(user))?.success() {
        if start_of_wait.elapsed() > PATIENCE {
            bail!(
                "Docker did not quit within {} s: restart it by hand",
                PATIENCE.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(500));
    }
    run(&start(user))
}

fn quit(user: &User) -> Vec<String> {
    in_session(user, &["osascript", "-e", "quit app \"Docker\""])
}

fn start(user: &User) -> Vec<String> {
    in_session(user, &["open", "--background", "-a", "Docker"])
}

fn running(user: &User) -> Vec<String> {
    let command = ["pgrep", "-x", "-u", &user.uid.to_string(), "Docker"];
    command.map(str::to_owned).to_vec()
}

/// Apps are reached in the user's own bootstrap namespace only: launchctl(1), asuser.
fn in_session(user: &User, command: &[&str]) -> Vec<String> {
    let (uid, id) = (user.uid.to_string(), format!("#{}", user.uid));
    let session = ["launchctl", "asuser", &uid, "sudo", "-u", &id, "--"];
    session
        .iter()
        .chain(command)
        .map(|it| (*it).to_owned())
        .collect()
}

fn run(command: &[String]) -> Result<()> {
    if !started(command)?.success() {
        bail!("`{}` failed: restart Docker by hand", command.join(" "));
    }
    Ok(())
}

fn started(command: &[String]) -> Result<std::process::ExitStatus> {
    let (program, arguments) = command.split_first().context("no command")?;
    let status = Command::new(program).args(arguments).status();
    status.with_context(|| format!("start {program}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_reach_the_user_s_session() {
        let user = User {
            name: "me".to_owned(),
            uid: 501,
            gid: 20,
            home: "/Users/me".into(),
        };
        let session = "launchctl asuser 501 sudo -u #501 --";
        let quit = quit(&user).join(" ");
        assert_eq!(quit, format!("{session} osascript -e quit app \"Docker\""));
        let start = start(&user).join(" ");
        assert_eq!(start, format!("{session} open --background -a Docker"));
        assert_eq!(running(&user).join(" "), "pgrep -x -u 501 Docker");
    }
}
