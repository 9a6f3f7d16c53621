//! An engine's legacy tables, and how they are told apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use dtap_net::firewall::{Firewall, FirewallConfig};
use nix::unistd::Pid;

use super::namespace::{output, sh};

/// A namespace in which an engine filters by legacy tables.
pub(crate) struct Engine {
    pub(crate) directory: Directory,
    pub(crate) lock: PathBuf,
}

impl Engine {
    pub(crate) fn new() -> Self {
        let directory = Directory::new();
        let lock = directory.path().join("xtables.lock");
        fs::write(&lock, "").unwrap();
        Self { directory, lock }
    }

    pub(crate) fn firewall(&self) -> Firewall {
        Firewall::new(&self.lock).unwrap()
    }

    /// Runs each line with this lock.
    pub(crate) fn sh(&self, script: &str) {
        for line in script.lines() {
            sh(&format!(
                "XTABLES_LOCKFILE={} {}",
                self.lock.display(),
                line.trim()
            ));
        }
    }

    /// An engine 20.10 with some rules of others.
    pub(crate) fn restore(&self) {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/src/firewall/legacy/fixtures");
        self.sh(&format!(
            "iptables-legacy-restore --counters {fixtures}/filter.rules"
        ));
        self.sh(&format!(
            "ip6tables-legacy-restore --counters {fixtures}/filter6.rules"
        ));
    }

    /// Somebody who adds rules, and deletes every other one.
    pub(crate) fn busy(&self, chain: &str) -> Child {
        let rule = format!("{chain} -s 192.0.2.$n -j DROP");
        let script = format!(
            "set -e; for n in $(seq {ROUNDS}); do iptables-legacy -w -A {rule}; \
             if [ $((n % 2)) = 1 ]; then iptables-legacy -w -D {rule}; fi; done"
        );
        Command::new("sh")
            .args(["-c", &script])
            .env("XTABLES_LOCKFILE", &self.lock)
            .spawn()
            .unwrap()
    }
}

/// Gone when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let thread = nix::unistd::gettid();
        let path = std::env::temp_dir().join(format!("dtap-legacy-{thread}"));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn config(interface: &str) -> FirewallConfig {
    FirewallConfig {
        interface: interface.to_owned(),
        ..FirewallConfig::default()
    }
}

/// The legacy tables of this namespace.
pub(crate) fn names() -> String {
    ["ip", "ip6"]
        .map(|family| {
            let path = format!("/proc/thread-self/net/{family}_tables_names");
            fs::read_to_string(path).unwrap_or_default()
        })
        .concat()
}

/// Both filter tables with their counters, without the dates.
pub(crate) fn saved() -> String {
    output("for it in iptables ip6tables; do $it-legacy-save -c -t filter | grep -v '^#'; done")
}

/// Without the counters: `iptables` itself resets those of policies.
pub(crate) fn uncounted() -> String {
    let saved = saved();
    let lines = saved.lines().map(|line| match line.split_once(']') {
        Some((counters, rule)) if counters.starts_with('[') => rule,
        Some((policy, _)) => policy.split('[').next().unwrap_or(policy),
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub(crate) fn without_ours(saved: &str) -> String {
    let ours = |line: &&str| {
        let accepts = ["-i dtap0 -j ACCEPT", "-o dtap0 -j ACCEPT"];
        accepts.iter().any(|end| line.ends_with(end)) && !line.contains("INPUT")
    };
    let kept = saved.lines().filter(|line| !ours(line));
    kept.map(|line| format!("{line}\n")).collect()
}

/// Waits until this thread of the process sleeps, as it does between two attempts to get a lock.
pub(crate) fn wait_for_sleep(thread: Pid) {
    let calls = [libc::SYS_clock_nanosleep, libc::SYS_nanosleep].map(|call| call.to_string());
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let call = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap();
        let number = call.split(' ').next().unwrap();
        if calls.iter().any(|it| it == number) {
            return;
        }
        assert!(Instant::now() < deadline, "it does not wait: {call}");
        std::thread::yield_now();
    }
}

pub(crate) const ROUNDS: u32 = 100;
