//! What users do with a tunnel, as sockets of the test: fetch a page, keep a connection, be called by a container.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::echo::{EchoServer, tcp_echoes, udp_echoes};
use crate::inside::Inside;
use crate::lab::{Container, Lab, Namespace, PAGE};
use crate::wait::wait_until;

/// Whether a container serves its page to this machine now. A lost packet costs a quarter of a second, not TCP's second.
pub fn serves(from: &Namespace, container: impl Into<IpAddr>) -> bool {
    let address = SocketAddr::new(container.into(), 80);
    let fetch = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, IMPATIENCE)?;
        stream.set_read_timeout(Some(IMPATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = from.enter(fetch).and_then(|answer| answer);
    answer.is_ok_and(|answer| answer.ends_with(PAGE))
}

/// Asks a container at all its addresses by ping, for its page, and by TCP and UDP for what it was sent.
///
/// # Errors
/// When one of them is not answered.
pub fn answers(lab: &Lab, container: &Container) -> Result<()> {
    let inside = Inside::of(lab, container)?;
    wait_until(DETECTION, "its IPv6 addresses are its own", || {
        inside.enter(|| Ok(is_settled()?)).unwrap_or_default()
    });
    let echo = inside.enter(EchoServer::start)?;
    for &address in &container.addresses {
        lab.mac(&["ping", "-c1", "-W2", &address.to_string()])
            .text()?;
        ensure!(serves(lab.mac_namespace(), address), "no page at {address}");
        lab.mac_namespace().enter(|| {
            udp_echoes(echo.at(address), 1000)?;
            tcp_echoes(echo.at(address), 100_000)
        })??;
    }
    Ok(())
}

/// Whether no IPv6 address of this network namespace is tentative any more: until then it answers nobody (RFC 4862, 5.4).
fn is_settled() -> io::Result<bool> {
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6")?;
    let mut flags = addresses
        .lines()
        .filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(4)?, 16).ok());
    Ok(flags.all(|flags| flags & TENTATIVE == 0))
}

/// Of proc's if_inet6 (the kernel's `if_addr.h`, `IFA_F_TENTATIVE`).
const TENTATIVE: u32 = 0x40;
/// Several times what duplicate address detection takes.
const DETECTION: Duration = Duration::from_secs(10);

/// A connection from the host to a container that sends back what it gets.
#[derive(Debug)]
pub struct Echo {
    stream: BufReader<TcpStream>,
    lines: u64,
}

impl Echo {
    /// Starts a container called `echo`, with further arguments of `docker run`.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Result<IpAddr> {
        let run = ["run", "--detach", "--name", "echo"];
        let echo = ["busybox", "nc", "-ll", "-p", "7", "-e", "cat"];
        lab.docker(&[&run, arguments, &echo].concat())?;
        Ok(lab.inspect("echo")?.v4()?.into())
    }

    /// Connects to that container.
    pub fn connect(lab: &Lab, container: IpAddr) -> Result<Self> {
        let connect = || TcpStream::connect_timeout(&(container, 7).into(), PATIENCE);
        let stream = lab.mac_namespace().enter(connect)??;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            lines: 0,
        })
    }

    /// Sends one more line and waits for it: the connection lives, and nothing was lost before. Returns how long it took.
    ///
    /// # Errors
    /// When the connection was reset or closed, when what came is not what was sent, or when nothing came for long.
    pub fn exchange(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.lines += 1;
        writeln!(self.stream.get_mut(), "{}", self.lines).context("write to the connection")?;
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .context("read from the connection")?;
        ensure!(line.trim_end() == self.lines.to_string(), "got {line:?}");
        Ok(begin.elapsed())
    }
}

/// A container that keeps calling the host's tunnel address: by a TCP connection that counts, by UDP and by ping.
#[derive(Debug)]
pub struct Caller {
    counted: Arc<AtomicU64>,
    peer: SocketAddr,
}

impl Caller {
    /// Starts a container called `caller`, with further arguments of `docker run`, and waits for its connection.
    pub fn start(lab: &Lab, host: IpAddr, arguments: &[&str]) -> Result<Self> {
        let listener = lab
            .mac_namespace()
            .enter(|| TcpListener::bind((host, 0)))?
            .with_context(|| format!("listen on {host}"))?;
        let port = listener.local_addr()?.port();
        let script = format!(
            "ping -q -i 0.1 {host} >/dev/null & \
             while :; do echo stray | nc -u -w1 {host} 9; sleep 0.1; done & \
             n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done | nc {host} {port}"
        );
        let run = ["run", "--detach", "--name", "caller"];
        lab.docker(&[&run, arguments, &["busybox", "sh", "-c", &script]].concat())?;
        let (stream, peer) = accept(&listener)?;
        let counted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&counted);
        // Ends with the connection, at the latest with the lab.
        thread::spawn(move || count(stream, &counter));
        Ok(Self { counted, peer })
    }

    /// How far it has counted, without a gap.
    pub fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Its address as the host sees it.
    pub fn address(&self) -> IpAddr {
        self.peer.ip()
    }
}

fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let mut accepted = None;
    wait_until(PATIENCE, "a container calls the host", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (stream, peer) = accepted.context("accept a connection")?;
    stream.set_nonblocking(false)?;
    Ok((stream, peer))
}

fn count(stream: TcpStream, counted: &AtomicU64) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    for (expected, line) in (1..).zip(lines) {
        if line != expected.to_string() {
            return;
        }
        counted.store(expected, Ordering::Relaxed);
    }
}

const IMPATIENCE: Duration = Duration::from_millis(250);
/// TCP doubles its waits: after an outage of some seconds it may need as many again.
const PATIENCE: Duration = Duration::from_secs(30);
