//! Packets as they are on the wire of one machine or container.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

/// Everything that any interface of one namespace sends or receives since this was made.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

/// A packet that somebody meant to send: TCP, UDP or an echo. What the kernel says by itself does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Captured {
    pub source: IpAddr,
    pub destination: IpAddr,
}

impl Capture {
    /// Captures in the namespace of the calling thread.
    ///
    /// # Errors
    /// When not root.
    pub fn start() -> Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Datagram,
            flags,
            SockProtocol::EthAll,
        )
        .context("open a packet socket")?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarge its buffer")?;
        Ok(Self { socket })
    }

    /// The packets since the last call.
    ///
    /// # Errors
    /// When the socket is broken.
    pub fn take(&self) -> Result<BTreeSet<Captured>> {
        let mut captured = BTreeSet::new();
        let mut buffer = [0; LONGEST_HEADERS];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => captured.extend(parse(&buffer[..length])),
                Err(Errno::EAGAIN) => return Ok(captured),
                Err(error) => return Err(error).context("read captured packets"),
            }
        }
    }

    /// Who has sent something to `destination` since the last call.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn sources_to(&self, destination: IpAddr) -> Result<BTreeSet<IpAddr>> {
        let packets = self.take()?.into_iter();
        Ok(packets
            .filter(|packet| packet.destination == destination)
            .map(|packet| packet.source)
            .collect())
    }
}

fn parse(packet: &[u8]) -> Option<Captured> {
    let (protocol, source, destination, payload) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let address = |at| Some(IpAddr::from(Ipv4Addr::from(word(packet, at)?)));
            (
                *packet.get(9)?,
                address(12)?,
                address(16)?,
                packet.get(header..)?,
            )
        }
        6 => {
            let address = |at| Some(IpAddr::from(Ipv6Addr::from(word(packet, at)?)));
            (
                *packet.get(6)?,
                address(8)?,
                address(24)?,
                packet.get(40..)?,
            )
        }
        _ => return None,
    };
    let is_meant = match (protocol, payload.first()) {
        (TCP | UDP, _) => true,
        (ICMP, Some(kind)) => [0, 8].contains(kind),
        (ICMPV6, Some(kind)) => [128, 129].contains(kind),
        _ => false,
    };
    is_meant.then_some(Captured {
        source,
        destination,
    })
}

fn word<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// Of IP and of ICMP; the rest of a packet is of no interest.
const LONGEST_HEADERS: usize = 128;
const BUFFER: usize = 4 << 20;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
