//! The unix socket in the volume by which other processes of the container
//! reach the running server.
//!
//! A pathname socket, never an abstract one: those are open to every
//! host-network container. One byte says what is wanted: a session, whose
//! stdin and stdout come with it, the status, or a reset.

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
/// Asks for the end of all clients.
pub(crate) const RESET: u8 = b'r';
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
    let status = ask(socket, STATUS)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", status.trim_end()).context("print the status")
}

pub(crate) fn health(socket: &Path) -> Result<()> {
    if ask(socket, STATUS)?.is_empty() {
        bail!("the server closed without an answer");
    }
    Ok(())
}

/// Returns when the server has undone everything.
pub(crate) fn reset(socket: &Path) -> Result<()> {
    if ask(socket, RESET)?.is_empty() {
        bail!("the server could not undo everything: its log says why");
    }
    Ok(())
}

fn ask(socket: &Path, question: u8) -> Result<String> {
    let mut stream = connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&[question]).context("ask the server")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .context("read the answer")?;
    Ok(answer)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))
}
