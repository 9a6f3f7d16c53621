//! A real virtual machine, with a kernel that can do what this machine's may not: Debian's, started by an emulator in a few
//! seconds. All it has is in memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{Background, Nesting, Output};
use super::leftovers;
use super::place::Place;
use files::Files;
pub use kernel::ENGINE_MODULES;
pub(super) use kernel::Kernel;

mod archive;
pub(super) mod files;
mod kernel;

/// What a virtual machine shall have and do.
#[derive(Clone, Copy, Debug)]
pub struct VmOptions<'a> {
    /// Programs of this machine, which are found there under the same path, with the libraries they need.
    pub programs: &'a [&'a Path],
    /// Where files or directories of this machine shall be found there: its path, then this machine's.
    pub files: &'a [(&'a Path, &'a Path)],
    /// Kernel modules to load first. Those they depend on come by themselves.
    pub modules: &'a [&'a str],
    /// Lines for a shell, whose end is that of the virtual machine. Beside the programs it has every applet of busybox.
    pub command: &'a str,
    pub memory_mib: u32,
}

/// A running virtual machine, killed when dropped.
#[derive(Debug)]
pub struct Vm {
    emulator: Background,
    place: Place,
}

impl Vm {
    /// Whether this machine's programs run on the kernel there is. If not, says so on standard error, for a test that then
    /// skips itself.
    pub fn can_run() -> bool {
        let can = cfg!(target_arch = "x86_64");
        if !can {
            eprintln!("skipped: the virtual machine has an x86_64 kernel, this machine has not");
        }
        can
    }

    /// Fetches the kernel, if need be.
    pub fn prepare() -> Result<()> {
        Kernel::find().map(drop)
    }

    /// Runs the command to its end: its exit code; as standard output what it wrote, be it to standard error; as standard error
    /// what the kernel said.
    ///
    /// # Errors
    /// When the command did not end within `deadline`, or not by itself.
    pub fn run(options: &VmOptions<'_>, deadline: Duration) -> Result<Output> {
        Self::start(options)?.finish(deadline)
    }

    /// # Errors
    /// When a file or the emulator is missing.
    pub fn start(options: &VmOptions<'_>) -> Result<Self> {
        let kernel = Kernel::find().context("find the kernel of the virtual machine")?;
        leftovers::remove();
        let place = Place::new()?;
        let file = |name: &str| place.directory().join(name).display().to_string();
        let files = Files {
            texts: &[("/init", INIT), ("/command", options.command)],
            programs: options.programs,
            files: options.files,
            modules: options.modules,
        };
        files.pack(&place.directory().join(FILES), &kernel)?;
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args("-accel tcg -cpu max -nodefaults -no-user-config -display none".split(' '))
            .args(["-no-reboot", "-m", &format!("{}M", options.memory_mib)])
            .arg("-kernel")
            .arg(kernel.image())
            .args(["-initrd", &file(FILES), "-append", BOOT]);
        for serial in [CONSOLE, SAID, CODE] {
            command.args(["-serial", &format!("file:{}", file(serial))]);
        }
        let emulator = Background::spawn(&mut command, Nesting::Direct)
            .context("`dtap-lab setup` installs the emulator")?;
        Ok(Self { emulator, place })
    }

    /// Waits for the end: as [`Self::run`].
    pub fn finish(mut self, deadline: Duration) -> Result<Output> {
        let ended = self.emulator.wait(deadline);
        let console = self.written(CONSOLE);
        let said = self.written(SAID);
        let code = self.written(CODE);
        if let (Ok(0), Ok(code)) = (&ended, code.trim().parse()) {
            return Ok(Output {
                code,
                stdout: said,
                stderr: console,
            });
        }
        let emulator = self.emulator.output();
        ended.with_context(|| format!("the kernel said:\n{console}\nthe command said:\n{said}"))?;
        bail!("the virtual machine broke down: {emulator}\n{console}\nthe command said:\n{said}");
    }

    fn written(&self, serial: &str) -> String {
        let bytes = fs::read(self.place.directory().join(serial)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

const INIT: &str = include_str!("vm/init.sh");
/// A kernel that panics restarts at once, which is the end (`-no-reboot`).
const BOOT: &str = "console=ttyS0 panic=-1 loglevel=5";

const FILES: &str = "files.cpio";
const CONSOLE: &str = "console";
const SAID: &str = "said";
const CODE: &str = "code";
