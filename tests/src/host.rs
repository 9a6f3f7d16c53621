//! Another host than the lab's own, at the same cable.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;

use crate::lab::{Background, Lab, Output};
use crate::wait::wait_until;

/// A host beside `mac`, with the same files, that is 192.168.106.4 on a lab with [`crate::lab::Link::Veth`]; gone when dropped.
#[derive(Debug)]
pub struct Host<'a> {
    lab: &'a Lab,
    /// The file of its network namespace, as `mac` sees it.
    namespace: String,
    holder: Background,
}

impl<'a> Host<'a> {
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let holder =
            lab.mac_background(&["unshare", "--net", "sleep", &LIFE.as_secs().to_string()])?;
        let pid = holder.pid()?.to_string();
        let host = Self {
            lab,
            namespace: format!("/proc/{pid}/ns/net"),
            holder,
        };
        let namespace = |path: &str| lab.mac(&["readlink", path]).stdout;
        wait_until(LIFE, "the host is there", || {
            namespace(&host.namespace) != namespace("/proc/self/ns/net")
        });
        let cable = [
            "ip", "link", "add", "other", "master", "uplink", "up", "type", "veth",
        ];
        let end = ["peer", "name", "eth0", "netns", &pid];
        lab.neighbour(&[&cable, end.as_slice()].concat()).text()?;
        host.run(&["ip", "link", "set", "lo", "up"]).text()?;
        host.run(&["ip", "link", "set", "eth0", "up"]).text()?;
        host.run(&["ip", "address", "add", ADDRESS, "dev", "eth0"])
            .text()?;
        Ok(host)
    }

    /// Runs a program on it to its end.
    pub fn run(&self, program: &[&str]) -> Output {
        let entrance = self.entrance();
        let entrance: Vec<_> = entrance.iter().map(String::as_str).collect();
        self.lab.mac(&[&entrance, program].concat())
    }

    /// A process in its network.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<String> {
        Ok(self.holder.pid()?.to_string())
    }

    /// What runs a program on it when it is run on `mac`.
    pub fn entrance(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.namespace)]
    }
}

/// Whether a machine, by what runs a program on it, fetches a container's page.
pub fn fetches(run: impl Fn(&[&str]) -> Output, from: impl Into<IpAddr>) -> bool {
    let url = match from.into() {
        IpAddr::V4(address) => format!("http://{address}/"),
        IpAddr::V6(address) => format!("http://[{address}]/"),
    };
    run(&["curl", "--silent", "--fail", "--max-time", "1", &url]).success()
}

/// Whether a machine gets an answer to a ping.
pub fn pings(run: impl Fn(&[&str]) -> Output, to: impl Into<IpAddr>) -> bool {
    let to = to.into().to_string();
    run(&["ping", "-c", "2", "-i", "0.2", "-W", "1", &to]).success()
}

/// The lab's neighbour, on a lab with [`crate::lab::Link::Veth`].
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 106, 3);
const ADDRESS: &str = "192.168.106.4/24";
/// Longer than any story, should nobody be left to drop it.
const LIFE: Duration = Duration::from_secs(600);
