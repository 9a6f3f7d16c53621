//! The far end of the VM's first NIC: frames between a socket on the Mac, where HyperKit expects vpnkit, and the lab's
//! gateway. On the socket each is preceded by its length in four bytes, as qemu has it.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

use super::super::namespace::Namespace;

/// Makes the interface `vm` in the gateway and carries frames for whoever connects to `socket`, one VM after another.
pub(super) fn serve(gateway: &Namespace, socket: &Path, runtime: &Handle) -> Result<()> {
    let _entered = runtime.enter();
    let open = || {
        let _entered = runtime.enter();
        DeviceBuilder::new()
            .name("vm")
            .layer(Layer::L2)
            .mtu(1500)
            .build_async()
    };
    let device = gateway
        .enter(open)?
        .context("create a tap device in the gateway")?;
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))?;
    runtime.spawn(async move {
        while let Ok((vm, _)) = listener.accept().await {
            // That a VM has ended is no reason to refuse the next.
            let _ = carry(vm, &device).await;
        }
    });
    Ok(())
}

async fn carry(vm: UnixStream, device: &AsyncDevice) -> io::Result<()> {
    let (mut from_vm, mut to_vm) = vm.into_split();
    let out = async {
        let mut frame = vec![0; LONGEST];
        loop {
            let length = usize::try_from(from_vm.read_u32().await?).unwrap_or(usize::MAX);
            let frame = frame.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
            from_vm.read_exact(frame).await?;
            // A gateway that refuses a frame loses it, as a cable does.
            let _ = device.send(frame).await;
        }
    };
    let back = async {
        let mut buffer = vec![0; HEADER + LONGEST];
        loop {
            let length = device.recv(&mut buffer[HEADER..]).await?;
            let header = u32::try_from(length).unwrap_or_default().to_be_bytes();
            buffer[..HEADER].copy_from_slice(&header);
            to_vm.write_all(&buffer[..HEADER + length]).await?;
        }
    };
    tokio::select! {
        ended = out => ended,
        ended = back => ended,
    }
}

const HEADER: usize = 4;
const LONGEST: usize = 65_536;
