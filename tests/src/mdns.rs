//! Multicast DNS (RFC 6762), as much of it as finds a host's address: one question by multicast, one answer by multicast.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// Says which address `NAME.local` has to whoever asks; ends when dropped.
#[derive(Debug)]
pub struct Responder {
    over: Arc<AtomicBool>,
}

impl Responder {
    /// Speaks on the interface with this address, which it says is that of `name`; in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the interface cannot do multicast.
    pub fn start(name: &'static str, own: Ipv4Addr) -> Result<Self> {
        let socket = socket(own)?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        thread::spawn(move || {
            let mut message = [0; LONGEST];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((length, _)) = socket.recv_from(&mut message)
                    && message[..length] == question(name)
                {
                    let _ = socket.send_to(&answer(name, own), GROUP_PORT);
                }
            }
        });
        Ok(Self { over })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The address of `NAME.local`, asked for on the interface with the address `own` of the calling thread's namespace.
///
/// # Errors
/// When nobody answers by multicast.
pub fn resolve(name: &str, own: Ipv4Addr) -> Result<Ipv4Addr> {
    let socket = socket(own)?;
    let question = question(name);
    let mut message = [0; LONGEST];
    for _ in 0..ATTEMPTS {
        socket
            .send_to(&question, GROUP_PORT)
            .context("ask by multicast")?;
        let begin = Instant::now();
        while begin.elapsed() < ANSWER {
            let Ok((length, _)) = socket.recv_from(&mut message) else {
                continue;
            };
            let address: Option<&[u8; 4]> = message[..length].last_chunk();
            if let Some(address) = address.copied().map(Ipv4Addr::from)
                && message[..length] == answer(name, address)
            {
                return Ok(address);
            }
        }
    }
    bail!("nobody says which address {name}.local has")
}

fn socket(own: Ipv4Addr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    // Not to any address: what is sent to this one alone is not heard.
    socket.bind(&SocketAddr::from(GROUP_PORT).into())?;
    socket
        .join_multicast_v4(&GROUP, &own)
        .context("join the group")?;
    socket.set_multicast_if_v4(&own)?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_read_timeout(Some(POLL))?;
    Ok(socket.into())
}

/// RFC 1035, 4.1: the header, the name, and an address in the class Internet.
fn question(name: &str) -> Vec<u8> {
    let header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], &labels(name), &[0, 1, 0, 1]].concat()
}

/// RFC 6762, 6: authoritative, without the question; the name is its host's alone, for two minutes.
fn answer(name: &str, address: Ipv4Addr) -> Vec<u8> {
    let header = [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let record = [0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4];
    [&header[..], &labels(name), &record, &address.octets()].concat()
}

fn labels(name: &str) -> Vec<u8> {
    let mut labels = Vec::new();
    for label in [name, "local"] {
        labels.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        labels.extend(label.as_bytes());
    }
    labels.push(0);
    labels
}

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_PORT: (Ipv4Addr, u16) = (GROUP, 5353);
const LONGEST: usize = 1500;
const POLL: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 5;
