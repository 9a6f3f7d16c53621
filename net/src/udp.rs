//! UDP sockets for both IP versions on one port, moved in batches.
//!
//! quinn-udp does the system calls: segmentation and coalescing offload and
//! `recvmmsg` on Linux, `sendmsg_x` on macOS, each probed at run time.

#[cfg_attr(target_os = "linux", path = "udp/linux.rs")]
#[cfg_attr(target_os = "macos", path = "udp/macos.rs")]
mod imp;

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Both sockets of one end of the tunnel.
#[derive(Debug)]
pub struct Udp {
    v4: Option<Half>,
    v6: Option<Half>,
    port: u16,
    ignored_interfaces: Vec<u32>,
}

#[derive(Debug)]
struct Half {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// What [`Udp::recv`] has read, in memory that is used again.
#[derive(Debug, Default)]
pub struct Datagrams {
    v4: Reads,
    v6: Reads,
    ignored_interfaces: Vec<u32>,
}

#[derive(Debug)]
struct Reads {
    memory: Vec<u8>,
    meta: [RecvMeta; READS],
    count: usize,
}

/// Kernel memory per socket and direction; a 2 ms burst at 10 Gbit/s.
const SOCKET_BUFFER: usize = 4 << 20;
/// Room for what the kernel may coalesce into one read.
const COALESCED: usize = 65_536;
/// Reads per system call. Fewer than quinn-udp's batch: each needs
/// [`COALESCED`] bytes, and coalescing does the work.
const READS: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };
/// Attempts to find a port that is free for both IP versions.
const ATTEMPTS: usize = 16;
/// Bytes of one segmented write (an IP packet's limit, less the headers).
const LONGEST_WRITE: usize = 65_000;

impl Udp {
    /// Binds both sockets to `port` on all addresses, or to a free port if 0.
    ///
    /// # Errors
    /// When the port is taken; a machine without IPv6 gets IPv4 only.
    pub fn bind(port: u16) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::bind_both(port) {
                Ok(udp) => return Ok(udp),
                Err(error) => last = Some(error),
            }
            if port != 0 {
                break;
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
    }

    /// The local port of both sockets.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Drops whatever arrives by this interface: a tunnel must not carry itself.
    pub fn ignore_interface(&mut self, index: u32) {
        self.ignored_interfaces.push(index);
    }

    /// Undoes [`Self::ignore_interface`].
    pub fn heed_interface(&mut self, index: u32) {
        self.ignored_interfaces.retain(|other| *other != index);
    }

    /// Waits until [`Self::recv`] has something to read.
    ///
    /// # Errors
    /// When a socket is broken.
    pub async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            ready = Half::readable(self.v4.as_ref()) => ready,
            ready = Half::readable(self.v6.as_ref()) => ready,
        }
    }

    /// Reads datagrams that are there, up to a limit, in the place of those
    /// read before; says whether there were any.
    ///
    /// # Errors
    /// When a socket is broken; refusals that ICMP brought are not errors.
    pub fn recv(&self, datagrams: &mut Datagrams) -> io::Result<bool> {
        datagrams
            .ignored_interfaces
            .clone_from(&self.ignored_interfaces);
        Half::recv(self.v4.as_ref(), &mut datagrams.v4)?;
        Half::recv(self.v6.as_ref(), &mut datagrams.v6)?;
        Ok(datagrams.v4.count + datagrams.v6.count > 0)
    }

    /// Sends a run of equally long datagrams (the last may be shorter) that lie
    /// back to back in `contents`. What cannot be sent is dropped.
    pub async fn send(&mut self, to: SocketAddr, contents: &[u8], length: usize) {
        let half = match to {
            SocketAddr::V4(_) => &mut self.v4,
            SocketAddr::V6(_) => &mut self.v6,
        };
        let Some(half) = half else {
            return tracing::trace!(%to, "drop: no socket for this IP version");
        };
        let most = half.state.max_gso_segments().max(1);
        let chunk = length * most.min((LONGEST_WRITE / length.max(1)).max(1));
        for run in contents.chunks(chunk.max(1)) {
            half.send(to, run, length).await;
        }
    }

    fn bind_both(port: u16) -> io::Result<Self> {
        let v4 = Half::bind((Ipv4Addr::UNSPECIFIED, port).into())?;
        let port = v4.socket.local_addr()?.port();
        let v6 = match Half::bind((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(half) => Some(half),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "no IPv6 socket");
                None
            }
        };
        Ok(Self {
            v4: Some(v4),
            v6,
            port,
            ignored_interfaces: Vec::new(),
        })
    }
}

impl Half {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Best effort: the kernel caps both at its own limit.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        let state = state(&socket, address.is_ipv6())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, state })
    }

    async fn readable(half: Option<&Self>) -> io::Result<()> {
        match half {
            Some(half) => half.socket.readable().await,
            None => std::future::pending().await,
        }
    }

    fn recv(half: Option<&Self>, reads: &mut Reads) -> io::Result<()> {
        reads.count = 0;
        let Some(half) = half else { return Ok(()) };
        let mut parts = reads.memory.chunks_mut(COALESCED);
        let mut slices: [_; READS] =
            array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        let read = half.socket.try_io(Interest::READABLE, || {
            let socket = SockRef::from(&half.socket);
            let socket = quinn_udp::UdpSockRef::from(&*socket);
            half.state.recv(socket, &mut slices, &mut reads.meta)
        });
        match read {
            Ok(count) => reads.count = count,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn send(&mut self, to: SocketAddr, contents: &[u8], length: usize) {
        match self.transmit(to, contents, length).await {
            Err(error) if contents.len() > length && is_unsegmentable(&error) => {
                self.forget_failure(to);
                for datagram in contents.chunks(length) {
                    trace_drop(self.transmit(to, datagram, length).await, to, length);
                }
            }
            sent => trace_drop(sent, to, length),
        }
    }

    /// quinn-udp segments no more once the kernel has refused to. But it refuses
    /// for one path, which is narrower than a datagram (it does not both segment
    /// and fragment) or has a device without checksums, and there are others.
    fn forget_failure(&mut self, to: SocketAddr) {
        match state(&SockRef::from(&self.socket), to.is_ipv6()) {
            Ok(state) => self.state = state,
            Err(error) => tracing::debug!(%error, "UDP is not segmented any more"),
        }
    }

    async fn transmit(&self, to: SocketAddr, contents: &[u8], length: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: (contents.len() > length).then_some(length),
            src_ip: None,
        };
        let send = || {
            let socket = SockRef::from(&self.socket);
            self.state.try_send((&*socket).into(), &transmit)
        };
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}

fn trace_drop(sent: io::Result<()>, to: SocketAddr, length: usize) {
    if let Err(error) = sent {
        tracing::trace!(%error, %to, length, "drop: datagram not sent");
    }
}

fn state(socket: &Socket, is_v6: bool) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(socket.into())?;
    imp::allow_fragments(socket, is_v6);
    Ok(state)
}

/// What Linux says of a write in segments that it would take one by one
/// (`udp_send_skb`).
fn is_unsegmentable(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)
    )
}

impl Datagrams {
    /// Those read last, with their sources.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let reads = self.v4.iter().chain(self.v6.iter());
        reads
            .filter(|(meta, _)| {
                let by = meta.interface_index;
                by.is_none_or(|by| !self.ignored_interfaces.contains(&by))
            })
            .flat_map(|(meta, bytes)| {
                let from = canonical(meta.addr);
                let datagrams = bytes.chunks(meta.stride.max(1));
                datagrams.map(move |datagram| (from, datagram))
            })
    }
}

impl Reads {
    fn iter(&self) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        let reads = self.meta.iter().zip(self.memory.chunks(COALESCED));
        reads
            .take(self.count)
            .map(|(meta, bytes)| (meta, &bytes[..meta.len]))
    }
}

impl Default for Reads {
    fn default() -> Self {
        Self {
            memory: vec![0; READS * COALESCED],
            meta: [RecvMeta::default(); READS],
            count: 0,
        }
    }
}

/// How many from the first, which [`Udp::send`] takes at once, are of `length`, with one shorter one at the end.
pub fn equally_long<T>(items: &[(T, Range<usize>)], length: usize) -> usize {
    let equal = items
        .iter()
        .take_while(|(_, range)| range.len() == length)
        .count();
    let shorter = items
        .get(equal)
        .is_some_and(|(_, range)| range.len() < length);
    equal + usize::from(shorter)
}

/// Whether another host may dial this address of one's own: loopback and
/// link-local ones mean something else there.
pub fn is_dialable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// Without the scope and flow fields, which would make one peer look like two.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if !v6.ip().is_unicast_link_local() => {
            SocketAddr::new(v6.ip().to_canonical(), v6.port())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address,
    }
}

/// ICMP errors of earlier sends surface on reads.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn received(udp: &Udp) -> usize {
        let mut datagrams = Datagrams::default();
        let deadline = Duration::from_secs(10);
        loop {
            let ready = tokio::time::timeout(deadline, udp.readable()).await;
            ready.expect("nothing arrived").unwrap();
            if udp.recv(&mut datagrams).unwrap() {
                return datagrams.iter().count();
            }
        }
    }

    #[tokio::test]
    async fn what_arrives_by_the_ignored_interface_is_dropped() {
        // Linux, and macOS.
        let mut loopbacks = ["lo", "lo0"].into_iter();
        let loopback = loopbacks.find_map(|name| nix::net::if_::if_nametoindex(name).ok());
        let loopback = loopback.unwrap();
        let mut sender = Udp::bind(0).unwrap();
        for to in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let mut receiver = Udp::bind(0).unwrap();
            let to = SocketAddr::new(to, receiver.port());
            sender.send(to, b"datagram", 8).await;
            assert_eq!(received(&receiver).await, 1);
            receiver.ignore_interface(loopback);
            sender.send(to, b"datagram", 8).await;
            assert_eq!(received(&receiver).await, 0);
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_cannot_go_in_segments_goes_one_by_one_and_the_rest_still_does() {
        let receiver = Udp::bind(0).unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), receiver.port());
        let mut sender = Udp::bind(0).unwrap().v4.unwrap();
        assert!(sender.state.max_gso_segments() > 1);
        // More than UDP_MAX_SEGMENTS.
        sender.send(to, &[0; 300], 1).await;
        assert!(sender.state.max_gso_segments() > 1);
        let mut arrived = 0;
        while arrived < 300 {
            arrived += received(&receiver).await;
        }
    }
}
