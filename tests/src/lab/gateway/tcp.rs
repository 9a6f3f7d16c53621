//! TCP from the VM to `host.docker.internal`, carried to the host's 127.0.0.1.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener as StdListener};

use anyhow::{Context, Result};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;

use super::super::namespace::{Entrance, Namespace};

/// Returns the port of `gateway` to which every connection that is to be forwarded must be redirected.
pub(super) fn forward(gateway: &Namespace, mac: &Namespace, runtime: &Handle) -> Result<u16> {
    let listener = gateway
        .enter(|| StdListener::bind((Ipv4Addr::UNSPECIFIED, 0)))?
        .context("listen in the gateway")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let _entered = runtime.enter();
    let listener = TcpListener::from_std(listener)?;
    runtime.spawn(accept(listener, mac.entrance()));
    Ok(port)
}

async fn accept(listener: TcpListener, mac: Entrance) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mac = mac.clone();
        tokio::spawn(async move {
            if relay(&mut stream, &mac).await.is_err() {
                // What a host without such a listener would have answered.
                let _ = stream.set_zero_linger();
            }
        });
    }
}

async fn relay(from_vm: &mut TcpStream, mac: &Entrance) -> io::Result<()> {
    let target = SockRef::from(&*from_vm).original_dst_v4()?;
    let port = target.as_socket().map_or(0, |address| address.port());
    let socket = mac.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
    socket.set_nonblocking(true)?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let to_host = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let mut to_host = socket.connect(to_host).await?;
    copy_bidirectional(from_vm, &mut to_host).await?;
    Ok(())
}
