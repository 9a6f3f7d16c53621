//! What surrounds a server, built of namespaces:
//!
//! ```text
//!  client 10.75.0.2 ┐                     ┌ br-a 172.30.1.1 ── web 172.30.1.2
//!                   ├ wire ─ dtap0  VM  ──┼ br-b 172.30.2.1 ── db  172.30.2.2
//!  other  10.75.1.2 ┘   10.75.{0,1}.1     └ up0  192.0.2.1 ─── lan 192.0.2.2
//! ```
//!
//! The VM is the calling thread's namespace, with an engine's rules.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::namespace::{Namespace, sh};

pub(crate) struct Site {
    pub(crate) client: Namespace,
    pub(crate) other: Namespace,
    pub(crate) web: Namespace,
    pub(crate) db: Namespace,
    pub(crate) lan: Namespace,
    _wire: Namespace,
}

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    None,
    Arrived { source: IpAddr, answered: bool },
}

impl Delivery {
    pub(crate) fn answered(source: &str) -> Self {
        Self::Arrived {
            source: source.parse().unwrap(),
            answered: true,
        }
    }

    pub(crate) fn unanswered(source: &str) -> Self {
        Self::Arrived {
            source: source.parse().unwrap(),
            answered: false,
        }
    }
}

impl Site {
    /// `docker` are the commands that make the VM's rules.
    pub(crate) fn new(docker: &str) -> Self {
        let [client, other, web, db, lan, wire] = [(); 6].map(|()| Namespace::new());
        sh(&format!(
            "ip link add dtap0 type veth peer name vm netns {}",
            wire.thread
        ));
        wire.sh("ip link add sw type bridge\n ip link set sw up\n ip link set vm master sw up");
        for (name, host) in [("client", &client), ("other", &other)] {
            wire.sh(&format!(
                "ip link add {name} type veth peer name eth0 netns {}\n ip link set {name} master sw up",
                host.thread
            ));
        }
        sh("ip link add br-a type bridge\n ip link add br-b type bridge");
        for (name, host) in [("web", &web), ("db", &db), ("up0", &lan)] {
            sh(&format!(
                "ip link add {name} type veth peer name eth0 netns {}\n ip link set {name} up",
                host.thread
            ));
        }
        sh("ip link set web master br-a\n ip link set db master br-b");
        for (interface, subnet, subnet6) in [
            ("dtap0", "10.75.0", "fd75:"),
            ("dtap0", "10.75.1", "fd75:1:"),
            ("br-a", "172.30.1", "fd00:1:"),
            ("br-b", "172.30.2", "fd00:2:"),
            ("up0", "192.0.2", "fd02:"),
        ] {
            sh(&format!(
                "ip addr add {subnet}.1/24 dev {interface}
                 ip addr add {subnet6}:1/64 dev {interface} nodad
                 ip link set {interface} up"
            ));
        }
        for (host, subnet, subnet6) in [
            (&client, "10.75.0", "fd75:"),
            (&other, "10.75.1", "fd75:1:"),
            (&web, "172.30.1", "fd00:1:"),
            (&db, "172.30.2", "fd00:2:"),
            (&lan, "192.0.2", "fd02:"),
        ] {
            host.sh(&format!(
                "ip addr add {subnet}.2/24 dev eth0
                 ip addr add {subnet6}:2/64 dev eth0 nodad
                 ip link set eth0 up
                 ip route add default via {subnet}.1
                 ip -6 route add default via {subnet6}:1
                 ping -q -c 1 -w {LINK_UP_S} {subnet}.1
                 ping -q -c 1 -w {LINK_UP_S} {subnet6}:1"
            ));
        }
        sh(docker);
        Self {
            client,
            other,
            web,
            db,
            lan,
            _wire: wire,
        }
    }

    /// Sends a datagram from one namespace to an address of another, which answers it.
    pub(crate) fn send(&self, from: &Namespace, to: &str, receiver: &Namespace) -> Delivery {
        let unspecified = if to.contains(':') { "::" } else { "0.0.0.0" };
        self.send_as(from, unspecified, to, receiver)
    }

    /// As [`Self::send`], from one of the sender's addresses.
    pub(crate) fn send_as(
        &self,
        from: &Namespace,
        source: &str,
        to: &str,
        receiver: &Namespace,
    ) -> Delivery {
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        let destination = SocketAddr::new(to.parse().unwrap(), PORT);
        let server = receiver.run(move || UdpSocket::bind(destination).unwrap());
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = from.run(move || {
            let socket = UdpSocket::bind(source).unwrap();
            socket.send_to(b"question", destination).unwrap();
            socket
        });
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut buffer = [0; 64];
        let Ok((_, source)) = server.recv_from(&mut buffer) else {
            return Delivery::None;
        };
        // Without a route there is not even an attempt.
        let answered =
            server.send_to(b"answer", source).is_ok() && client.recv(&mut buffer).is_ok();
        Delivery::Arrived {
            source: source.ip(),
            answered,
        }
    }

    /// How many bytes of a TCP download arrive.
    pub(crate) fn download(&self, from: &Namespace, to: &str, server: &Namespace) -> usize {
        let destination = SocketAddr::new(to.parse().unwrap(), PORT);
        let listener = server.run(move || TcpListener::bind(destination).unwrap());
        let serve = thread::spawn(move || {
            listener
                .accept()
                .unwrap()
                .0
                .write_all(&vec![7; DOWNLOAD])
                .unwrap()
        });
        let mut stream =
            from.run(move || TcpStream::connect_timeout(&destination, CONNECT).unwrap());
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        serve.join().unwrap();
        bytes.len()
    }

    /// Whether a datagram to a closed port is answered by an ICMP error.
    pub(crate) fn is_refused(&self, from: &Namespace, to: &str) -> bool {
        let destination = SocketAddr::new(to.parse().unwrap(), CLOSED_PORT);
        let socket = from.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(destination).unwrap();
            socket.send(b"question").unwrap();
            socket
        });
        socket.set_read_timeout(Some(CONNECT)).unwrap();
        socket
            .recv(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    }
}

pub(crate) const DOWNLOAD: usize = 4 << 20;

const PORT: u16 = 7000;
const CLOSED_PORT: u16 = 7001;
/// How long to wait for what may never come.
const PATIENCE: Duration = Duration::from_millis(400);
const CONNECT: Duration = Duration::from_secs(3);

/// A new link loses its first packets.
const LINK_UP_S: u8 = 10;

/// As Engine 28.5 with iptables-nft sets them for two bridge networks with a container each.
pub(crate) const IPTABLES_BACKEND: &str = "
    iptables -P FORWARD DROP
    iptables -N DOCKER-USER
    iptables -N DOCKER
    iptables -A FORWARD -j DOCKER-USER
    iptables -A FORWARD -o br-a -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -A FORWARD -o br-b -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -A FORWARD -o br-a -j DOCKER
    iptables -A FORWARD -o br-b -j DOCKER
    iptables -A DOCKER ! -i br-a -o br-a -j DROP
    iptables -A DOCKER ! -i br-b -o br-b -j DROP
    iptables -A FORWARD -i br-a -j ACCEPT
    iptables -A FORWARD -i br-b -j ACCEPT
    iptables -t raw -A PREROUTING -d 172.30.1.2/32 ! -i br-a -j DROP
    iptables -t raw -A PREROUTING -d 172.30.2.2/32 ! -i br-b -j DROP
    iptables -t nat -A POSTROUTING -s 172.30.1.0/24 ! -o br-a -j MASQUERADE
    iptables -t nat -A POSTROUTING -s 172.30.2.0/24 ! -o br-b -j MASQUERADE
    ip6tables -P FORWARD DROP
    ip6tables -N DOCKER-USER
    ip6tables -A FORWARD -j DOCKER-USER
    ip6tables -A FORWARD -i br-a ! -o br-a -j ACCEPT
    ip6tables -A FORWARD -o br-a -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    ip6tables -t raw -A PREROUTING -d fd00:1::2 ! -i br-a -j DROP
    ip6tables -t raw -A PREROUTING -d fd00:2::2 ! -i br-b -j DROP
    ip6tables -t nat -A POSTROUTING -s fd00:1::/64 ! -o br-a -j MASQUERADE";

/// As Engine 29.7 with the nftables backend sets them for the same.
pub(crate) const NFTABLES_BACKEND: &str = "
    nft 'table ip docker-bridges { \
        chain in { ct state established,related accept; counter drop; }; \
        chain out { accept; }; \
        chain filter-FORWARD { type filter hook forward priority 0; \
            oifname vmap { br-a : jump in, br-b : jump in }; \
            iifname vmap { br-a : jump out, br-b : jump out }; }; \
        chain raw-PREROUTING { type filter hook prerouting priority raw; \
            ip daddr 172.30.1.2 iifname != br-a counter drop; \
            ip daddr 172.30.2.2 iifname != br-b counter drop; }; \
        chain nat-POSTROUTING { type nat hook postrouting priority srcnat; \
            oifname != br-a ip saddr 172.30.1.0/24 masquerade; }; }'";
