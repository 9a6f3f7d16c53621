//! What a virtual machine finds as its first file system.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::command::check;
use super::archive::{Archive, EXECUTABLE};
use super::kernel::Kernel;

/// Beside a shell and busybox.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Files<'a> {
    /// Paths there, and what is to stand in those files.
    pub(in super::super) texts: &'a [(&'a str, &'a str)],
    /// Programs of this machine, which are found there under the same path, with the libraries they need.
    pub(in super::super) programs: &'a [&'a Path],
    /// Where files or directories of this machine shall be found there: its path, then this machine's.
    pub(in super::super) files: &'a [(&'a Path, &'a Path)],
    /// Kernel modules, with those they depend on, as `/modules/NUMBER.ko` in an order in which they can be loaded.
    pub(in super::super) modules: &'a [&'a str],
}

impl Files<'_> {
    /// Writes them to a file as the kernel takes them.
    pub(in super::super) fn pack(&self, to: &Path, kernel: &Kernel) -> Result<()> {
        self.write(to, kernel)
            .context("pack the files of the virtual machine")
    }

    fn write(&self, to: &Path, kernel: &Kernel) -> Result<()> {
        let file = File::create(to).with_context(|| format!("create {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        for (path, text) in self.texts {
            archive.bytes(Path::new(path), EXECUTABLE, text.as_bytes())?;
        }
        archive.file(Path::new("/bin/busybox"), Path::new("/bin/busybox"))?;
        for (number, module) in kernel.modules(self.modules)?.iter().enumerate() {
            archive.file(Path::new(&format!("/modules/{number:03}.ko")), module)?;
        }
        for (there, here) in self.files {
            archive.tree(there, here)?;
        }
        for program in [Path::new("/bin/sh")].iter().chain(self.programs) {
            archive.file(program, program)?;
            for library in libraries(program)? {
                archive.file(Path::new(&library), Path::new(&library))?;
            }
        }
        archive.finish()
    }
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
