//! What both machines of a lab look like, to be compared.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::lab::Lab;
use crate::wait::{holds_within, wait_until, within};

/// The network state of the VM; that of the host, and its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machines {
    pub mac: String,
    pub vm: String,
}

impl Machines {
    /// As they are now. Compare only what was taken after the first container was started: see [`Lab::snapshot_vm`].
    pub fn of(lab: &Lab) -> Result<Self> {
        // The kernel adds a route for an IPv6 address when it has found, after a second or two, that nobody else has it.
        let tentative = ["ip", "-6", "address", "show", "tentative"];
        wait_until(SETTLED, "addresses have settled", || {
            let machines = [lab.mac(&tentative), lab.vm(&tentative)];
            machines.iter().all(|output| output.stdout.is_empty())
        });
        Ok(Self {
            mac: lab.snapshot_mac()?,
            vm: lab.snapshot_vm()?,
        })
    }

    /// Waits until both are like this again, as dtap promises; prints how long it took.
    ///
    /// # Errors
    /// When the promise is broken, with every line that differs.
    pub fn restored(&self, lab: &Lab, promise: Duration, after: &str) -> Result<()> {
        let begin = Instant::now();
        let mut difference = String::new();
        let same = || {
            difference = match Self::of(lab) {
                Ok(now) => self.difference(&now),
                Err(error) => format!("{error:#}"),
            };
            difference.is_empty()
        };
        if !holds_within(within(promise), same) {
            bail!("after {after} this is not as before:\n{difference}");
        }
        eprintln!(
            "as before {:.2?} after {after} (promised {promise:?})",
            begin.elapsed()
        );
        Ok(())
    }

    /// As lines that begin with `+` or `-`; empty if there is none.
    pub fn difference(&self, now: &Self) -> String {
        let mut difference = String::new();
        for (machine, before, now) in [("host", &self.mac, &now.mac), ("VM", &self.vm, &now.vm)] {
            for (sign, some, others) in [('-', before, now), ('+', now, before)] {
                for line in some
                    .lines()
                    .filter(|line| !others.lines().any(|it| it == *line))
                {
                    let _ = writeln!(difference, "{sign} {machine}: {line}");
                }
            }
            if before != now && difference.is_empty() {
                let _ = writeln!(
                    difference,
                    "! {machine}: the same lines in another order or number"
                );
            }
        }
        difference
    }
}

const SETTLED: Duration = Duration::from_secs(10);
