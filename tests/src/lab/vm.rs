//! A real virtual machine, with a kernel that can do what this machine's may not: Debian's, started by an emulator in a few
//! seconds. All it has is in memory.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{Background, Nesting, Output, check};
use super::leftovers;
use super::place::Place;
use archive::{Archive, EXECUTABLE};
use kernel::Kernel;

mod archive;
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
        pack(&place.directory().join(FILES), &kernel, options)
            .context("pack the files of the virtual machine")?;
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

fn pack(to: &Path, kernel: &Kernel, options: &VmOptions<'_>) -> Result<()> {
    let file = File::create(to).with_context(|| format!("create {}", to.display()))?;
    let mut archive = Archive::new(BufWriter::new(file));
    archive.bytes(Path::new("/init"), EXECUTABLE, INIT.as_bytes())?;
    archive.bytes(
        Path::new("/command"),
        EXECUTABLE,
        options.command.as_bytes(),
    )?;
    archive.file(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
    for (number, module) in kernel.modules(options.modules)?.iter().enumerate() {
        archive.file(Path::new(&format!("/modules/{number:03}.ko")), module)?;
    }
    for (there, here) in options.files {
        archive.tree(there, here)?;
    }
    for program in [Path::new("/bin/sh")].iter().chain(options.programs) {
        archive.file(program, program)?;
        for library in libraries(program)? {
            archive.file(Path::new(&library), Path::new(&library))?;
        }
    }
    archive.finish()
}

/// What the dynamic loader would load, itself included.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let linked = check(Command::new("ldd").arg(program));
    if let Err(error) = &linked
        && format!("{error:#}").contains("not a dynamic executable")
    {
        return Ok(Vec::new());
    }
    libraries_in(&linked?)
}

fn libraries_in(ldd: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in ldd.lines().map(str::trim) {
        let (name, path) = line.split_once(" => ").unwrap_or(("", line));
        if path == "not found" {
            bail!("the library {name} is missing");
        }
        if path.starts_with('/') {
            let end = path.find(" (").unwrap_or(path.len());
            found.push(path[..end].to_owned());
        }
    }
    Ok(found)
}

const INIT: &str = include_str!("vm/init.sh");
/// A kernel that panics restarts at once, which is the end (`-no-reboot`).
const BOOT: &str = "console=ttyS0 panic=-1 loglevel=5";

const FILES: &str = "files.cpio";
const CONSOLE: &str = "console";
const SAID: &str = "said";
const CODE: &str = "code";

#[cfg(test)]
mod tests {
    use super::libraries_in;

    #[test]
    fn the_loader_is_a_library_and_the_kernels_page_is_none() {
        let ldd = "\tlinux-vdso.so.1 (0x00007fc1807a7000)\n\
            \tlibcap.so.2 => /lib/x86_64-linux-gnu/libcap.so.2 (0x00007fc180772000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007fc1807a9000)\n";
        assert_eq!(
            libraries_in(ldd).expect("all are there"),
            [
                "/lib/x86_64-linux-gnu/libcap.so.2",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(
            libraries_in("\tstatically linked\n").expect("none is needed"),
            [""; 0]
        );
        assert!(libraries_in("\tlibcap.so.2 => not found\n").is_err());
    }
}
