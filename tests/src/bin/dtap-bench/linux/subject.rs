//! Who is measured.

use std::fmt;

use clap::ValueEnum;

/// A way from the host to the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Subject {
    /// The cable between both, without a tunnel
    Veth,
    /// dtap's device and UDP code without the cryptography: what moving the bytes costs
    Ceiling,
    /// dtap by UDP, to the VM
    Dtap,
    /// dtap by UDP, to a container behind a bridge
    Container,
    /// dtap by UDP, to a container in whose Ethernet the host is by a tap
    L2,
    /// dtap by UDP without the offloads of the host's device, which macOS has none of
    Plain,
    /// dtap by the session, to the VM
    Session,
    /// The stream of a docker exec, which the session is made of, without a tunnel
    Exec,
    Gotatun,
    Boringtun,
    WireguardGo,
    Openvpn,
}

impl Subject {
    /// Its name in tables, in the report and on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Ceiling => "ceiling",
            Self::Dtap => "dtap",
            Self::Container => "container",
            Self::L2 => "l2",
            Self::Plain => "plain",
            Self::Session => "session",
            Self::Exec => "exec",
            Self::Gotatun => "gotatun",
            Self::Boringtun => "boringtun",
            Self::WireguardGo => "wireguard-go",
            Self::Openvpn => "openvpn",
        }
    }

    pub(super) const fn is_dtap(self) -> bool {
        matches!(
            self,
            Self::Dtap | Self::Container | Self::L2 | Self::Plain | Self::Session
        )
    }

    /// Tunnels that others have made.
    pub(super) const PEERS: [Self; 4] = [
        Self::Gotatun,
        Self::Boringtun,
        Self::WireguardGo,
        Self::Openvpn,
    ];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
