//! `dtap-hyperkit`: stands where HyperKit stands in the lab's Docker.app. It takes HyperKit's arguments, and no others, and
//! becomes an emulator that has the same devices at the same places of the PCI bus.
//!
//! Whatever HyperKit refuses it refuses, with the same words: it judges what a shim has made of the arguments, and hence
//! shares no line with one. The grammar is that of `src/hyperkit.c` and `src/lib/pci_*.c` in moby/hyperkit. Like the
//! programs on a Mac of the lab it takes the directory that `DTAP_TAP_ROOT` names for `/`.

#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

mod device;
mod mac;
mod options;
mod qemu;
mod slot;

use options::Request;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.reason);
            ExitCode::from(failure.code)
        }
    }
}

/// Why HyperKit would end at once.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    reason: String,
    code: u8,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            code: 1,
        }
    }

    /// `EX_USAGE` of sysexits(3).
    fn usage(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            code: 64,
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn run(arguments: &[String]) -> Result<(), Failure> {
    let machine = match options::parse(arguments)? {
        Request::Help => {
            println!("Usage: hyperkit [-behuwxMACHPWY] [-c vcpus] [-f fw] [-s slot,driver,config]");
            return Ok(());
        }
        Request::Version => {
            println!("hyperkit: of dtap's lab\n\nHomepage: https://github.com/docker/hyperkit");
            return Ok(());
        }
        Request::Mac(address) => {
            println!("MAC: {address}");
            return Ok(());
        }
        Request::Boot(machine) => machine,
    };
    let root = env::var_os("DTAP_TAP_ROOT").unwrap_or_else(|| "/".into());
    let emulator = qemu::emulator(&machine, Path::new(&root))?;
    let mut command = Command::new("qemu-system-x86_64");
    command.args(emulator.arguments);
    if !emulator.commands.is_empty() {
        command.stdin(typed(&emulator.commands).map_err(|it| Failure::new(it.to_string()))?);
    }
    let error = command.exec();
    Err(Failure::new(format!("start the emulator: {error}")))
}

/// Fits into a pipe, whose end is that of the text.
fn typed(text: &str) -> io::Result<io::PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text.as_bytes())?;
    Ok(reader)
}
