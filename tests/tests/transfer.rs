//! A gibibyte in each direction arrives as it was sent, by either path: summed up by whoever sends and by whoever receives.

#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dtap_tests::client::Client;
use dtap_tests::lab::{Lab, Options, can_run};
use dtap_tests::wait_until;
use sha2::{Digest, Sha256};

#[test]
fn a_gibibyte_arrives_whole_in_either_direction_by_either_path() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    let lab = Lab::start(Options::default())?;
    for path in ["udp", "session"] {
        let client = Client::new(&lab, path);
        client.connect(&["--path", path])?;
        client.wait_for_path(path);

        let receives = "nc -l -p 9 | sha256sum";
        let (sum, taken) = timed(|| {
            let (container, mut stream) = connect(&lab, receives)?;
            let sent = send(&mut stream)?;
            drop(stream);
            assert_eq!(sent, container.sum(&lab)?, "to a container by {path}");
            Ok(sent)
        })?;
        report(path, "to a container", taken);

        let sends = format!(
            "mkfifo /tmp/copy; sha256sum /tmp/copy >/tmp/sum & \
             head -c {GIBIBYTE} /dev/urandom | tee /tmp/copy | nc -l -p 9 >/dev/null; wait; cat /tmp/sum"
        );
        let (other, taken) = timed(|| {
            let (container, mut stream) = connect(&lab, &sends)?;
            let (received, length) = receive(&mut stream)?;
            drop(stream);
            assert_eq!(length, GIBIBYTE);
            assert_eq!(received, container.sum(&lab)?, "from a container by {path}");
            Ok(received)
        })?;
        report(path, "from a container", taken);
        assert_ne!(sum, other);
        assert_eq!(client.field("path"), path);
    }
    Ok(())
}

/// A container that moves one stream and then says its sum.
struct Mover;

impl Mover {
    fn sum(&self, lab: &Lab) -> Result<String> {
        let mut said = String::new();
        wait_until(PATIENCE, "the container has summed up", || {
            said = lab.docker(&["logs", NAME]).unwrap_or_default();
            said.len() >= 64
        });
        lab.docker(&["rm", "--force", NAME])?;
        Ok(said[..64].to_owned())
    }
}

fn connect(lab: &Lab, script: &str) -> Result<(Mover, TcpStream)> {
    lab.docker(&[
        "run", "--detach", "--name", NAME, "busybox", "sh", "-c", script,
    ])?;
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
    Ok((Mover, stream))
}

fn send(stream: &mut TcpStream) -> Result<String> {
    let mut sum = Sha256::new();
    // Random once, then numbered: no piece is like another.
    let mut piece = vec![0; PIECE];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut piece)?;
    for number in 0..GIBIBYTE / PIECE {
        piece[..8].copy_from_slice(&number.to_be_bytes());
        sum.update(&piece);
        stream.write_all(&piece).context("send to the container")?;
    }
    Ok(format!("{:x}", sum.finalize()))
}

fn receive(stream: &mut TcpStream) -> Result<(String, usize)> {
    let (mut sum, mut length) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    while length < GIBIBYTE {
        match stream
            .read(&mut piece)
            .context("receive from the container")?
        {
            0 => bail!("the stream ended after {length} bytes"),
            read => {
                sum.update(&piece[..read]);
                length += read;
            }
        }
    }
    Ok((format!("{:x}", sum.finalize()), length))
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    Ok((work()?, begin.elapsed()))
}

fn report(path: &str, direction: &str, taken: Duration) {
    eprintln!("1 GiB {direction} by {path}: {taken:.1?}");
}

const NAME: &str = "mover";
const GIBIBYTE: usize = 1 << 30;
const PIECE: usize = 1 << 18;
const PATIENCE: Duration = Duration::from_secs(20);
