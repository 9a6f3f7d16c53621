//! Network namespaces without an uplink, each held by a thread.
// Each test binary uses its part of this module.
#![allow(dead_code)]

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, Uid, gettid};

/// A network namespace that lasts as long as this value.
pub(crate) struct Namespace {
    /// The thread that is in it, by which `ip link … netns` finds it.
    pub(crate) thread: Pid,
    jobs: Sender<Box<dyn FnOnce() + Send>>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = channel::<Box<dyn FnOnce() + Send>>();
        let (started, ready) = channel();
        thread::spawn(move || {
            enter();
            started.send(gettid()).unwrap();
            queue.into_iter().for_each(|job| job());
        });
        Self {
            thread: ready.recv().unwrap(),
            jobs,
        }
    }

    /// Runs `job` in this namespace; the sockets it opens stay there.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.jobs
            .send(Box::new(move || drop(done.send(job()))))
            .unwrap();
        result.recv().expect("the job panicked")
    }

    /// Runs each line as a command in this namespace.
    pub(crate) fn sh(&self, script: &str) {
        let script = script.to_owned();
        self.run(move || sh(&script));
    }
}

/// Whether the calling thread now has a namespace of its own; if not, the test prints why and ends.
pub(crate) fn isolated() -> bool {
    if !Uid::effective().is_root() {
        eprintln!("skipped: a network namespace needs root");
        return false;
    }
    enter();
    true
}

/// Runs each line as a command in the calling thread's namespace.
pub(crate) fn sh(script: &str) {
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        output(line);
    }
}

/// What a command prints.
pub(crate) fn output(line: &str) -> String {
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
    // Every namespace has its own values under this path.
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
    }
    output("ip link set lo up");
}
