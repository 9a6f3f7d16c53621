//! Docker events as fast as the engine makes them: containers that are renamed again and again.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Threads that each rename one container over a connection of their own. Dropped, they end.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Churn {
    /// Renames these containers, which nobody else must rename.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub fn start(socket: &Path, containers: &[String]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let events = Arc::new(AtomicU64::new(0));
        let threads = containers.iter().map(|container| {
            let stream = UnixStream::connect(socket).context("connect to the engine")?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let (stop, events) = (stop.clone(), events.clone());
            let container = container.clone();
            Ok(thread::spawn(move || {
                rename(stream, &container, &stop, &events)
            }))
        });
        let threads = threads.collect::<Result<_>>()?;
        Ok(Self {
            stop,
            events,
            threads,
        })
    }

    /// How many events there were so far.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When the engine refused to rename.
    pub fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a thread that renames panicked"),
            }
        }
        Ok(self.events())
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn rename(
    mut stream: UnixStream,
    container: &str,
    stop: &AtomicBool,
    events: &AtomicU64,
) -> Result<()> {
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("churn-{}-{}", &container[..12], number % 2);
        write!(
            stream,
            "POST /containers/{container}/rename?name={name} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
        )?;
        let answer = head(&mut stream)?;
        if !answer.starts_with("HTTP/1.1 204") {
            bail!("rename a container: {answer}");
        }
        events.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What the engine answers; a 204 has no body.
fn head(stream: &mut UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(4).any(|it| it == b"\r\n\r\n") {
        let length = stream
            .read(&mut buffer)
            .context("read the engine's answer")?;
        if length == 0 {
            bail!("the engine closed the connection");
        }
        answer.extend_from_slice(&buffer[..length]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

const PATIENCE: Duration = Duration::from_secs(10);
