//! The server's container image, written without a container engine.
//!
//! An image is one layer with one static binary, so the archive that `docker load` takes can be
//! written directly: no daemon, no registry, no base image. The same binary always gives the same
//! bytes (times are zero, entries are sorted), so an image ID names what is in it.
//!
//! ```text
//! <sha256 of layer>.tar     /dtap-server, /var/lib/dtap
//! <sha256 of config>.json   entry point, health check, labels; its digest is the image ID
//! manifest.json             names both, and the tags
//! ```
#![forbid(unsafe_code)]

mod archive;
mod config;
mod elf;
mod layer;

use std::fmt;

pub use archive::archive;

/// The version of the image, which is that of the whole workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A processor architecture that the server is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arch {
    /// `x86_64` to the compiler.
    Amd64,
    /// `aarch64` to the compiler.
    Arm64,
}

impl fmt::Display for Arch {
    /// The name that image configurations use, which is Go's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}
