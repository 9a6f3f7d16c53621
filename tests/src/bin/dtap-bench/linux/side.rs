//! The two ends of a tunnel that is not dtap's: the lab's host and its VM, by one set of calls.

use std::net::Ipv4Addr;

use anyhow::Result;
use dtap_tests::lab::{Background, Lab, Output};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Host,
    Vm,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Host, Self::Vm];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Vm => "vm",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Host => Self::Vm,
            Self::Vm => Self::Host,
        }
    }

    /// Its address on the cable ([`dtap_tests::lab::Link::Veth`]).
    pub(super) const fn cable(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 106, self.number())
    }

    /// Its address in the tunnel of this number.
    pub(super) const fn inner(self, tunnel: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, tunnel, self.number())
    }

    pub(super) fn run(self, lab: &Lab, program: &[&str]) -> Output {
        match self {
            Self::Host => lab.mac(program),
            Self::Vm => lab.vm(program),
        }
    }

    pub(super) fn background(self, lab: &Lab, program: &[&str]) -> Result<Background> {
        match self {
            Self::Host => lab.mac_background(program),
            Self::Vm => lab.vm_background(program),
        }
    }

    /// Gives a bare interface its address in the tunnel and dtap's MTU, and takes it up.
    pub(super) fn configure(self, lab: &Lab, interface: &str, tunnel: u8) -> Result<()> {
        let address = format!("{}/24", self.inner(tunnel));
        let add = ["ip", "address", "add", &address, "dev", interface];
        self.run(lab, &add).text()?;
        let up = ["ip", "link", "set", interface, "mtu", MTU, "up"];
        self.run(lab, &up).text().map(drop)
    }

    const fn number(self) -> u8 {
        match self {
            Self::Host => 1,
            Self::Vm => 2,
        }
    }
}

/// That of dtap (`dtap_net::device::MTU`).
pub(super) const MTU: &str = "1420";
