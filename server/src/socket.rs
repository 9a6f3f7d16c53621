//! The unix socket in the volume by which other processes of the container
//! reach the running server.
//!
//! A pathname socket, never an abstract one: those are open to every
//! host-network container. One byte says what is wanted: a session, whose
//! stdin and stdout come with it, or the status.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dtap_net::stdio;

/// The socket's name in the state directory.
pub(crate) const NAME: &str = "server.sock";
/// Asks for the status.
pub(crate) const STATUS: u8 = b'?';
/// Comes with a session's stdin and stdout.
pub(crate) const SESSION: u8 = b's';
const PATIENCE: Duration = Duration::from_secs(3);

/// Gives this process's stdio to the server and stays until it is done: the
/// engine ends an exec's streams with its process.
pub(crate) fn hand_over(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    stdio::send(&stream, SESSION, stdin.as_fd(), stdout.as_fd())
        .context("hand stdio to the server")?;
    // The server keeps the connection open as long as the session lives.
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .context("wait for the server")?;
    Ok(())
}

pub(crate) fn print_status(socket: &Path) -> Result<()> {
    let status = status(socket)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", status.trim_end()).context("print the status")
}

pub(crate) fn health(socket: &Path) -> Result<()> {
    if status(socket)?.is_empty() {
        bail!("the server closed without an answer");
    }
    Ok(())
}

fn status(socket: &Path) -> Result<String> {
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[STATUS]).context("ask for the status")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("read the status")?;
    Ok(answer)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))
}
