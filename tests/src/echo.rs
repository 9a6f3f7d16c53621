//! Servers in a namespace of the test's choice that send back what they get, and probes that ask them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;

/// Listens by UDP and TCP, IPv4 and IPv6, on one port; ends when dropped.
#[derive(Debug)]
pub struct EchoServer {
    port: u16,
    over: Arc<AtomicBool>,
}

impl EchoServer {
    /// Listens in the namespace of the calling thread.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> Result<Self> {
        let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).context("listen by TCP")?;
        let port = tcp.local_addr()?.port();
        let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).context("listen by UDP")?;
        udp.set_read_timeout(Some(POLL))?;
        tcp.set_nonblocking(true)?;
        let over = Arc::new(AtomicBool::new(false));
        let (tcp_over, udp_over) = (Arc::clone(&over), Arc::clone(&over));
        thread::spawn(move || serve_tcp(&tcp, &tcp_over));
        thread::spawn(move || serve_udp(&udp, &udp_over));
        Ok(Self { port, over })
    }

    pub fn at(&self, address: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(address.into(), self.port)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Whether a datagram with `length` bytes gets there and back, from the namespace of the calling thread.
///
/// A program that speaks UDP asks again: the packet by which a kernel learns a path's MTU is lost.
///
/// # Errors
/// When nothing, or something else, comes back.
pub fn udp_echoes(server: SocketAddr, length: usize) -> Result<()> {
    let socket = UdpSocket::bind(unspecified(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let sent = pattern(length);
    let mut answer = vec![0; length + 1];
    for _ in 0..ATTEMPTS {
        match socket.send(&sent).and_then(|_| socket.recv(&mut answer)) {
            Ok(received) => {
                ensure!(
                    answer[..received] == sent,
                    "{length} bytes by UDP came back changed"
                );
                return Ok(());
            }
            Err(error) if is_retried(&error) => {}
            Err(error) => return Err(error).context(format!("send {length} bytes to {server}")),
        }
    }
    bail!("no answer to {length} bytes by UDP from {server}")
}

/// Whether a stream of `length` bytes gets there and back, both at once.
///
/// # Errors
/// When it is cut, changed, or stands still for long.
pub fn tcp_echoes(server: SocketAddr, length: usize) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)
        .with_context(|| format!("connect to {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent = pattern(length);
    let mut writer = stream.try_clone()?;
    thread::scope(|scope| {
        let written = scope.spawn(|| {
            writer.write_all(&sent)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut received = Vec::with_capacity(length);
        stream
            .read_to_end(&mut received)
            .with_context(|| format!("read {length} bytes from {server}"))?;
        match written.join() {
            Ok(written) => written.with_context(|| format!("write {length} bytes to {server}"))?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        ensure!(received == sent, "{length} bytes by TCP came back changed");
        Ok(())
    })
}

fn serve_udp(socket: &UdpSocket, over: &AtomicBool) {
    let mut datagram = vec![0; LONGEST];
    while !over.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            // A refusal by the network is what some tests are about: the asker notices.
            let _ = socket.send_to(&datagram[..length], from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => drop(thread::spawn(move || echo(stream))),
            Err(_) => thread::sleep(POLL / 10),
        }
    }
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = stream.try_clone()?;
    io::copy(&mut reader, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

/// Bytes by which a piece that is missing, doubled or moved is noticed.
fn pattern(length: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes());
    words.take(length).collect()
}

fn unspecified(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    }
}

/// Silence; or the kernel's word that the last datagram was too long, by which it has learnt how long one may be.
fn is_retried(error: &io::Error) -> bool {
    let is_silence = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    is_silence || error.raw_os_error() == Some(Errno::EMSGSIZE as i32)
}

const LONGEST: usize = 65_536;
const POLL: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_millis(500);
const ATTEMPTS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);
