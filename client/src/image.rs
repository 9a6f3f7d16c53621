//! The server image this client carries.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/image.rs"));
}

/// An architecture the server is built for, as Docker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// The architecture of an engine, or `None` if there is no server for it.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "amd64" | "x86_64" => Some(Self::Amd64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// The archive for `docker load`, if this client was built with one.
pub(crate) const fn carried(arch: Arch) -> Option<&'static [u8]> {
    match arch {
        Arch::Amd64 => embedded::AMD64,
        Arch::Arm64 => embedded::ARM64,
    }
}

/// The archive, or what to do without one.
pub(crate) fn required(arch: Arch) -> Result<&'static [u8]> {
    carried(arch).context(
        "this client was built without a server image: build it with `make build`, or name an image the engine has with --server-image",
    )
}

pub(crate) fn command(arch: Option<Arch>) -> Result<ExitCode> {
    let Some(arch) = arch.or_else(|| Arch::of(std::env::consts::ARCH)) else {
        bail!("name the engine's architecture with --arch amd64 or --arch arm64");
    };
    let archive = required(arch)?;
    let mut stdout = std::io::stdout();
    if stdout.is_terminal() {
        bail!("an image is not for a terminal: run `dtap-client image | docker load`");
    }
    stdout.write_all(archive).context("write the image")?;
    Ok(ExitCode::SUCCESS)
}
