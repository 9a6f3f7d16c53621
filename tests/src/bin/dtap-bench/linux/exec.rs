//! The bare stream of a `docker exec`, asked of the engine by its socket as dtap does it: what a session could do at best.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dtap_tests::lab::Lab;
use serde_json::{Value, json};

use super::iperf::{Direction, Stream};

/// Sends or receives zeros for as long.
pub(super) fn run(
    lab: &Lab,
    container: &str,
    direction: Direction,
    seconds: u64,
) -> Result<Stream> {
    let command = match direction {
        Direction::Up => "cat >/dev/null",
        // An engine lets a command live whose stream was closed.
        Direction::Down => &format!("timeout {seconds} cat /dev/zero"),
    };
    let limit = Duration::from_secs(seconds);
    let mut stream = start(lab, container, command)?;
    let mut chunk = vec![0; CHUNK];
    let (begin, mut bytes) = (Instant::now(), 0.0);
    while begin.elapsed() < limit || direction == Direction::Down {
        let moved = match direction {
            Direction::Up => stream.get_mut().write(&chunk)?,
            Direction::Down => stream.read(&mut chunk)?,
        };
        if moved == 0 {
            break;
        }
        bytes += moved as f64;
    }
    Ok(Stream {
        gbps: bytes * 8.0 / 1e9 / begin.elapsed().as_secs_f64(),
        gib: bytes / f64::from(1 << 30),
    })
}

/// Microseconds until a byte has come back, of each of `count`, with a pause before each.
pub(super) fn round_trips(
    lab: &Lab,
    container: &str,
    count: usize,
    pause: Duration,
) -> Result<Vec<f64>> {
    let mut stream = start(lab, container, "cat")?;
    // The engine puts a header of eight bytes before each piece.
    let mut answer = [0; HEADER + 1];
    let round_trip = |_| {
        std::thread::sleep(pause);
        let begin = Instant::now();
        stream.get_mut().write_all(b"x")?;
        stream.read_exact(&mut answer)?;
        ensure!(answer[HEADER] == b'x', "got {answer:?}");
        Ok(begin.elapsed().as_secs_f64() * 1e6)
    };
    (0..count).map(round_trip).collect()
}

/// A shell command's stdin and stdout.
fn start(lab: &Lab, container: &str, command: &str) -> Result<BufReader<UnixStream>> {
    let create = json!({
        "AttachStdin": true, "AttachStdout": true, "Cmd": ["busybox", "sh", "-c", command],
    });
    let mut created = post(lab, &format!("/containers/{container}/exec"), &create, "")?;
    let mut answer = String::new();
    created.read_to_string(&mut answer)?;
    let body = answer.find('{').map(|at| &answer[at..]).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let body = values
        .next()
        .with_context(|| format!("create an exec: {answer}"))??;
    let id = body["Id"]
        .as_str()
        .with_context(|| format!("create an exec: {answer}"))?;
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    let start = json!({"Detach": false, "Tty": false});
    let mut stream = post(lab, &format!("/exec/{id}/start"), &start, upgrade)?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.contains(" 101 "), "start an exec: {line}");
    while line.trim() != "" {
        line.clear();
        stream.read_line(&mut line)?;
    }
    Ok(stream)
}

fn post(lab: &Lab, path: &str, body: &Value, headers: &str) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(lab.socket()).context("connect to the engine")?;
    let body = body.to_string();
    let length = body.len();
    let headers = match headers {
        "" => "Connection: close\r\n",
        headers => headers,
    };
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    Ok(BufReader::with_capacity(CHUNK, stream))
}

const CHUNK: usize = 256 << 10;
const HEADER: usize = 8;
