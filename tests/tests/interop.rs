//! On the wire it is plain WireGuard: Debian's wireguard-go, which is not boringtun, calls and is called.

#![cfg(target_os = "linux")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use dtap_net::device::Device;
use dtap_net::driver::{self, Driver};
use dtap_net::session::{Heart, Session};
use dtap_net::udp::Udp;
use dtap_tests::echo::{EchoServer, tcp_echoes, udp_echoes};
use dtap_tests::lab::{Background, Lab, Link, Options, can_run};
use dtap_tests::wait_until;
use dtap_tunnel::session::{Decoder, Frame, encode_datagram};
use dtap_tunnel::{Path, PathPolicy, PeerConfig, PeerId, PrivateKey, PublicKey, Tunnel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;

#[test]
fn wireguard_go_calls_us_by_udp_and_calls_again_when_it_was_restarted() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let (ours, theirs) = (PrivateKey::generate(), PrivateKey::generate());
    let end = End::open(&lab, &ours, theirs.public(), Role::Responder)?;
    for port in ["51820", "51821"] {
        let program = wireguard_go(&lab, &theirs, port)?;
        let endpoint = format!("192.168.106.1:{}", end.port);
        let call = ["endpoint", &endpoint, "persistent-keepalive", "1"];
        let allowed = ["allowed-ips", &OURS.join(",")];
        let peer = ["wg", "set", "wg0", "peer", &ours.public().to_string()];
        lab.vm(&[&peer[..], &allowed, &call].concat()).text()?;
        end.exchanges(&lab, &ours)?;
        let expected: SocketAddr = format!("192.168.106.2:{port}").parse()?;
        assert_eq!(end.path()?, Some(Path::Udp(expected)));
        drop(program);
    }
    Ok(())
}

/// Our own client starts handshakes over the session. What it puts there is a datagram that any WireGuard understands.
#[test]
fn we_call_wireguard_go_with_what_a_session_carries() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = lab()?;
    let (ours, theirs) = (PrivateKey::generate(), PrivateKey::generate());
    let _program = wireguard_go(&lab, &theirs, "51820")?;
    let allowed = ["allowed-ips", &OURS.join(",")];
    let peer = ["wg", "set", "wg0", "peer", &ours.public().to_string()];
    lab.vm(&[&peer[..], &allowed].concat()).text()?;
    let end = End::open(&lab, &ours, theirs.public(), Role::Initiator)?;
    let _session = end.session_by_udp(&lab, "192.168.106.2:51820".parse()?)?;
    end.exchanges(&lab, &ours)?;
    assert_eq!(end.path()?, Some(Path::Session));
    Ok(())
}

/// Our end of the tunnel, on the lab's host.
struct End {
    runtime: Runtime,
    driver: Driver,
    peer: PeerId,
    port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Initiator,
    Responder,
}

impl End {
    fn open(lab: &Lab, key: &PrivateKey, peer: PublicKey, role: Role) -> Result<Self> {
        let runtime = Runtime::new()?;
        let open = || -> Result<_> {
            let _context = runtime.enter();
            Ok((Device::create(1420)?, Udp::bind(0)?))
        };
        let (device, udp) = lab.mac_namespace().enter(open)??;
        let (name, port) = (device.name().to_owned(), udp.port());
        configure(&|command| lab.mac(command).text(), &name, &OURS)?;
        let (driver, driving) = driver::start(Tunnel::new(key.clone()), device, udp);
        runtime.spawn(driving);
        let allowed = THEIRS.map(|address| address.parse::<IpAddr>().map(Into::into));
        let config = PeerConfig {
            public_key: peer,
            allowed_ips: allowed.into_iter().collect::<Result<_, _>>()?,
            policy: PathPolicy::Auto,
            initiates: role == Role::Initiator,
        };
        let peer = runtime
            .block_on(driver.call(move |tunnel, now| tunnel.add_peer(config, now)))
            .context("add a peer")?;
        Ok(Self {
            runtime,
            driver,
            peer,
            port,
        })
    }

    /// A session whose datagrams go to `to`, one by one and as they are.
    fn session_by_udp(&self, lab: &Lab, to: SocketAddr) -> Result<Session> {
        let connect = || -> Result<_> {
            let _context = self.runtime.enter();
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            Ok(UdpSocket::from_std(socket)?)
        };
        let socket = lab.mac_namespace().enter(connect)??;
        self.runtime.block_on(async {
            let (near, far) = duplex(STREAM);
            tokio::spawn(unpack(far, socket));
            let (read, write) = split(near);
            let session = Session::start(self.runtime.handle(), Heart::Answers, read, write);
            session.attach(&self.driver, self.peer).await;
            Ok(session)
        })
    }

    /// Both ends agree on keys, and packets of every kind get through in both directions.
    fn exchanges(&self, lab: &Lab, ours: &PrivateKey) -> Result<()> {
        let shown = ["wg", "show", "wg0", "latest-handshakes"];
        wait_until(PATIENCE, "wireguard-go has agreed on keys", || {
            let line = lab.vm(&shown).stdout;
            line.contains(&ours.public().to_string()) && !line.trim_end().ends_with("\t0")
        });
        let here = lab.mac_namespace().enter(EchoServer::start)??;
        let there = lab.vm_namespace().enter(EchoServer::start)??;
        for (ours, theirs) in OURS.iter().zip(THEIRS) {
            lab.mac(&["ping", "-c1", "-W5", theirs]).text()?;
            lab.vm(&["ping", "-c1", "-W5", ours]).text()?;
            let (ours, theirs): (IpAddr, IpAddr) = (ours.parse()?, theirs.parse()?);
            lab.mac_namespace().enter(|| {
                udp_echoes(there.at(theirs), 1000)?;
                tcp_echoes(there.at(theirs), STREAM)
            })??;
            lab.vm_namespace().enter(|| {
                udp_echoes(here.at(ours), 1000)?;
                tcp_echoes(here.at(ours), STREAM)
            })??;
        }
        Ok(())
    }

    fn path(&self) -> Result<Option<Path>> {
        let peer = self.peer;
        let status = self.driver.call(move |tunnel, _| tunnel.status(peer));
        let status = self.runtime.block_on(status).flatten();
        let status = status.context("the peer's status")?;
        assert!(status.last_handshake.is_some());
        Ok(status.path)
    }
}

/// Takes datagrams out of a session's stream and puts answers in, until either ends.
async fn unpack(stream: DuplexStream, socket: UdpSocket) -> Result<()> {
    let (mut read, mut write) = split(stream);
    let mut decoder = Decoder::default();
    let (mut bytes, mut datagram) = (vec![0; STREAM], vec![0; 2048]);
    loop {
        tokio::select! {
            length = read.read(&mut bytes) => {
                decoder.extend(&bytes[..length?]);
                while let Some(frame) = decoder.next() {
                    if let Frame::Datagram(datagram) = frame? {
                        socket.send(datagram).await?;
                    }
                }
            }
            length = socket.recv(&mut datagram) => {
                let mut frame = Vec::new();
                encode_datagram(&datagram[..length?], &mut frame);
                write.write_all(&frame).await?;
            }
        }
    }
}

fn wireguard_go(lab: &Lab, key: &PrivateKey, port: &str) -> Result<Background> {
    let program = lab.vm_background(&["wireguard-go", "-f", "wg0"])?;
    wait_until(PATIENCE, "wireguard-go answers", || {
        lab.vm(&["wg", "show", "wg0"]).success()
    });
    let file = lab.directory().join("wireguard-go.key");
    std::fs::write(&file, key.to_base64())?;
    let file = file.display().to_string();
    let set = [
        "wg",
        "set",
        "wg0",
        "private-key",
        &file,
        "listen-port",
        port,
    ];
    lab.vm(&set).text()?;
    configure(&|command| lab.vm(command).text(), "wg0", &THEIRS)?;
    Ok(program)
}

fn configure(
    run: &dyn Fn(&[&str]) -> Result<String>,
    interface: &str,
    addresses: &[&str; 2],
) -> Result<()> {
    for (address, length) in addresses.iter().zip(["/24", "/64"]) {
        let prefix = format!("{address}{length}");
        run(&["ip", "address", "add", &prefix, "dev", interface, "nodad"])?;
    }
    run(&["ip", "link", "set", interface, "mtu", "1420", "up"]).map(drop)
}

fn lab() -> Result<Lab> {
    Lab::start(Options {
        link: Link::Veth,
        ..Options::default()
    })
}

const OURS: [&str; 2] = ["10.99.0.1", "fd09::1"];
const THEIRS: [&str; 2] = ["10.99.0.2", "fd09::2"];
const STREAM: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
