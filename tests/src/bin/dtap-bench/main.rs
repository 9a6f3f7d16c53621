//! `dtap-bench`: what a tunnel costs, beside its peers and what this machine can do at all.
//!
//! Figures are of this machine and moment; compare within one run only.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "other.rs"]
mod platform;

fn main() -> ExitCode {
    platform::main()
}
