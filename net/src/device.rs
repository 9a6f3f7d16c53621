//! The tun or utun interface, moved in batches of packets.
//!
//! tun-rs holds the file descriptor: it is widely used on both systems, needs
//! no Apple framework, and can do the Linux offloads.

#[cfg_attr(target_os = "linux", path = "device/linux.rs")]
#[cfg_attr(target_os = "macos", path = "device/macos.rs")]
mod imp;

use std::io::{self, IoSlice};
use std::ops::Range;

use dtap_tunnel::Batch;
use dtap_tunnel::offload::{Coalescer, Header, segment};
use tun_rs::AsyncDevice;

/// A tunnel interface; it vanishes with its routes when dropped.
pub struct Device {
    inner: AsyncDevice,
    name: String,
    index: u32,
    coalescer: Option<Coalescer>,
}

/// What [`Device::recv`] has read, in memory that is used again.
#[derive(Debug)]
pub struct Packets {
    memory: Vec<u8>,
    reads: Vec<(Header, Range<usize>)>,
    scratch: Vec<u8>,
}

/// Inner MTU in bytes: 1,500 less IPv6, UDP and WireGuard headers (WireGuard
/// paper).
pub const MTU: u16 = 1420;
/// Reads per wake-up at most, so that no direction starves another.
const MOST_READS: usize = 128;
/// Longer than any packet, the virtio header included.
const LONGEST_READ: usize = 65_536 + Header::LENGTH;
/// Bytes per wake-up at most: some 0.3 ms of encryption.
const MOST_BYTES: usize = 4 * LONGEST_READ;
/// Pieces of a write at most; UDP_MAX_SEGMENTS of Linux before 6.9.
const MOST_PIECES: usize = 64;

impl Device {
    /// Creates an interface under the first free name, down and bare, with
    /// the offloads its system has.
    ///
    /// # Errors
    /// Without root (`NET_ADMIN`) or, on Linux, without `/dev/net/tun`.
    pub fn create(mtu: u16) -> io::Result<Self> {
        let inner = imp::builder().mtu(mtu).build_async()?;
        let name = inner.name()?;
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        Ok(Self {
            coalescer: imp::merge(&inner).map(Coalescer::new),
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

    /// Waits for packets, which take the place of those read before.
    ///
    /// # Errors
    /// When the interface is gone.
    pub async fn recv(&self, packets: &mut Packets) -> io::Result<()> {
        packets.reads.clear();
        self.inner.readable().await?;
        let header = self.header_length();
        let mut start = 0;
        while packets.reads.len() < MOST_READS && start + LONGEST_READ <= packets.memory.len() {
            let slot = &mut packets.memory[start..start + LONGEST_READ];
            match self.inner.try_recv(slot) {
                Ok(length) if length < header => {}
                Ok(length) => {
                    let head = slot.first_chunk().filter(|_| header > 0);
                    let head = head.map(Header::parse).unwrap_or_default();
                    packets.reads.push((head, start + header..start + length));
                    start += length;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the packets to the OS; one it refuses is dropped.
    pub async fn send(&mut self, packets: &mut Batch<()>) {
        let Some(coalescer) = &mut self.coalescer else {
            for ((), packet) in packets.iter() {
                trace_drop(self.inner.send(packet).await);
            }
            return;
        };
        let writes = coalescer.plan(packets);
        let memory = packets.bytes();
        for (header, pieces) in writes {
            let header = header.to_bytes();
            let mut slices = [IoSlice::new(&[]); MOST_PIECES + 1];
            slices[0] = IoSlice::new(&header);
            let count = pieces.len().min(MOST_PIECES);
            for (slice, piece) in slices[1..].iter_mut().zip(pieces) {
                *slice = IoSlice::new(&memory[piece.clone()]);
            }
            trace_drop(self.inner.send_vectored(&slices[..=count]).await);
        }
    }

    const fn header_length(&self) -> usize {
        if self.coalescer.is_some() {
            Header::LENGTH
        } else {
            0
        }
    }
}

impl Packets {
    /// Calls `each` with every packet that was read last; it may be written to.
    pub fn for_each(&mut self, mut each: impl FnMut(&mut [u8])) {
        let Self {
            memory,
            reads,
            scratch,
        } = self;
        for (header, range) in reads {
            if let Err(error) = segment(*header, &mut memory[range.clone()], scratch, &mut each) {
                tracing::trace!(%error, ?header, "drop: device gave a malformed packet");
            }
        }
    }
}

impl Default for Packets {
    fn default() -> Self {
        Self {
            memory: vec![0; MOST_BYTES],
            reads: Vec::with_capacity(MOST_READS),
            scratch: Vec::new(),
        }
    }
}

fn trace_drop(sent: io::Result<usize>) {
    if let Err(error) = sent {
        tracing::trace!(%error, "drop: device refused packet");
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.name).finish()
    }
}
