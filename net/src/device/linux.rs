//! Linux: a tun interface `dtapN`, taps `dtaptN`; the kernel fills in the first
//! free number.

use std::fs::File;
use std::io;

use dtap_tunnel::offload::Merge;
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

/// Packets that the kernel keeps for a reader who has no core just now. Of 500,
/// its default, 400,000 packets per second leave 1 ms; far more than this let
/// super-packets pile up until no cache holds them.
const QUEUE: u32 = 1000;
/// Set to anything, it makes the interface one packet per system call.
const NO_OFFLOADS: &str = "DTAP_NO_OFFLOADS";

/// The kernel needs no help to keep the name ours.
pub(super) fn tap(address: [u8; 6], mtu: u16) -> io::Result<(AsyncDevice, Option<File>)> {
    let tap = builder().name("dtapt%d").layer(Layer::L2);
    let device = tap.mac_addr(address).mtu(mtu).build_async()?;
    Ok((device, None))
}

pub(super) fn builder() -> DeviceBuilder {
    DeviceBuilder::new()
        .name("dtap%d")
        .enable(false)
        .offload(std::env::var_os(NO_OFFLOADS).is_none())
}

pub(super) fn prepare(device: &AsyncDevice) {
    // In a user namespace the kernel does not let one (`dev_ioctl`).
    if let Err(error) = device.set_tx_queue_len(QUEUE) {
        tracing::debug!(%error, "the interface keeps its short queue");
    }
}

/// Packets of which protocols the interface takes several of in one write.
pub(super) fn merge(device: &AsyncDevice) -> Merge {
    match (device.tcp_gso(), device.udp_gso()) {
        (false, _) => Merge::Nothing,
        (true, false) => Merge::Tcp,
        (true, true) => Merge::TcpAndUdp,
    }
}
