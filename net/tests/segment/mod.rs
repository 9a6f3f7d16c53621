//! A network's segment in a VM, and hosts that have taps in it:
//!
//! ```text
//!  web 172.30.0.2 ── br0 172.30.0.1 ─┬─ dtapt0 ═ VM ═══ host 0 ═ dtapt0 172.30.0.200
//!                                    │        192.0.2.1 ─── 192.0.2.2
//!                                    └─ dtapt1 ═ VM ═══ host 1 ═ dtapt0 172.30.0.201
//!                                             192.0.3.1 ─── 192.0.3.2
//! ```
//!
//! The VM is the calling thread's namespace.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use dtap_net::device::{Device, MTU};
use dtap_net::driver::{self, Driver};
use dtap_net::session::{Heart, Session};
use dtap_net::udp::Udp;
use dtap_tunnel::{
    PathPolicy, PeerConfig, PeerId, PrivateKey, PublicKey, SegmentId, TapConfig, TapEnds, TapId,
    Tunnel,
};
use tokio::io::{duplex, split};
use tokio::runtime::{Handle, Runtime};

use crate::namespace::{Namespace, sh};

pub(crate) struct Segment {
    pub(crate) hosts: Vec<Host>,
    pub(crate) web: Namespace,
    vm: End,
    runtime: Runtime,
    taps: u16,
}

pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    end: End,
    /// The VM to it, and it to the VM.
    vm: PeerId,
    peer: PeerId,
    _sessions: [Session; 2],
}

struct End {
    driver: Driver,
    key: PublicKey,
    port: u16,
}

/// A tap at both ends; `dtaptN` in each namespace.
pub(crate) struct Tap {
    pub(crate) vm: TapId,
    host: TapId,
}

impl Segment {
    pub(crate) fn new(hosts: u8) -> Self {
        let web = Namespace::new();
        sh(&format!(
            "ip link add br0 type bridge\n\
             ip addr add 172.30.0.1/24 dev br0\n\
             ip addr add fd00:30::1/64 dev br0 nodad\n\
             ip link set br0 up\n\
             ip link add web type veth peer name eth0 netns {}\n\
             ip link set web master br0 up",
            web.thread
        ));
        web.sh("ip addr add 172.30.0.2/24 dev eth0\n\
             ip addr add fd00:30::2/64 dev eth0 nodad\n\
             ip link set eth0 up");
        let runtime = Runtime::new().unwrap();
        let mut segment = Self {
            hosts: Vec::new(),
            web,
            vm: End::open(runtime.handle()),
            runtime,
            taps: 0,
        };
        for number in 0..hosts {
            segment.join(number);
        }
        segment
    }

    /// Another tap of a host, a port of the bridge in the VM and up in the host.
    pub(crate) fn attach(&mut self, host: usize) -> Tap {
        let number = self.taps;
        self.taps += 1;
        let address = move |end: u8| [2, 0, 0, end, 0, number.to_be_bytes()[1]];
        let handle = self.runtime.handle().clone();
        let device = create_tap(&handle, address(1), 1500);
        sh(&format!("ip link set {} master br0 up", device.name()));
        let of_host = u16::try_from(host).unwrap();
        let [vm, there] = [1, 2].map(|end| Ipv6Addr::new(0xfd75, of_host, 0, 0, 0, 0, end, number));
        let host = &self.hosts[host];
        let vm_tap = config(host.vm, [vm, there], Some(SegmentId(1)));
        let vm_tap = self.vm.driver.add_tap(vm_tap, device);
        let vm_tap = self.runtime.block_on(vm_tap);
        let device = host.namespace.run(move || {
            let device = create_tap(&handle, address(2), MTU - TapConfig::OVERHEAD);
            sh(&format!("ip link set {} up", device.name()));
            device
        });
        let tap = config(host.peer, [there, vm], None);
        let tap = self.runtime.block_on(host.end.driver.add_tap(tap, device));
        Tap {
            vm: vm_tap.unwrap(),
            host: tap.unwrap(),
        }
    }

    pub(crate) fn detach(&self, host: usize, tap: &Tap) {
        self.runtime.block_on(async {
            self.vm.driver.remove_tap(tap.vm).await;
            self.hosts[host].end.driver.remove_tap(tap.host).await;
        });
    }

    /// The VM knows the host no more.
    pub(crate) fn forget(&self, host: usize) {
        let peer = self.hosts[host].vm;
        let forgotten = self
            .vm
            .driver
            .call(move |tunnel, _| tunnel.remove_peer(peer));
        self.runtime.block_on(forgotten).unwrap();
    }

    fn join(&mut self, number: u8) {
        let namespace = Namespace::new();
        let (wire, subnet) = (format!("wire{number}"), format!("192.0.{}", 2 + number));
        sh(&format!(
            "ip link add {wire} type veth peer name wire netns {}\n\
             ip addr add {subnet}.1/24 dev {wire}\n\
             ip link set {wire} up",
            namespace.thread
        ));
        namespace.sh(&format!(
            "ip addr add {subnet}.2/24 dev wire\n ip link set wire up"
        ));
        let handle = self.runtime.handle().clone();
        let end = namespace.run(move || End::open(&handle));
        let at = |host: &str, port| {
            let address: IpAddr = format!("{subnet}.{host}").parse().unwrap();
            SocketAddr::new(address, port)
        };
        let host = self.runtime.block_on(async {
            let streams = duplex(1 << 20);
            let ends = [(streams.0, Heart::Answers), (streams.1, Heart::Beats)];
            let sessions = ends.map(|(stream, heart)| {
                let (read, write) = split(stream);
                Session::start(&Handle::current(), heart, read, write)
            });
            let vm = self.vm.add(&end, number, false).await;
            let peer = end.add(&self.vm, number, true).await;
            sessions[0].attach(&self.vm.driver, vm).await;
            sessions[1].attach(&end.driver, peer).await;
            end.dial(peer, at("1", self.vm.port)).await;
            self.vm.dial(vm, at("2", end.port)).await;
            Host {
                namespace,
                end,
                vm,
                peer,
                _sessions: sessions,
            }
        });
        self.hosts.push(host);
    }
}

impl End {
    /// In the calling thread's namespace.
    fn open(runtime: &Handle) -> Self {
        let _context = runtime.enter();
        let key = PrivateKey::generate();
        let public = key.public();
        let (device, udp) = (Device::create(MTU).unwrap(), Udp::bind(0).unwrap());
        sh(&format!("ip link set {} up", device.name()));
        let port = udp.port();
        let (driver, driving) = driver::start(Tunnel::new(key), device, udp);
        runtime.spawn(driving);
        Self {
            driver,
            key: public,
            port,
        }
    }

    async fn add(&self, other: &Self, number: u8, initiates: bool) -> PeerId {
        let config = PeerConfig {
            public_key: other.key,
            allowed_ips: [format!("fd75:{number}::/32").parse().unwrap()].into(),
            policy: PathPolicy::Auto,
            initiates,
        };
        let added = self
            .driver
            .call(move |tunnel, now| tunnel.add_peer(config, now));
        added.await.unwrap()
    }

    async fn dial(&self, peer: PeerId, to: SocketAddr) {
        let told = self
            .driver
            .call(move |tunnel, now| tunnel.set_candidates(peer, &[to], now));
        told.await.unwrap();
    }
}

fn create_tap(runtime: &Handle, address: [u8; 6], mtu: u16) -> Device {
    let _context = runtime.enter();
    Device::create_tap(address, mtu).unwrap()
}

fn config(peer: PeerId, [local, remote]: [Ipv6Addr; 2], segment: Option<SegmentId>) -> TapConfig {
    TapConfig {
        peer,
        ends: TapEnds { local, remote },
        mtu: MTU,
        segment,
    }
}
