//! What Docker Desktop's own program on the Mac does with the ports of the VM.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream as StdStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, UnixListener, UnixStream};
use tokio::runtime::Handle;

use super::super::command::Output;
use super::super::namespace::{Entrance, Namespace};

/// Offers the Docker API of the VM as a file on the Mac.
pub(super) fn serve(mac: &Namespace, socket: &Path, runtime: &Handle) -> Result<()> {
    if let Some(directory) = socket.parent() {
        fs::create_dir_all(directory).context("create the socket's directory")?;
    }
    let _entered = runtime.enter();
    let listener =
        UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))?;
    let mac = mac.entrance();
    runtime.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, mac.clone()));
        }
    });
    Ok(())
}

/// A VM that does not run is an end of the connection at once.
async fn relay(mut client: UnixStream, mac: Entrance) -> io::Result<()> {
    let socket = mac.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None))??;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let mut engine = socket.connect((Ipv4Addr::LOCALHOST, API).into()).await?;
    copy_bidirectional(&mut client, &mut engine).await?;
    Ok(())
}

/// Runs lines for a shell in the VM.
pub(super) fn run(mac: &Namespace, script: &str, deadline: Duration) -> Result<Output> {
    let ask = || -> io::Result<String> {
        let mut stream = StdStream::connect((Ipv4Addr::LOCALHOST, SHELL))?;
        stream.set_read_timeout(Some(deadline))?;
        stream.write_all(script.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = mac.enter(ask)?.context("ask a shell of the VM")?;
    parse(&answer).with_context(|| format!("understand a shell of the VM: {answer:?}"))
}

fn parse(answer: &str) -> Option<Output> {
    let (code, rest) = answer.split_once('\n')?;
    let (length, said) = rest.split_once('\n')?;
    let (stdout, stderr) = said.split_at_checked(length.trim().parse().ok()?)?;
    Some(Output {
        code: code.parse().ok()?,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    })
}

/// The ports of the VM, and of the Mac's 127.0.0.1, that the arguments of HyperKit name.
pub(super) const API: u16 = 2376;
pub(super) const SHELL: u16 = 1525;
