//! Containers that serve a page.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Stdio;

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
        let mut run = vec!["run", "--detach", "--name", name];
        run.extend(arguments);
        run.push("busybox");
        self.docker(&run)?;
        self.inspect(name)
    }

    /// A container as it is now.
    pub fn inspect(&self, name: &str) -> Result<Container> {
        let format = "{{.Id}}{{range .NetworkSettings.Networks}} {{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
        let said = self.docker(&["inspect", "--type", "container", "--format", format, name])?;
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

    /// Makes the image `busybox` from this machine's static one.
    pub(super) fn import_image(&self) -> Result<()> {
        let mut import = self
            .docker_command()
            .args([
                "import",
                "--change",
                r#"CMD ["httpd", "-f", "-h", "/www"]"#,
                "--change",
                "EXPOSE 80",
            ])
            // busybox as a container's first process would leave a SIGTERM unheard for 10 s.
            .args(["--change", "STOPSIGNAL SIGKILL", "-", "busybox"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start docker import")?;
        if let Some(mut stdin) = import.stdin.take() {
            stdin
                .write_all(&image::root_file_system()?)
                .context("write the image")?;
        }
        let output = import
            .wait_with_output()
            .context("wait for docker import")?;
        if !output.status.success() {
            bail!(
                "docker import: {}",
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(())
    }
}
