//! Small UDP packets at a given rate, and whoever counts them: iperf3 makes too few on two cores.
//!
//! Both ends hand the kernel many packets per call where it can (`UDP_SEGMENT`, `UDP_GRO`), as QUIC's do. What travels is
//! the same for every subject.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dtap_tests::lab::Namespace;
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// Bytes of a datagram's payload.
const SIZE: usize = 64;
/// Datagrams per call at most.
const BURST: u64 = 32;
/// A pause of the generator, after which it sends what has become due.
const PAUSE: Duration = Duration::from_micros(50);
/// Deep enough for the sink to be without a core for some milliseconds.
const SINK_BUFFER: usize = 16 << 20;
/// What the kernel coalesces at most.
const COALESCED: usize = 1 << 16;
/// One: a blocking `recvmmsg` waits until it has all it was given room for.
const READS: usize = 1;
/// How soon a sink notices that it is over.
const POLL: Duration = Duration::from_millis(100);

/// Sends so many per second from a namespace and returns how many in all.
pub(super) fn run(from: &Namespace, to: SocketAddr, rate: f64, time: Duration) -> Result<u64> {
    let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    let socket = from.enter(bind)?.context("bind a port")?;
    let state = UdpSocketState::new((&socket).into())?;
    let most = BURST.min(state.max_gso_segments() as u64);
    let contents = vec![0; SIZE * BURST as usize];
    let (begin, mut sent) = (Instant::now(), 0);
    loop {
        let elapsed = begin.elapsed();
        if elapsed >= time {
            return Ok(sent);
        }
        let due = (elapsed.as_secs_f64() * rate) as u64;
        if due <= sent {
            thread::sleep(PAUSE);
            continue;
        }
        let burst = (due - sent).min(most);
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &contents[..SIZE * burst as usize],
            segment_size: (burst > 1).then_some(SIZE),
            src_ip: None,
        };
        match state.try_send((&socket).into(), &transmit) {
            Ok(()) => sent += burst,
            // Nothing is lost yet: the sender has to slow down, as any would.
            Err(error) if is_full(&error) => thread::sleep(PAUSE),
            Err(error) => return Err(error).context("send"),
        }
    }
}

/// Counts what arrives at a port of a namespace until it is dropped.
#[derive(Debug)]
pub(super) struct Sink {
    counted: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    pub(super) fn start(at: &Namespace, port: u16) -> Result<Self> {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let socket = at.enter(bind)?.context("bind a port")?;
        let state = UdpSocketState::new((&socket).into())?;
        // quinn-udp makes it non-blocking.
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(POLL))?;
        setsockopt(&socket, sockopt::RcvBufForce, &SINK_BUFFER).context("enlarge the buffer")?;
        let (counted, over) = (Arc::default(), Arc::default());
        let (counter, end) = (Arc::clone(&counted), Arc::clone(&over));
        let thread = thread::spawn(move || count(&socket, &state, &counter, &end));
        Ok(Self {
            counted,
            over,
            thread: Some(thread),
        })
    }

    /// How many have come since it was asked last.
    pub(super) fn counted(&self) -> u64 {
        self.counted.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn count(socket: &UdpSocket, state: &UdpSocketState, counter: &AtomicU64, over: &AtomicBool) {
    let mut memory = vec![0; READS * COALESCED];
    let mut meta = [RecvMeta::default(); READS];
    while !over.load(Ordering::Relaxed) {
        let mut slices: Vec<_> = memory.chunks_mut(COALESCED).map(IoSliceMut::new).collect();
        // Silence, after which it looks whether it is over.
        let Ok(count) = state.recv(socket.into(), &mut slices, &mut meta) else {
            continue;
        };
        let datagrams = meta[..count].iter().map(|it| it.len / SIZE);
        counter.fetch_add(datagrams.sum::<usize>() as u64, Ordering::Relaxed);
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}
