//! A long stream to or from a container: summed up by whoever sends and by whoever receives.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;
use crate::wait::wait_until;

/// Sends `length` bytes to a new container, started with further arguments of `docker run`, and as many back.
///
/// # Errors
/// When the sums differ, or a stream stands still for long.
pub fn both_ways(lab: &Lab, arguments: &[&str], length: usize, what: &str) -> Result<()> {
    let begin = Instant::now();
    let mut mover = Mover::start(lab, arguments, "nc -l -p 9 | sha256sum")?;
    let sent = send(&mut mover.stream, length)?;
    ensure!(
        sent == mover.sum()?,
        "changed on the way to a container {what}"
    );
    eprintln!(
        "{length} bytes to a container {what}: {:.1?}",
        begin.elapsed()
    );

    let begin = Instant::now();
    let script = format!(
        "mkfifo copy; sha256sum copy >sum & \
         head -c {length} /dev/urandom | tee copy | nc -l -p 9 >/dev/null; wait; cat sum"
    );
    let mut mover = Mover::start(lab, arguments, &script)?;
    let received = receive(&mut mover.stream, length)?;
    ensure!(
        received == mover.sum()?,
        "changed on the way from a container {what}"
    );
    eprintln!(
        "{length} bytes from a container {what}: {:.1?}",
        begin.elapsed()
    );
    Ok(())
}

/// A container that moves one stream and then says its sum.
struct Mover<'a> {
    lab: &'a Lab,
    stream: TcpStream,
}

impl<'a> Mover<'a> {
    fn start(lab: &'a Lab, arguments: &[&str], script: &str) -> Result<Self> {
        let run = ["run", "--detach", "--name", NAME];
        lab.docker(&[&run[..], arguments, &["busybox", "sh", "-c", script]].concat())?;
        let address: IpAddr = lab.inspect(NAME)?.v4()?.into();
        let mut stream = None;
        wait_until(PATIENCE, "the container listens", || {
            let connect = || TcpStream::connect_timeout(&(address, 9).into(), PATIENCE);
            stream = lab.mac_namespace().enter(connect).and_then(|it| it).ok();
            stream.is_some()
        });
        let stream = stream.context("connect to the container")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { lab, stream })
    }

    /// Closes the stream, and removes the container.
    fn sum(self) -> Result<String> {
        drop(self.stream);
        let mut said = String::new();
        wait_until(PATIENCE, "the container has summed up", || {
            said = self.lab.docker(&["logs", NAME]).unwrap_or_default();
            said.len() >= 64
        });
        self.lab.docker(&["rm", "--force", NAME])?;
        Ok(said[..64].to_owned())
    }
}

fn send(stream: &mut TcpStream, length: usize) -> Result<String> {
    let mut sum = Sum::start()?;
    // Random once, then numbered: no piece is like another.
    let mut piece = vec![0; PIECE];
    File::open("/dev/urandom")?.read_exact(&mut piece)?;
    for number in 0..length / PIECE {
        piece[..8].copy_from_slice(&number.to_be_bytes());
        sum.add(&piece)?;
        stream.write_all(&piece).context("send to the container")?;
    }
    sum.finish()
}

fn receive(stream: &mut TcpStream, length: usize) -> Result<String> {
    let mut sum = Sum::start()?;
    let mut piece = vec![0; PIECE];
    let mut received = 0;
    while received < length {
        let read = stream.read(&mut piece);
        let read = read.context("receive from the container")?;
        ensure!(read > 0, "the stream ended after {received} bytes");
        sum.add(&piece[..read])?;
        received += read;
    }
    ensure!(
        received == length,
        "{received} bytes came instead of {length}"
    );
    sum.finish()
}

/// coreutils' sha256sum: a debug build of our own would be slower than the tunnel.
struct Sum(Child);

impl Sum {
    fn start() -> Result<Self> {
        let mut command = Command::new("sha256sum");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(piped.spawn().context("start sha256sum")?))
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.0.stdin.as_mut().context("feed sha256sum")?;
        input.write_all(bytes).context("feed sha256sum")
    }

    fn finish(self) -> Result<String> {
        let said = self.0.wait_with_output().context("wait for sha256sum")?;
        let sum = said.stdout.get(..64).context("read a sum")?;
        Ok(String::from_utf8(sum.to_vec())?)
    }
}

const NAME: &str = "mover";
const PIECE: usize = 1 << 18;
const PATIENCE: Duration = Duration::from_secs(20);
