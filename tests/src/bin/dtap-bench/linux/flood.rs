//! Small UDP packets at a given rate, and whoever counts them: iperf3 makes too few on two cores.
//!
//! Both ends hand the kernel many packets per call where it can (`UDP_SEGMENT`, `UDP_GRO`), as QUIC's do. What travels is
//! the same for every subject.

use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
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
const READS: usize = 8;

/// Sends until the time is over and says how many.
pub(super) fn run(to: SocketAddr, rate: u64, time: Duration) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind a port")?;
    let state = UdpSocketState::new((&socket).into())?;
    let most = BURST.min(state.max_gso_segments() as u64);
    let contents = vec![0; SIZE * BURST as usize];
    let (begin, mut sent) = (Instant::now(), 0);
    loop {
        let elapsed = begin.elapsed();
        if elapsed >= time {
            break;
        }
        let due = (elapsed.as_secs_f64() * rate as f64) as u64;
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
            // Those are lost before they are sent: the sender has to slow down, as any would.
            Err(error) if is_full(&error) => thread::sleep(PAUSE),
            Err(error) => return Err(error).context("send"),
        }
    }
    writeln!(io::stdout(), "{sent}")?;
    Ok(())
}

/// Counts what arrives at a port, for ever. By TCP, the same port tells how many since it told last.
pub(super) fn sink(port: u16) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).context("bind a port")?;
    let state = UdpSocketState::new((&socket).into())?;
    // quinn-udp makes it non-blocking.
    socket.set_nonblocking(false)?;
    setsockopt(&socket, sockopt::RcvBufForce, &SINK_BUFFER).context("enlarge the buffer")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listen")?;
    let counted = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for mut asker in listener.incoming().flatten() {
                let count = counted.swap(0, Ordering::Relaxed);
                // One that went away asks again.
                let _ = write!(asker, "{count}");
            }
        });
        let mut memory = vec![0; READS * COALESCED];
        let mut meta = [RecvMeta::default(); READS];
        loop {
            let mut slices: Vec<_> = memory.chunks_mut(COALESCED).map(IoSliceMut::new).collect();
            let count = state.recv((&socket).into(), &mut slices, &mut meta)?;
            let datagrams = meta[..count].iter().map(|it| it.len / SIZE);
            counted.fetch_add(datagrams.sum::<usize>() as u64, Ordering::Relaxed);
        }
    })
}

/// Asks the sink of this namespace how many have come since it was asked last.
pub(super) fn counted(port: u16) -> Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("ask the sink")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    said.parse().context("read what the sink said")
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}
