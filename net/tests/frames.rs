#![cfg(target_os = "linux")]
// A failed unwrap in a test is a failed test.
#![allow(clippy::unwrap_used)]
//! Ethernet through the tunnel, between namespaces.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use namespace::{Namespace, isolated, output, sh};
use segment::Segment;

mod namespace;
mod segment;

const PATIENCE: Duration = Duration::from_secs(20);
const BYTES: usize = 64 << 20;
const BROADCAST: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 255);
/// That of mDNS.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// A host, and its address.
type At<'a> = (&'a Namespace, &'static str);

#[test]
fn the_host_is_in_the_networks_broadcast_domain() {
    if !isolated() {
        return;
    }
    let segment = attached(1);
    let (host, web) = (&segment.hosts[0].namespace, &segment.web);
    host.sh("ping -c1 -W5 172.30.0.2\n ping -c1 -W5 fd00:30::2");
    web.sh("ping -c1 -W5 172.30.0.200\n ping -c1 -W5 fd00:30::200");
    let own = hardware_address(web, "eth0");
    for address in ["172.30.0.2", "fd00:30::2"] {
        let neighbour = host.run(move || output(&format!("ip neigh show {address}")));
        assert!(neighbour.contains(&own), "{neighbour}");
    }
    host.sh("ping -c3 -i0.2 -s 8000 172.30.0.2\n ping -c3 -i0.2 -s 8000 fd00:30::2");
    let (host, web) = ((host, "172.30.0.200"), (web, "172.30.0.2"));
    for to in [BROADCAST, GROUP] {
        assert!(is_heard(host, web, to), "{to}");
        assert!(is_heard(web, host, to), "{to}");
    }
}

#[test]
fn tcp_arrives_as_it_was_sent_in_both_directions() {
    if !isolated() {
        return;
    }
    let segment = attached(1);
    let (host, web) = (&segment.hosts[0].namespace, &segment.web);
    for address in ["172.30.0.2", "fd00:30::2"] {
        assert_eq!(download(web, address, host), BYTES);
    }
    for address in ["172.30.0.200", "fd00:30::200"] {
        assert_eq!(download(host, address, web), BYTES);
    }
}

#[test]
fn two_hosts_see_each_other() {
    if !isolated() {
        return;
    }
    let segment = attached(2);
    let [one, other] = &segment.hosts[..] else {
        panic!("two hosts");
    };
    let (one, other) = (&one.namespace, &other.namespace);
    pings(one, "172.30.0.201");
    one.sh("ping -c3 -i0.2 -s 8000 172.30.0.201\n ping -c1 -W5 fd00:30::201");
    let own = hardware_address(other, "dtapt0");
    let neighbour = one.run(|| output("ip neigh show 172.30.0.201"));
    assert!(neighbour.contains(&own), "{neighbour}");
    for to in [BROADCAST, GROUP] {
        assert!(is_heard((one, "172.30.0.200"), (other, "172.30.0.201"), to));
    }
    assert_eq!(download(one, "172.30.0.200", other), BYTES);
}

#[test]
fn two_taps_that_the_host_joins_do_not_melt_the_network() {
    if !isolated() {
        return;
    }
    let mut segment = Segment::new(1);
    segment.attach(0);
    segment.attach(0);
    let (host, web) = (&segment.hosts[0].namespace, &segment.web);
    host.sh("ip link add both type bridge\n\
         ip link set dtapt0 master both\n\
         ip link set dtapt1 master both\n\
         ip addr add 172.30.0.200/24 dev both\n\
         ip link set both up");
    does_not_melt((host, "172.30.0.200"), (web, "172.30.0.2"));
}

#[test]
fn two_hosts_whose_networks_are_one_do_not_melt_it_either() {
    if !isolated() {
        return;
    }
    let mut segment = Segment::new(2);
    segment.attach(0);
    segment.attach(1);
    let [one, other] = [0, 1].map(|host| &segment.hosts[host].namespace);
    one.sh(&format!(
        "ip link add lan type veth peer name lan netns {}",
        other.thread
    ));
    for (host, last) in [(one, 200), (other, 201)] {
        host.sh(&format!(
            "ip link add both type bridge\n\
             ip link set dtapt0 master both\n\
             ip link set lan master both up\n\
             ip addr add 172.30.0.{last}/24 dev both\n\
             ip link set both up"
        ));
    }
    does_not_melt((one, "172.30.0.200"), (&segment.web, "172.30.0.2"));
    does_not_melt((other, "172.30.0.201"), (&segment.web, "172.30.0.2"));
    pings(one, "172.30.0.201");
}

/// Nothing goes round, and the two still reach each other.
fn does_not_melt(host: At<'_>, web: At<'_>) {
    pings(host.0, web.1);
    for _ in 0..20 {
        is_heard(web, host, BROADCAST);
        is_heard(host, web, BROADCAST);
    }
    pings(host.0, web.1);
    pings(web.0, host.1);
    let passed = web.0.run(|| received("eth0"));
    assert!(passed < 1000, "{passed} frames");
}

#[test]
fn a_tap_goes_with_its_interface_or_its_peer_and_the_others_stay() {
    if !isolated() {
        return;
    }
    let mut segment = Segment::new(2);
    let first = segment.attach(0);
    let second = segment.attach(0);
    let address = "ip addr add 172.30.0.200/24 dev";
    let ping = |segment: &Segment| pings(&segment.hosts[0].namespace, "172.30.0.2");
    segment.hosts[0].namespace.sh(&format!("{address} dtapt1"));
    ping(&segment);
    sh("ip link del dtapt0");
    ping(&segment);
    segment.detach(0, &first);
    ping(&segment);
    segment.detach(0, &second);
    wait_until("the host has no tap", || {
        let links = segment.hosts[0].namespace.run(|| output("ip link show"));
        !links.contains("dtapt")
    });
    let third = segment.attach(0);
    assert_ne!(second.vm, third.vm);
    segment.hosts[0].namespace.sh(&format!("{address} dtapt0"));
    ping(&segment);
    segment.attach(1);
    let taps = || {
        output("ip -br link show master br0 | grep dtapt")
            .lines()
            .count()
    };
    assert_eq!(taps(), 2);
    segment.forget(1);
    wait_until("the tap is gone with its peer", || taps() == 1);
    ping(&segment);
}

/// With addresses of the network at the hosts' taps.
fn attached(hosts: u8) -> Segment {
    let mut segment = Segment::new(hosts);
    for number in 0..hosts.into() {
        segment.attach(number);
        let namespace = &segment.hosts[number].namespace;
        let last = 200 + number;
        namespace.sh(&format!(
            "ip addr add 172.30.0.{last}/24 dev dtapt0\n\
             ip addr add fd00:30::{last}/64 dev dtapt0 nodad"
        ));
        pings(namespace, "172.30.0.2");
    }
    segment
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
fn is_heard(from: At<'_>, by: At<'_>, to: Ipv4Addr) -> bool {
    let ((from, own), (by, theirs)) = (from, by);
    let receiver = by.run(move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).unwrap();
        if to.is_multicast() {
            let interface = theirs.parse().unwrap();
            socket.join_multicast_v4(&to, &interface).unwrap();
        }
        let patience = Some(Duration::from_secs(2));
        socket.set_read_timeout(patience).unwrap();
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
