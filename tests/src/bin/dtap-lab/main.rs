//! `dtap-lab`: a lab to try things in by hand, or for one command.

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
