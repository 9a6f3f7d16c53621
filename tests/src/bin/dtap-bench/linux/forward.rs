//! The ceiling: dtap's device and UDP code with nothing between them.
//!
//! Packets that leave by the interface are sent as they are in one datagram each, and what arrives is given to the interface.
//! No tunnel that moves its bytes by this code can be faster.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use dtap_net::device::{Device, MTU, Packets};
use dtap_net::udp::{Datagrams, Udp, equally_long};
use dtap_tunnel::Batch;

/// As dtap's driver has it.
const QUANTUM: usize = 32 << 10;

/// Makes an interface, says its name, and forwards until killed.
pub(super) fn run(port: u16, to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let mut device = Device::create(MTU).context("create an interface")?;
        let mut udp = Udp::bind(port).context("bind a port")?;
        udp.ignore_interface(device.index());
        writeln!(io::stdout(), "{}", device.name())?;
        forward(&mut device, &mut udp, to).await.context("forward")
    })
}

/// In one task on one thread, as dtap's driver does it.
async fn forward(device: &mut Device, udp: &mut Udp, to: SocketAddr) -> io::Result<()> {
    let mut packets = Packets::default();
    let mut datagrams = Datagrams::default();
    let (mut leaving, mut arrived) = (Batch::new(), Batch::new());
    loop {
        let mut busy = device.recv(&mut packets)?;
        packets.take(QUANTUM, |packet| leaving.push((), packet));
        send(udp, to, &leaving).await;
        leaving.clear();
        if !device.is_full() && udp.recv(&mut datagrams)? {
            busy = true;
            for (_, datagram) in datagrams.iter() {
                arrived.push((), datagram);
            }
        }
        device.send(&mut arrived);
        device.flush(QUANTUM);
        if busy || !packets.is_empty() || device.is_waiting() {
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            ready = device.readable() => ready?,
            ready = udp.readable() => ready?,
        }
    }
}

/// Equally long packets in one call, with a shorter one at the end.
async fn send(udp: &mut Udp, to: SocketAddr, packets: &Batch<()>) {
    let mut rest = packets.items();
    while let Some(((), first)) = rest.first() {
        let run = equally_long(rest, first.len());
        let contents = &packets.bytes()[first.start..rest[run - 1].1.end];
        udp.send(to, contents, first.len()).await;
        rest = &rest[run..];
    }
}
