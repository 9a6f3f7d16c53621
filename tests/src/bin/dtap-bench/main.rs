//! `dtap-bench`: what a tunnel costs, idle and busy, printed for people.
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
