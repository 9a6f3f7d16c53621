//! Decides which engine is meant.
//!
//! The order is Docker's own: the user's flag, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context, the default
//! socket. Where that socket does not answer, the sockets of other well-known engines are tried.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::context;
use super::endpoint::{Certificates, Endpoint};
use super::environment::{Environment, User};
use super::refusal::{self, Absent};

/// Which engine the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    #[default]
    Default,
    /// `--context NAME`
    Context(String),
    /// `--docker-host URL`
    Host(String),
}

impl Selection {
    /// Whether it names an engine once and for all: no file has a part in it.
    pub(crate) fn is_final(&self, environment: &Environment) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Context(_) => false,
            Self::Default => environment.variable("DOCKER_HOST").is_some(),
        }
    }
}

/// An engine to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The context's name, or `default`.
    pub name: String,
    pub endpoint: Endpoint,
    /// Whose ssh, with its keys and agent, leads there.
    pub user: User,
    /// The user's `SSH_AUTH_SOCK`, where sudo has kept it.
    pub ssh_agent: Option<PathBuf>,
}

/// What the user's choice comes to, as files and variables are at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Named {
        /// The context's name, or `default`.
        name: String,
        endpoint: Endpoint,
    },
    /// Nobody has chosen: whichever of the well-known engines answers.
    WellKnown,
}

/// Finds the engine that is meant.
///
/// # Errors
///
/// One sentence with the fix: an unknown context, a malformed URL, or no engine at any well-known socket.
pub fn find(selection: &Selection, environment: &Environment) -> Result<Target> {
    choose(selection, environment)?.target(environment)
}

/// Reads what the user has chosen; no engine is asked.
///
/// # Errors
///
/// One sentence with the fix: an unknown context, or a malformed URL.
pub fn choose(selection: &Selection, environment: &Environment) -> Result<Choice> {
    match selection {
        Selection::Host(url) => Ok(Choice::Named {
            name: context::DEFAULT.to_owned(),
            endpoint: host(url, environment)?,
        }),
        Selection::Context(name) => named(name, environment),
        Selection::Default => default(environment),
    }
}

impl Choice {
    /// The engine to connect to.
    ///
    /// # Errors
    ///
    /// One sentence, when it has to be looked for and no engine is at any well-known socket.
    pub fn target(self, environment: &Environment) -> Result<Target> {
        let (name, endpoint) = match self {
            Self::Named { name, endpoint } => (name, endpoint),
            Self::WellKnown => (context::DEFAULT.to_owned(), well_known(environment)?),
        };

        Ok(Target {
            name,
            endpoint,
            user: environment.user.clone(),
            ssh_agent: environment.variable("SSH_AUTH_SOCK").map(PathBuf::from),
        })
    }
}

fn default(environment: &Environment) -> Result<Choice> {
    if environment.variable("DOCKER_HOST").is_some() {
        return named(context::DEFAULT, environment);
    }
    let chosen = match environment.variable("DOCKER_CONTEXT") {
        Some(name) => Some(name.to_owned()),
        None => context::current(&environment.configuration())?,
    };

    match chosen {
        Some(name) if name != context::DEFAULT => named(&name, environment),
        Some(_) | None => Ok(Choice::WellKnown),
    }
}

fn named(name: &str, environment: &Environment) -> Result<Choice> {
    let endpoint = if name != context::DEFAULT {
        context::endpoint(&environment.configuration(), name)?
    } else if let Some(url) = environment.variable("DOCKER_HOST") {
        host(url, environment)?
    } else {
        Endpoint::Unix(environment.system_socket.clone())
    };

    Ok(Choice::Named {
        name: name.to_owned(),
        endpoint,
    })
}

/// As for the `docker` command, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` apply to every URL given directly.
fn host(url: &str, environment: &Environment) -> Result<Endpoint> {
    let directory = match environment.variable("DOCKER_CERT_PATH") {
        Some(directory) => directory.into(),
        None => environment.configuration(),
    };
    let verify = environment.variable("DOCKER_TLS_VERIFY");

    Endpoint::parse(url, verify.map(|_| Certificates::in_directory(&directory)))
}

fn well_known(environment: &Environment) -> Result<Endpoint> {
    let sockets = sockets(environment);
    let mut refused = None;

    for socket in &sockets {
        match UnixStream::connect(socket) {
            Ok(_) => return Ok(Endpoint::Unix(socket.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                refused.get_or_insert_with(|| {
                    refusal::unreachable(&Endpoint::Unix(socket.clone()), &error)
                });
            }
        }
    }

    match refused {
        Some(error) => Err(error),
        None => Err(Absent(format!(
            "no container engine found: start Docker, or name it with --context or --docker-host (looked for {})",
            listed(&sockets)
        ))
        .into()),
    }
}

/// The sockets of Docker, Docker Desktop, OrbStack, Colima, Rancher Desktop, Lima and rootless Docker.
fn sockets(environment: &Environment) -> Vec<PathBuf> {
    let home = &environment.user.home;
    let mut sockets = vec![
        environment.system_socket.clone(),
        home.join(".docker/run/docker.sock"),
        home.join(".orbstack/run/docker.sock"),
        home.join(".colima/default/docker.sock"),
    ];
    sockets.extend(instances(&home.join(".colima"), "docker.sock"));
    sockets.extend(instances(&home.join(".config/colima"), "docker.sock"));
    sockets.push(home.join(".rd/docker.sock"));
    sockets.extend(instances(&home.join(".lima"), "sock/docker.sock"));
    sockets.push(environment.runtime_directory.join("docker.sock"));

    sockets
}

/// The socket of each instance in a directory that has one folder per instance.
fn instances(directory: &Path, socket: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut sockets: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path().join(socket))
        .filter(|path| path.exists())
        .collect();
    sockets.sort();

    sockets
}

fn listed(sockets: &[PathBuf]) -> String {
    let sockets: Vec<_> = sockets.iter().map(|it| it.display().to_string()).collect();

    sockets.join(", ")
}

#[cfg(test)]
mod tests;
