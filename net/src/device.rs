//! Interfaces of ours, moved in batches: the tun or utun of packets, and the
//! tap or feth of frames.
//!
//! tun-rs holds the file descriptor: it is widely used on both systems, needs
//! no Apple framework, and can do the Linux offloads.

#[cfg_attr(target_os = "linux", path = "device/linux.rs")]
#[cfg_attr(target_os = "macos", path = "device/macos.rs")]
mod imp;
mod packets;
mod writes;

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;

use dtap_tunnel::Batch;
use dtap_tunnel::offload::{Coalescer, Header, Link, Merge};
use tun_rs::AsyncDevice;

pub use packets::Packets;
use writes::Writes;

/// An interface; it vanishes with its routes when dropped.
pub struct Device {
    inner: AsyncDevice,
    name: String,
    index: u32,
    link: Link,
    header_length: usize,
    writes: Writes,
    /// What keeps the interface's name ours, until it has gone.
    _claim: Option<File>,
}

/// Inner MTU in bytes: 1,500 less IPv6, UDP and WireGuard headers (WireGuard
/// paper).
pub const MTU: u16 = 1420;
/// Reads at a time, so that no direction starves another.
const MOST_READS: usize = 128;

impl Device {
    /// Creates an interface under the first free name, down and bare, with
    /// the offloads its system has.
    ///
    /// # Errors
    /// Without root (`NET_ADMIN`) or, on Linux, without `/dev/net/tun`.
    pub fn create(mtu: u16) -> io::Result<Self> {
        Self::of(imp::builder().mtu(mtu).build_async()?, Link::Ip, None)
    }

    /// The same, but of frames: an Ethernet interface with this hardware
    /// address.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_tap(address: [u8; 6], mtu: u16) -> io::Result<Self> {
        let (inner, claim) = imp::tap(address, mtu)?;
        Self::of(inner, Link::Ethernet, claim)
    }

    fn of(inner: AsyncDevice, link: Link, claim: Option<File>) -> io::Result<Self> {
        imp::prepare(&inner);
        let name = inner.name()?;
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        let merge = imp::merge(&inner);
        Ok(Self {
            header_length: if merge == Merge::Nothing {
                0
            } else {
                Header::LENGTH
            },
            writes: Writes::new(link, merge),
            _claim: claim,
            link,
            inner,
            name,
            index,
        })
    }

    /// The OS's name of the interface, such as `dtap0` or `utun4`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The OS's number of the interface.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Memory for what is read.
    pub fn packets(&self) -> Packets {
        Packets::new(self.link)
    }

    /// Waits until [`Self::recv`] has something to read.
    ///
    /// # Errors
    /// When the interface is gone.
    pub async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await
    }

    /// Reads all packets that are there, up to a limit; says whether there were any.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn recv(&self, packets: &mut Packets) -> io::Result<bool> {
        for count in 0..MOST_READS {
            let Some(slot) = packets.slot() else {
                return Ok(true);
            };
            match self.inner.try_recv(slot) {
                Ok(length) => packets.push(length, self.header_length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count > 0),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Takes packets for the OS; what waits is written by [`Self::flush`].
    pub fn send(&mut self, packets: &mut Batch<()>) {
        let write = writer(&self.inner, self.header_length);
        self.writes.push(packets, write);
    }

    /// Gives the OS what waits, until it was `most` bytes. A packet that it
    /// refuses is dropped.
    pub fn flush(&mut self, most: usize) {
        let write = writer(&self.inner, self.header_length);
        self.writes.pop(most, write);
    }

    /// Whether so much waits that no more should be taken in.
    pub const fn is_full(&self) -> bool {
        self.writes.is_full()
    }

    /// Whether anything waits to be written.
    pub fn is_waiting(&self) -> bool {
        !self.writes.is_empty()
    }
}

fn writer(
    device: &AsyncDevice,
    header_length: usize,
) -> impl FnMut(Header, &[u8], &[Range<usize>]) {
    move |header, bytes, pieces| {
        write(device, &header.to_bytes()[..header_length], bytes, pieces);
    }
}

fn write(device: &AsyncDevice, header: &[u8], bytes: &[u8], pieces: &[Range<usize>]) {
    let mut slices = [IoSlice::new(&[]); Coalescer::MOST_PIECES + 1];
    slices[0] = IoSlice::new(header);
    for (slice, piece) in slices[1..].iter_mut().zip(pieces) {
        *slice = IoSlice::new(&bytes[piece.clone()]);
    }
    // Neither system makes a writer wait: what it has no memory for, it refuses.
    if let Err(error) = device.try_send_vectored(&slices[..=pieces.len()]) {
        tracing::trace!(%error, "drop: device refused packet");
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    /// A UDP packet that is known again.
    pub(super) fn packet(flow: u16, length: u16, number: u32) -> Vec<u8> {
        let mut packet = vec![number.to_ne_bytes()[0]; length.into()];
        packet[..20].fill(0);
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[9] = 17;
        packet[20..22].copy_from_slice(&flow.to_be_bytes());
        packet[22..28].fill(0);
        packet[28..32].copy_from_slice(&number.to_be_bytes());
        packet
    }

    /// Flow and number of a packet that nobody has damaged.
    pub(super) fn number_of(packet: &[u8]) -> (u16, u32) {
        let flow = u16::from_be_bytes([packet[20], packet[21]]);
        let number: &[u8; 4] = packet[28..].first_chunk().unwrap();
        let number = u32::from_be_bytes(*number);
        assert!(
            packet[32..]
                .iter()
                .all(|byte| *byte == number.to_ne_bytes()[0])
        );
        (flow, number)
    }
}
