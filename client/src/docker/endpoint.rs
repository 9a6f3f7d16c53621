//! Where an engine is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use url::Url;

/// Where an engine listens, parsed once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    Unix(PathBuf),
    /// Unencrypted: whoever is on the way can be root on the engine.
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        certificates: Certificates,
    },
    /// `docker system dial-stdio` on that machine, by the user's own ssh.
    Ssh {
        user: Option<String>,
        host: String,
        port: Option<u16>,
        /// The engine's socket there, if not the default.
        socket: Option<PathBuf>,
    },
}

/// PEM files that authenticate engine and client to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    pub authority: PathBuf,
    /// Certificate and key, where the engine wants to know the client.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Certificates {
    /// The files as Docker names them: `ca.pem`, and `cert.pem` with `key.pem` if both are there.
    pub fn in_directory(directory: &Path) -> Self {
        let certificate = directory.join("cert.pem");
        let key = directory.join("key.pem");
        let is_complete = certificate.exists() && key.exists();

        Self {
            authority: directory.join("ca.pem"),
            client: is_complete.then_some((certificate, key)),
        }
    }
}

impl Endpoint {
    /// Parses what `DOCKER_HOST` and contexts contain: `unix://`, `tcp://`, `http://`, `https://` or `ssh://`.
    ///
    /// With `certificates`, `tcp://` means TLS, as in Docker.
    pub fn parse(text: &str, certificates: Option<Certificates>) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            bail!("'{text}' is no engine's URL: write it like {EXAMPLES}");
        };

        match (scheme, certificates) {
            ("unix", _) => unix(text, rest),
            ("ssh", _) => ssh(text),
            ("tcp" | "https", Some(certificates)) => {
                let (host, port) = authority(text, TLS_PORT)?;
                Ok(Self::Tls {
                    host,
                    port,
                    certificates,
                })
            }
            ("tcp" | "http", _) => {
                let (host, port) = authority(text, TCP_PORT)?;
                Ok(Self::Tcp { host, port })
            }
            ("https", None) => {
                bail!(
                    "'{text}' needs certificates: set DOCKER_CERT_PATH and DOCKER_TLS_VERIFY=1, or use a context"
                )
            }
            (other, _) => {
                bail!("'{text}': engines cannot be reached by '{other}://': use {EXAMPLES}")
            }
        }
    }
}

impl Endpoint {
    /// Equal for all ways to write where one engine listens, as long as it stays there.
    pub fn identity(&self) -> String {
        match self {
            // /var/run/docker.sock is a link to the socket of whichever engine the user prefers.
            Self::Unix(path) => {
                let path = path.canonicalize().unwrap_or_else(|_| path.clone());
                format!("unix://{}", path.display())
            }
            Self::Tcp { .. } | Self::Tls { .. } | Self::Ssh { .. } => self.to_string(),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } | Self::Tls { host, port, .. } => {
                write!(f, "tcp://{}", host_and_port(host, *port))
            }
            Self::Ssh {
                user,
                host,
                port,
                socket,
            } => {
                let user = user.as_ref().map(|it| format!("{it}@"));
                let port = port.map(|it| format!(":{it}"));
                let (user, port) = (user.unwrap_or_default(), port.unwrap_or_default());
                let socket = socket.as_ref().map(|it| it.display().to_string());
                let socket = socket.unwrap_or_default();
                write!(f, "ssh://{user}{host}{port}{socket}")
            }
        }
    }
}

/// `host:port`, with the brackets an IPv6 address needs.
pub(super) fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn unix(text: &str, path: &str) -> Result<Endpoint> {
    if !path.starts_with('/') {
        bail!("'{text}' has no absolute path: write it like unix:///var/run/docker.sock");
    }

    Ok(Endpoint::Unix(path.into()))
}

fn ssh(text: &str) -> Result<Endpoint> {
    let url = parsed(text)?;
    let (host, port) = host_of(text, &url)?;
    if url.password().is_some() {
        bail!("'{text}' contains a password, which ssh does not take: use a key or an agent");
    }
    let user = Some(url.username()).filter(|it| !it.is_empty());
    let socket = Some(url.path()).filter(|it| !matches!(*it, "" | "/"));
    // ssh would take these for options of its own.
    if host.starts_with('-') || user.is_some_and(|it| it.starts_with('-')) {
        bail!("'{text}': neither user nor host may begin with '-'");
    }

    Ok(Endpoint::Ssh {
        user: user.map(str::to_owned),
        host,
        port,
        socket: socket.map(PathBuf::from),
    })
}

fn authority(text: &str, default_port: u16) -> Result<(String, u16)> {
    let (host, port) = host_of(text, &parsed(text)?)?;

    Ok((host, port.unwrap_or(default_port)))
}

fn parsed(text: &str) -> Result<Url> {
    Url::parse(text)
        .with_context(|| format!("'{text}' is no engine's URL: write it like {EXAMPLES}"))
}

fn host_of(text: &str, url: &Url) -> Result<(String, Option<u16>)> {
    let host = url.host_str().filter(|it| !it.is_empty());
    let host = host.with_context(|| format!("'{text}' names no host: write it like {EXAMPLES}"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');

    Ok((host.to_owned(), url.port()))
}

const EXAMPLES: &str = "unix:///var/run/docker.sock, tcp://HOST:2375 or ssh://USER@HOST";
const TCP_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Endpoint {
        Endpoint::parse(text, None).unwrap()
    }

    fn certificates() -> Certificates {
        Certificates {
            authority: "/c/ca.pem".into(),
            client: None,
        }
    }

    #[test]
    fn a_unix_socket_is_an_absolute_path() {
        assert_eq!(
            parse("unix:///run/a b/docker.sock"),
            Endpoint::Unix("/run/a b/docker.sock".into())
        );
        assert!(Endpoint::parse("unix://docker.sock", None).is_err());
    }

    #[test]
    fn tcp_has_docker_s_default_ports() {
        let tcp = |host: &str, port| Endpoint::Tcp {
            host: host.into(),
            port,
        };
        assert_eq!(parse("tcp://vm"), tcp("vm", 2375));
        assert_eq!(parse("tcp://[fd00::1]:99"), tcp("fd00::1", 99));
        assert_eq!(parse("http://10.0.0.1:2375/"), tcp("10.0.0.1", 2375));
        assert_eq!(
            parse("tcp://[fd00::1]:99").to_string(),
            "tcp://[fd00::1]:99"
        );
    }

    #[test]
    fn with_certificates_tcp_is_tls() {
        let tls = Endpoint::parse("tcp://vm", Some(certificates())).unwrap();

        assert_eq!(
            tls,
            Endpoint::Tls {
                host: "vm".into(),
                port: 2376,
                certificates: certificates(),
            }
        );
    }

    #[test]
    fn ssh_may_name_user_port_and_socket() {
        assert_eq!(
            parse("ssh://me@vm:2222/run/user/1/docker.sock"),
            Endpoint::Ssh {
                user: Some("me".into()),
                host: "vm".into(),
                port: Some(2222),
                socket: Some("/run/user/1/docker.sock".into()),
            }
        );
        assert_eq!(
            parse("ssh://vm"),
            Endpoint::Ssh {
                user: None,
                host: "vm".into(),
                port: None,
                socket: None,
            }
        );
    }

    #[test]
    fn garbage_is_refused_with_what_to_write() {
        for text in [
            "",
            "docker",
            "/var/run/docker.sock",
            "ftp://vm",
            "npipe:////./pipe/docker_engine",
            "tcp://",
            "tcp://vm:99999",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://me:secret@vm",
            "https://vm",
        ] {
            let error = format!("{:#}", Endpoint::parse(text, None).unwrap_err());
            assert!(error.contains(&format!("'{text}'")), "{text}: {error}");
        }
    }
}
