//! The tun or utun interface, moved in batches of packets.
//!
//! tun-rs holds the file descriptor: it is widely used on both systems, needs
//! no Apple framework, and can do the Linux offloads.

#[cfg_attr(target_os = "linux", path = "device/linux.rs")]
#[cfg_attr(target_os = "macos", path = "device/macos.rs")]
mod imp;

use std::io;

use dtap_tunnel::Batch;
use tun_rs::AsyncDevice;

/// A tunnel interface; it vanishes with its routes when dropped.
pub struct Device {
    inner: AsyncDevice,
    name: String,
    index: u32,
}

/// Inner MTU in bytes: 1,500 less IPv6, UDP and WireGuard headers (WireGuard
/// paper).
pub const MTU: u16 = 1420;
/// Packets taken per wake-up at most, so that no direction starves another.
const MOST_PACKETS: usize = 128;
/// Longer than any packet of a device whose MTU we set.
const LONGEST_PACKET: usize = 65_536;

impl Device {
    /// Creates an interface under the first free name, down and bare.
    ///
    /// # Errors
    /// Without root (`NET_ADMIN`) or, on Linux, without `/dev/net/tun`.
    pub fn create(mtu: u16) -> io::Result<Self> {
        let inner = imp::builder().mtu(mtu).build_async()?;
        let name = inner.name()?;
        let index = nix::net::if_::if_nametoindex(name.as_str())?;
        Ok(Self { inner, name, index })
    }

    /// The OS's name of the interface, such as `dtap0` or `utun4`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The OS's number of the interface.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Waits for packets and appends all that are there, up to a limit.
    ///
    /// # Errors
    /// When the interface is gone.
    pub async fn recv(&self, packets: &mut Batch<()>) -> io::Result<()> {
        self.inner.readable().await?;
        for _ in 0..MOST_PACKETS {
            let mut result = Ok(0);
            packets.push_with(LONGEST_PACKET, |slot| {
                result = self.inner.try_recv(slot);
                let length = *result.as_ref().ok()?;
                Some(((), length))
            });
            match result {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives the packets to the OS; one it refuses is dropped.
    pub async fn send(&self, packets: &Batch<()>) {
        for ((), packet) in packets.iter() {
            if let Err(error) = self.inner.send(packet).await {
                tracing::trace!(%error, length = packet.len(), "drop: device refused packet");
            }
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device").field(&self.name).finish()
    }
}
