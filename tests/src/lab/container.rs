//! Containers that serve a page.

use std::io::{Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Lab, image};

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// All its addresses in the order of its networks' names.
    pub addresses: Vec<IpAddr>,
}

impl Container {
    /// Its first IPv4 address.
    pub fn v4(&self) -> Result<Ipv4Addr> {
        let mut found = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        found
            .next()
            .with_context(|| format!("{} has no IPv4 address", self.name))
    }

    /// Its first IPv6 address.
    pub fn v6(&self) -> Result<Ipv6Addr> {
        let mut found = self.addresses.iter().filter_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        });
        found
            .next()
            .with_context(|| format!("{} has no IPv6 address", self.name))
    }
}

impl Lab {
    /// Starts a container of the image `busybox`, with further arguments of `docker run`. It serves [`super::PAGE`] and, as
    /// `/cgi-bin/peer`, the address that the request came from, on port 80.
    pub fn container(&self, name: &str, arguments: &[&str]) -> Result<Container> {
        run(|arguments| self.docker(arguments), name, arguments)
    }

    /// A container as it is now.
    pub fn inspect(&self, name: &str) -> Result<Container> {
        inspect(|arguments| self.docker(arguments), name)
    }
}

/// [`Lab::container`] of whatever engine `docker` talks to.
pub(super) fn run(
    docker: impl Fn(&[&str]) -> Result<String>,
    name: &str,
    arguments: &[&str],
) -> Result<Container> {
    docker(
        &[
            &["run", "--detach", "--name", name],
            arguments,
            &["busybox"],
        ]
        .concat(),
    )?;
    inspect(docker, name)
}

/// [`Lab::inspect`] of whatever engine `docker` talks to.
pub(super) fn inspect(docker: impl Fn(&[&str]) -> Result<String>, name: &str) -> Result<Container> {
    let format =
        "{{.Id}}{{range .NetworkSettings.Networks}} {{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
    let said = docker(&["inspect", "--type", "container", "--format", format, name])?;
    let mut words = said.split_whitespace();
    let id = words
        .next()
        .with_context(|| format!("inspect {name}"))?
        .to_owned();
    let addresses = words
        // What docker says of a network that gave none.
        .filter(|word| *word != "invalid" && *word != "IP")
        .map(|word| {
            word.parse()
                .with_context(|| format!("parse the address {word}"))
        })
        .collect::<Result<_>>()?;
    Ok(Container {
        id,
        name: name.to_owned(),
        addresses,
    })
}

/// Makes the image `busybox` from this machine's static one, on the engine that this docker command talks to.
pub(super) fn load_image(mut docker: Command) -> Result<()> {
    let mut archive = tempfile::tempfile().context("create a file for the image")?;
    archive
        .write_all(&image::archive()?)
        .context("write the image")?;
    archive.rewind().context("rewind the image")?;
    let load = docker.arg("load").stdin(archive).output();
    let load = load.context("start docker load")?;
    if !load.status.success() {
        bail!(
            "docker load: {}",
            String::from_utf8_lossy(&load.stderr).trim_end()
        );
    }
    Ok(())
}
