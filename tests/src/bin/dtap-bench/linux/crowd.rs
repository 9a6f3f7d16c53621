//! Both ends of many tunnels: one server, and all its peers in one process. Driver, device and sockets are dtap's own; what
//! a real server gives no more than 254 of, an address for each peer, is made up here.
//!
//! A peer meets the server on a unix socket, for a session over which both find the way by UDP, and then leaves it: what
//! remains is what any WireGuard client has.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dtap_net::device::{Device, MTU};
use dtap_net::driver::{self, Driver};
use dtap_net::session::{Heart, Session};
use dtap_net::udp::Udp;
use dtap_tunnel::{Path as Way, PathPolicy, PeerConfig, PeerId, PrivateKey, PublicKey, Tunnel};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Peers that join at the same time: a server answers 100 handshakes per second.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// The server's key and port, as it greets whoever comes.
const GREETING: usize = 34;
/// A peer's key and its two addresses: its own and that of the server to it.
const INTRODUCTION: usize = 40;

/// Makes an interface, says its name, and takes every peer that comes to the socket.
pub(super) fn serve(socket: &Path) -> Result<()> {
    let runtime = Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let key = PrivateKey::generate();
        let greeting = key.public();
        let (driver, name, port) = start(key)?;
        let listener = UnixListener::bind(socket).context("listen")?;
        writeln!(io::stdout(), "{name}")?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.write_all(greeting.as_bytes()).await?;
            stream.write_u16(port).await?;
            let driver = driver.clone();
            tokio::spawn(async move { welcome(&driver, stream).await });
        }
    })
}

/// Makes this many peers of the server, each with an interface and addresses in these ranges, and says when all are there.
pub(super) fn join(count: u16, socket: &Path, server: IpAddr, range: u8) -> Result<()> {
    // Device, sockets and the rest of each peer.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("allow more files")?;
    let runtime = Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut joining = JoinSet::new();
        for number in 0..count {
            let turns = Arc::clone(&turns);
            let socket = socket.to_owned();
            joining.spawn(async move {
                let _turn = turns.acquire().await?;
                peer(number, &socket, server, range).await
            });
        }
        let mut drivers = Vec::new();
        while let Some(joined) = joining.join_next().await {
            drivers.push(joined??);
        }
        writeln!(io::stdout(), "{}", drivers.len())?;
        std::future::pending().await
    })
}

/// That of a peer in its tunnel, and that of the server in it.
pub(super) const fn addresses(range: u8, number: u16) -> [Ipv4Addr; 2] {
    let [high, low] = number.to_be_bytes();
    [
        Ipv4Addr::new(10, range, high, low),
        Ipv4Addr::new(10, range + 1, high, low),
    ]
}

async fn welcome(driver: &Driver, mut stream: UnixStream) -> Result<()> {
    let mut introduction = [0; INTRODUCTION];
    stream.read_exact(&mut introduction).await?;
    let (key, addresses) = introduction.split_at(32);
    let key = PublicKey::from_bytes(key.try_into()?);
    let own = Ipv4Addr::from(<[u8; 4]>::try_from(&addresses[..4])?);
    let peer = add(driver, key, own, false).await?;
    let (read, write) = stream.into_split();
    let mut session = Session::start(&Handle::current(), Heart::Answers, read, write);
    session.attach(driver, peer).await;
    // Until the peer has found the way and leaves.
    while let Ok(Some(_)) = session.recv().await {}
    Ok(())
}

async fn peer(number: u16, socket: &Path, server: IpAddr, range: u8) -> Result<Driver> {
    let key = PrivateKey::generate();
    let [own, theirs] = addresses(range, number);
    let mut stream = UnixStream::connect(socket)
        .await
        .context("meet the server")?;
    let mut greeting = [0; GREETING];
    stream.read_exact(&mut greeting).await?;
    let (theirs_key, port) = greeting.split_at(32);
    let port = u16::from_be_bytes(port.try_into()?);
    stream.write_all(key.public().as_bytes()).await?;
    stream.write_all(&own.octets()).await?;
    stream.write_all(&theirs.octets()).await?;
    let (driver, name, _) = start(key)?;
    configure(&name, own, theirs)?;
    let theirs_key = PublicKey::from_bytes(theirs_key.try_into()?);
    let peer = add(&driver, theirs_key, theirs, true).await?;
    let endpoint = SocketAddr::new(server, port);
    let told = driver.call(move |tunnel, now| tunnel.set_candidates(peer, &[endpoint], now));
    told.await.context("name the server")?;
    let (read, write) = stream.into_split();
    let session = Session::start(&Handle::current(), Heart::Beats, read, write);
    session.attach(&driver, peer).await;
    let found = async {
        while !by_udp(&driver, peer).await {
            sleep(POLL).await;
        }
    };
    let found = timeout(PATIENCE, found).await;
    found.with_context(|| format!("peer {number} finds the server by UDP"))?;
    Ok(driver)
}

async fn by_udp(driver: &Driver, peer: PeerId) -> bool {
    let status = driver.call(move |tunnel, _| tunnel.status(peer)).await;
    let path = status.flatten().and_then(|it| it.path);
    matches!(path, Some(Way::Udp(_)))
}

fn start(key: PrivateKey) -> Result<(Driver, String, u16)> {
    let device = Device::create(MTU).context("create an interface")?;
    let udp = Udp::bind(0).context("bind a port")?;
    let (name, port) = (device.name().to_owned(), udp.port());
    let (driver, driving) = driver::start(Tunnel::new(key), device, udp);
    tokio::spawn(driving);
    Ok((driver, name, port))
}

async fn add(driver: &Driver, key: PublicKey, of: Ipv4Addr, initiates: bool) -> Result<PeerId> {
    let config = PeerConfig {
        public_key: key,
        allowed_ips: BTreeSet::from([IpAddr::from(of).into()]),
        policy: PathPolicy::Udp,
        initiates,
    };
    let added = driver.call(move |tunnel, now| tunnel.add_peer(config, now));
    added.await.context("add a peer")
}

fn configure(interface: &str, own: Ipv4Addr, theirs: Ipv4Addr) -> Result<()> {
    let mut ip = Command::new("ip");
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    let mut stdin = ip.stdin.take().context("tell ip")?;
    write!(
        stdin,
        "address add {own}/32 dev {interface}\n\
         link set {interface} up\n\
         route add {theirs}/32 dev {interface} src {own}\n"
    )?;
    drop(stdin);
    ensure!(ip.wait()?.success(), "configure {interface}");
    Ok(())
}
