//! Why an engine cannot be talked to, in words that say what to do.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use bollard::errors::Error;

use super::endpoint::Endpoint;
use super::engine::REQUEST_TIMEOUT;

/// The engine does not run, or not yet: to try again later is worth it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Absent(pub(super) String);

/// Whether the engine is merely not there, rather than there and not to be used.
pub fn is_absent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Absent>().is_some()
}

/// Why a connection to the engine failed.
pub(super) fn unreachable(endpoint: &Endpoint, error: &io::Error) -> anyhow::Error {
    let sentence = sentence(endpoint, error);
    if is_final(endpoint, error) {
        return anyhow!(sentence);
    }
    Absent(sentence).into()
}

/// Whether no time will help.
fn is_final(endpoint: &Endpoint, error: &io::Error) -> bool {
    let refuses = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    );
    let ssh_refuses = || {
        let text = error.to_string();
        let is_program_missing = error.kind() == io::ErrorKind::NotFound;
        is_program_missing || SSH_REFUSALS.iter().any(|it| text.contains(it))
    };

    refuses || matches!(endpoint, Endpoint::Ssh { .. }) && ssh_refuses()
}

fn sentence(endpoint: &Endpoint, error: &io::Error) -> String {
    match (error.kind(), endpoint) {
        (io::ErrorKind::PermissionDenied, Endpoint::Unix(path)) => format!(
            "no permission to use the engine's socket {}: run as root, or as a member of the group that owns it",
            path.display()
        ),
        (io::ErrorKind::NotFound, Endpoint::Unix(path)) => format!(
            "no engine at {}: start Docker, or name another with --context or --docker-host",
            path.display()
        ),
        (
            io::ErrorKind::ConnectionRefused,
            Endpoint::Unix(_) | Endpoint::Tcp { .. } | Endpoint::Tls { .. },
        ) => {
            format!("the engine at {endpoint} is not running (connection refused): start Docker")
        }
        (_, Endpoint::Ssh { .. }) => format!(
            "cannot connect to the engine at {endpoint}: {error}: make ssh work without a password, \
             and keep the agent with `sudo --preserve-env=SSH_AUTH_SOCK`"
        ),
        (_, Endpoint::Unix(_) | Endpoint::Tcp { .. } | Endpoint::Tls { .. }) => {
            format!("cannot connect to the engine at {endpoint}: {error}")
        }
    }
}

/// What went wrong with a request.
pub(super) fn explained(endpoint: &Endpoint, error: Error) -> anyhow::Error {
    if let Error::IOError { err } = &error {
        return unreachable(endpoint, err);
    }
    if let Error::DockerResponseServerError { message, .. } = &error {
        return anyhow!("the engine refused: {}", message.trim());
    }
    if let Error::RequestTimeoutError = error {
        return timed_out(endpoint, REQUEST_TIMEOUT);
    }

    let attempt = format!("talk to the engine at {endpoint}");
    if let Error::HyperResponseError { err } = &error {
        // The forwarder of a VM that is still booting accepts, and hangs up.
        return Absent(format!("{attempt}: {err}")).into();
    }
    anyhow::Error::new(error).context(attempt)
}

/// How long was waited in vain.
pub(super) fn timed_out(endpoint: &Endpoint, limit: Duration) -> anyhow::Error {
    let sentence = format!(
        "the engine at {endpoint} did not answer within {} s",
        limit.as_secs()
    );
    Absent(sentence).into()
}

/// In the words of ssh(1).
const SSH_REFUSALS: [&str; 2] = ["Permission denied", "Host key verification failed"];
