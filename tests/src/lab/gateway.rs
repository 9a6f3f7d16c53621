//! What the VM's uplink ends at: Docker Desktop's user-space gateway, a cable to the host, or nothing.
//!
//! ```text
//!  Link::Gateway   vm eth0 ──── vm [gw] ─ relay ┄ sockets on 127.0.0.1 ┄ [mac]     no route in between
//!  Link::Veth      vm eth0 ──── vm [gw: bridge uplink] mac ──── vm0 [mac]
//!  Link::None      vm eth0 ──── vm [gw]                           [mac]
//! ```

use anyhow::{Context, Result};
use tokio::runtime::Handle;

use super::Options;
use super::command::check;
use super::namespace::Namespace;

mod tcp;
mod udp;

/// What lies between the VM and the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Docker Desktop: no route. A user-space gateway, the VM's default route, forwards what the VM sends to
    /// `host.docker.internal` to the host's 127.0.0.1 and refuses every other TCP connection.
    #[default]
    Gateway,
    /// A cable, as with Colima's `--network-address`, on Linux and with a remote engine: 192.168.106.1 is the host,
    /// 192.168.106.2 the VM, and fd6a:106::1 and ::2.
    Veth,
    /// No way for an IP packet from one to the other; only the Docker API connects them.
    None,
}

impl Link {
    /// What the VM's hosts file says because of it.
    pub(super) fn hosts(self) -> &'static str {
        match self {
            Self::Gateway => "192.168.65.254 host.docker.internal gateway.docker.internal\n",
            Self::Veth | Self::None => "",
        }
    }

    /// The VM's interface that other addresses are behind.
    pub(super) fn vm_configuration(self) -> String {
        let (v4, v6, gateways) = match self {
            Self::Gateway => (
                "192.168.65.3/24",
                "fe80::3/64",
                "route add 192.168.65.254 via 192.168.65.1\n\
                 route add default via 192.168.65.1\n\
                 route add default via fe80::1 dev eth0",
            ),
            Self::None => (
                "192.168.65.3/24",
                "fe80::3/64",
                "route add default via 192.168.65.1\n\
                 route add default via fe80::1 dev eth0",
            ),
            Self::Veth => (
                "192.168.106.2/24",
                "fd6a:106::2/64",
                "route add default via 192.168.106.1\n\
                 route add default via fd6a:106::1",
            ),
        };
        format!(
            "link set eth0 up\n\
             address add {v4} dev eth0\n\
             address add {v6} dev eth0 nodad\n\
             {gateways}\n"
        )
    }
}

/// The far end of the VM's uplink, in a namespace of its own.
#[derive(Debug)]
pub(super) struct Gateway {
    namespace: Namespace,
}

impl Gateway {
    pub(super) fn connect(
        namespace: Namespace,
        vm: &Namespace,
        mac: &Namespace,
        options: &Options,
        runtime: &Handle,
    ) -> Result<Self> {
        namespace.ip(&format!(
            "link add vm type veth peer name eth0 netns {}\n",
            vm.name()
        ))?;
        let gateway = Self::behind(namespace, mac, options, runtime)?;
        vm.ip(&options.link.vm_configuration())?;
        Ok(gateway)
    }

    /// One whose `namespace` has the interface `vm` already, however that leads to the VM.
    pub(super) fn behind(
        namespace: Namespace,
        mac: &Namespace,
        options: &Options,
        runtime: &Handle,
    ) -> Result<Self> {
        let link = options.link;
        match link {
            Link::Gateway | Link::None => namespace.ip(ROUTER)?,
            Link::Veth => bridge(&namespace, mac)?,
        }
        let relay_port = match link {
            Link::Gateway => {
                udp::forward(&namespace, mac, options.udp_idle, runtime).context("forward UDP")?;
                tcp::forward(&namespace, mac, runtime).context("forward TCP")?
            }
            Link::Veth | Link::None => UNUSED_PORT,
        };
        if link != Link::Veth {
            let script = include_str!("gateway.nft");
            namespace.nft(&script.replace("RELAY_PORT", &relay_port.to_string()))?;
        }
        namespace.nft(&include_str!("strays.nft").replace("LINK_PREFIX", "fd6a:106::/64"))?;
        Ok(Self { namespace })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// How many packets with an address of a tunnel have crossed the VM's uplink.
    pub(super) fn strays(&self) -> Result<u64> {
        let list = ["nft", "list", "counter", "netdev", "strays", "strays"];
        let listed = check(self.namespace.command().args(list))?;
        let mut words = listed
            .split_whitespace()
            .skip_while(|word| *word != "packets")
            .skip(1);
        let packets = words.next().context("read the counter of strays")?;
        packets.parse().context("read the counter of strays")
    }

    /// Loses every packet from now on. Neither end is told: no carrier, no ICMP.
    pub(super) fn cut(&self) -> Result<()> {
        self.namespace.nft(
            "table netdev cut {\n\
             chain from_vm { type filter hook ingress device \"vm\" priority 10; policy drop; }\n\
             chain to_vm { type filter hook egress device \"vm\" priority 10; policy drop; }\n\
             }\n",
        )
    }

    pub(super) fn mend(&self) -> Result<()> {
        self.namespace
            .nft("table netdev cut\ndelete table netdev cut\n")
    }
}

fn bridge(gateway: &Namespace, mac: &Namespace) -> Result<()> {
    gateway.ip(&format!(
        "link add uplink type bridge\n\
         link add mac type veth peer name vm0 netns {}\n\
         link set vm master uplink up\n\
         link set mac master uplink up\n\
         link set uplink up\n\
         address add 192.168.106.3/24 dev uplink\n\
         route add default via 192.168.106.2\n",
        mac.name()
    ))?;
    mac.ip("link set vm0 up\n\
         address add 192.168.106.1/24 dev vm0\n\
         address add fd6a:106::1/64 dev vm0 nodad\n")
}

/// Routes everything to the VM, because what it refuses may carry any source.
const ROUTER: &str = "\
link set vm up
address add 192.168.65.1/24 dev vm
address add fe80::1/64 dev vm nodad
route add default via 192.168.65.3
route add default via fe80::3 dev vm
";
const UNUSED_PORT: u16 = 9;
