//! Why an engine cannot be talked to, in words that say what to do.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use bollard::errors::Error;

use super::endpoint::Endpoint;
use super::engine::REQUEST_TIMEOUT;

/// Why a connection to the engine failed.
pub(super) fn sentence(endpoint: &Endpoint, error: &io::Error) -> String {
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
        return anyhow!(sentence(endpoint, err));
    }
    if let Error::DockerResponseServerError { message, .. } = &error {
        return anyhow!("the engine refused: {}", message.trim());
    }
    if let Error::RequestTimeoutError = error {
        return timed_out(endpoint, REQUEST_TIMEOUT);
    }

    anyhow::Error::new(error).context(format!("talk to the engine at {endpoint}"))
}

/// How long was waited in vain.
pub(super) fn timed_out(endpoint: &Endpoint, limit: Duration) -> anyhow::Error {
    anyhow!(
        "the engine at {endpoint} did not answer within {} s",
        limit.as_secs()
    )
}
