#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! Ethernet through the tunnel, between namespaces.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use namespace::{Namespace, isolated, output, sh};
use pair::Pair;

mod namespace;
mod pair;

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: usize = 64 << 20;

#[test]
fn the_host_is_in_the_networks_broadcast_domain() {
    if !isolated() {
        return;
    }
    let pair = attached();
    pair.host
        .sh("ping -c1 -W5 172.30.0.2\n ping -c1 -W5 fd00:30::2");
    pair.web
        .sh("ping -c1 -W5 172.30.0.200\n ping -c1 -W5 fd00:30::200");
    let own = hardware_address(&pair.web, "eth0");
    for address in ["172.30.0.2", "fd00:30::2"] {
        let neighbour = pair
            .host
            .run(move || output(&format!("ip neigh show {address}")));
        assert!(neighbour.contains(&own), "{neighbour}");
    }
    pair.host
        .sh("ping -c3 -i0.2 -s 8000 172.30.0.2\n ping -c3 -i0.2 -s 8000 fd00:30::2");
    let (broadcast, group) = (
        Ipv4Addr::new(172, 30, 0, 255),
        Ipv4Addr::new(224, 0, 0, 251),
    );
    for to in [broadcast, group] {
        assert!(
            is_heard(&pair.host, "172.30.0.200", &pair.web, "172.30.0.2", to),
            "{to}"
        );
        assert!(
            is_heard(&pair.web, "172.30.0.2", &pair.host, "172.30.0.200", to),
            "{to}"
        );
    }
}

#[test]
fn tcp_arrives_as_it_was_sent_in_both_directions() {
    if !isolated() {
        return;
    }
    let pair = attached();
    for (server, to) in [(&pair.web, "172.30.0.2"), (&pair.web, "fd00:30::2")] {
        assert_eq!(download(server, to, &pair.host), BYTES);
    }
    assert_eq!(download(&pair.host, "172.30.0.200", &pair.web), BYTES);
    assert_eq!(download(&pair.host, "fd00:30::200", &pair.web), BYTES);
}

#[test]
fn two_taps_that_the_host_joins_do_not_melt_the_network() {
    if !isolated() {
        return;
    }
    let mut pair = Pair::new();
    pair.attach();
    pair.attach();
    pair.host.sh("ip link add both type bridge\n\
         ip link set dtapt0 master both\n\
         ip link set dtapt1 master both\n\
         ip addr add 172.30.0.200/24 dev both\n\
         ip link set both up");
    pings(&pair.host, "172.30.0.2");
    for _ in 0..20 {
        is_heard(
            &pair.web,
            "172.30.0.2",
            &pair.host,
            "172.30.0.200",
            Ipv4Addr::new(172, 30, 0, 255),
        );
        is_heard(
            &pair.host,
            "172.30.0.200",
            &pair.web,
            "172.30.0.2",
            Ipv4Addr::new(172, 30, 0, 255),
        );
    }
    pings(&pair.host, "172.30.0.2");
    pings(&pair.web, "172.30.0.200");
    let passed = pair.web.run(|| received("eth0"));
    assert!(passed < 1000, "{passed} frames");
}

#[test]
fn a_tap_goes_with_its_interface_and_the_others_stay() {
    if !isolated() {
        return;
    }
    let mut pair = Pair::new();
    let first = pair.attach();
    let second = pair.attach();
    pair.host.sh("ip addr add 172.30.0.200/24 dev dtapt1");
    pings(&pair.host, "172.30.0.2");
    sh("ip link del dtapt0");
    pings(&pair.host, "172.30.0.2");
    pair.detach(&first);
    pings(&pair.host, "172.30.0.2");
    pair.detach(&second);
    wait_until("the interface is gone", || {
        !pair.host.run(|| output("ip link show")).contains("dtapt")
    });
    let third = pair.attach();
    assert_ne!(second.vm, third.vm);
    pair.host.sh("ip addr add 172.30.0.200/24 dev dtapt0");
    pings(&pair.host, "172.30.0.2");
}

/// With addresses of the network at the host's tap.
fn attached() -> Pair {
    let mut pair = Pair::new();
    pair.attach();
    pair.host.sh("ip addr add 172.30.0.200/24 dev dtapt0\n\
         ip addr add fd00:30::200/64 dev dtapt0 nodad");
    pings(&pair.host, "172.30.0.2");
    pair
}

fn pings(from: &Namespace, to: &'static str) {
    wait_until("a ping is answered", || {
        from.run(move || output(&format!("ping -c1 -W1 {to} || true")).contains(" 0% packet loss"))
    });
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn hardware_address(namespace: &Namespace, interface: &'static str) -> String {
    let shown = namespace.run(move || output(&format!("ip -br link show {interface}")));
    shown.split_whitespace().nth(2).unwrap().to_owned()
}

/// How many frames the interface has received.
fn received(interface: &str) -> u64 {
    let table = output("cat /proc/net/dev");
    let mut lines = table.lines().map(str::trim);
    let counters = lines.find_map(|line| line.strip_prefix(interface)?.strip_prefix(':'));
    counters
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// Whether a datagram to many reaches a host.
fn is_heard(
    from: &Namespace,
    own: &'static str,
    by: &Namespace,
    theirs: &'static str,
    to: Ipv4Addr,
) -> bool {
    let receiver = by.run(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
        if to.is_multicast() {
            let interface = theirs.parse().unwrap();
            socket.join_multicast_v4(&to, &interface).unwrap();
        }
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket
    });
    from.run(move || {
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        if to.is_multicast() {
            let interface: Ipv4Addr = own.parse().unwrap();
            let socket = socket2::SockRef::from(&socket);
            socket.set_multicast_if_v4(&interface).unwrap();
        }
        socket.send_to(b"is anybody there?", (to, 5353)).unwrap();
    });
    receiver.recv(&mut [0; 64]).is_ok()
}

/// How many bytes arrive as they were sent.
fn download(server: &Namespace, address: &str, client: &Namespace) -> usize {
    let address = SocketAddr::new(address.parse().unwrap(), 8000);
    let listener = server.run(move || TcpListener::bind(address).unwrap());
    let sending = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut noise = Noise::default();
        for _ in 0..BYTES / CHUNK {
            stream.write_all(&noise.chunk()).unwrap();
        }
    });
    let mut stream = client.run(move || TcpStream::connect(address).unwrap());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut noise = Noise::default();
    let mut chunk = vec![0; CHUNK];
    let mut count = 0;
    while stream.read_exact(&mut chunk).is_ok() {
        assert!(chunk == noise.chunk(), "damaged after {count} bytes");
        count += CHUNK;
    }
    sending.join().unwrap();
    count
}

const CHUNK: usize = 1 << 16;

/// The same bytes in every run, and not the same twice (xorshift64).
struct Noise(u64);

impl Noise {
    fn chunk(&mut self) -> Vec<u8> {
        let words = (0..CHUNK / 8).map(|_| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_ne_bytes()
        });
        words.flatten().collect()
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self(0x5eed)
    }
}
