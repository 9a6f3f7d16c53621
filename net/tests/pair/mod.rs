//! A host and a VM with a tunnel between them, and a container on a bridge:
//!
//! ```text
//!  web 172.30.0.2 ── br0 172.30.0.1 ── dtapt0 ═ VM ═══ host ═ dtapt0 172.30.0.200
//!                                       192.0.2.1 ─── 192.0.2.2
//! ```
//!
//! The VM is the calling thread's namespace.

use std::net::{Ipv6Addr, SocketAddr};

use dtap_net::device::{Device, MTU};
use dtap_net::driver::{self, Driver};
use dtap_net::session::Session;
use dtap_net::udp::Udp;
use dtap_tunnel::{
    PathPolicy, PeerConfig, PeerId, PrivateKey, PublicKey, SegmentId, TapConfig, TapEnds, TapId,
    Tunnel,
};
use tokio::io::{duplex, split};
use tokio::runtime::{Handle, Runtime};

use crate::namespace::{Namespace, sh};

pub(crate) struct Pair {
    pub(crate) host: Namespace,
    pub(crate) web: Namespace,
    vm_end: End,
    host_end: End,
    _sessions: [Session; 2],
    runtime: Runtime,
    taps: u16,
}

struct End {
    driver: Driver,
    peer: PeerId,
    port: u16,
}

/// A tap at both ends; `dtaptN` in each namespace.
pub(crate) struct Tap {
    pub(crate) vm: TapId,
    pub(crate) host: TapId,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (host, web) = (Namespace::new(), Namespace::new());
        sh(&format!(
            "ip link add wire type veth peer name wire netns {}\n\
             ip addr add 192.0.2.1/24 dev wire\n\
             ip link set wire up\n\
             ip link add br0 type bridge\n\
             ip addr add 172.30.0.1/24 dev br0\n\
             ip addr add fd00:30::1/64 dev br0 nodad\n\
             ip link set br0 up\n\
             ip link add web type veth peer name eth0 netns {}\n\
             ip link set web master br0 up",
            host.thread, web.thread
        ));
        host.sh("ip addr add 192.0.2.2/24 dev wire\n ip link set wire up");
        web.sh("ip addr add 172.30.0.2/24 dev eth0\n\
             ip addr add fd00:30::2/64 dev eth0 nodad\n\
             ip link set eth0 up");
        let runtime = Runtime::new().unwrap();
        let (vm_key, host_key) = (PrivateKey::generate(), PrivateKey::generate());
        let (vm_public, host_public) = (vm_key.public(), host_key.public());
        let handle = runtime.handle().clone();
        let vm_end = End::open(&handle, vm_key, host_public, false);
        let host_end = host.run(move || End::open(&handle, host_key, vm_public, true));
        let sessions = runtime.block_on(join(&vm_end, &host_end));
        Self {
            host,
            web,
            vm_end,
            host_end,
            _sessions: sessions,
            runtime,
            taps: 0,
        }
    }

    /// Another tap, a port of the bridge in the VM and up in the host.
    pub(crate) fn attach(&mut self) -> Tap {
        let number = self.taps;
        self.taps += 1;
        let address = move |end: u8| [2, 0, 0, end, 0, number.to_be_bytes()[1]];
        let handle = self.runtime.handle().clone();
        let device = create_tap(&handle, address(1), 1500);
        sh(&format!("ip link set {} master br0 up", device.name()));
        let peer = self.vm_end.peer;
        let vm = config(peer, [at(1, number), at(2, number)], Some(SegmentId(1)));
        let vm = self
            .runtime
            .block_on(self.vm_end.driver.add_tap(vm, device));
        let device = self.host.run(move || {
            let device = create_tap(&handle, address(2), MTU - TapConfig::OVERHEAD);
            sh(&format!("ip link set {} up", device.name()));
            device
        });
        let host = config(self.host_end.peer, [at(2, number), at(1, number)], None);
        let host = self
            .runtime
            .block_on(self.host_end.driver.add_tap(host, device));
        Tap {
            vm: vm.unwrap(),
            host: host.unwrap(),
        }
    }

    pub(crate) fn detach(&self, tap: &Tap) {
        self.runtime.block_on(async {
            self.vm_end.driver.remove_tap(tap.vm).await;
            self.host_end.driver.remove_tap(tap.host).await;
        });
    }
}

impl End {
    /// In the calling thread's namespace.
    fn open(runtime: &Handle, key: PrivateKey, peer: PublicKey, initiates: bool) -> Self {
        let _context = runtime.enter();
        let (device, udp) = (Device::create(MTU).unwrap(), Udp::bind(0).unwrap());
        sh(&format!("ip link set {} up", device.name()));
        let port = udp.port();
        let (driver, driving) = driver::start(Tunnel::new(key), device, udp);
        runtime.spawn(driving);
        let config = PeerConfig {
            public_key: peer,
            allowed_ips: ["fd75::/16".parse().unwrap()].into(),
            policy: PathPolicy::Auto,
            initiates,
        };
        let added = driver.call(move |tunnel, now| tunnel.add_peer(config, now));
        Self {
            peer: runtime.block_on(added).unwrap(),
            driver,
            port,
        }
    }

    async fn dial(&self, to: SocketAddr) {
        let peer = self.peer;
        let told = self
            .driver
            .call(move |tunnel, now| tunnel.set_candidates(peer, &[to], now));
        told.await.unwrap();
    }
}

async fn join(vm: &End, host: &End) -> [Session; 2] {
    let streams = duplex(1 << 20);
    let sessions = [streams.0, streams.1].map(|stream| {
        let (read, write) = split(stream);
        Session::new(read, write)
    });
    for (session, end) in sessions.iter().zip([vm, host]) {
        session.attach(&end.driver, end.peer).await;
    }
    host.dial(SocketAddr::new([192, 0, 2, 1].into(), vm.port))
        .await;
    vm.dial(SocketAddr::new([192, 0, 2, 2].into(), host.port))
        .await;
    sessions
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

const fn at(end: u16, number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd75, 0, 0, 0, 0, 0, end, number)
}
