//! Network namespaces without an uplink, each held by a thread.

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, Uid, gettid};

/// A network namespace that lasts as long as this value.
pub struct Namespace {
    pub tid: Pid,
    jobs: Sender<Box<dyn FnOnce() + Send>>,
}

impl Namespace {
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Box<dyn FnOnce() + Send>>();
        let (started, ready) = channel();
        thread::spawn(move || {
            enter();
            started.send(gettid()).unwrap();
            queue.into_iter().for_each(|job| job());
        });
        Self {
            tid: ready.recv().unwrap(),
            jobs,
        }
    }

    /// Runs `job` in this namespace; what it opens stays there.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.jobs
            .send(Box::new(move || drop(done.send(job()))))
            .unwrap();
        result.recv().expect("the job panicked")
    }

    /// Runs each line as a command in this namespace.
    pub fn sh(&self, script: &'static str) {
        self.run(move || sh(script));
    }
}

/// Whether the calling thread now has a namespace of its own; if not, the test prints why and ends.
pub fn isolated() -> bool {
    if !Uid::effective().is_root() {
        eprintln!("skipped: a network namespace needs root");
        return false;
    }
    enter();
    true
}

/// Runs each line as a command in the calling thread's namespace.
pub fn sh(script: &str) {
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        output(line);
    }
}

/// What a command prints.
pub fn output(line: &str) -> String {
    let run = Command::new("sh").arg("-c").arg(line).output().unwrap();
    assert!(
        run.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).unwrap()
}

fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    // A namespace's own settings are seen by the thread that is in it.
    fs::write(
        "/proc/thread-self/net/../../../../sys/net/ipv4/ip_forward",
        "1",
    )
    .or_else(|_| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
    .unwrap();
    output("ip link set lo up");
}
