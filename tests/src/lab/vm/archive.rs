//! The archive that the kernel unpacks as its first file system: cpio's format `newc`, as the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst` has it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// An archive in the making. Of two files of one path the first counts.
#[derive(Debug)]
pub(super) struct Archive<W> {
    to: W,
    written: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(super) const fn new(to: W) -> Self {
        Self {
            to,
            written: BTreeSet::new(),
        }
    }

    /// A directory with all below it, or a file.
    pub(super) fn tree(&mut self, there: &Path, here: &Path) -> Result<()> {
        if !here.is_dir() {
            return self.file(there, here);
        }
        self.directory(there)?;
        let entries = fs::read_dir(here).with_context(|| format!("list {}", here.display()))?;
        for entry in entries {
            let entry = entry?;
            self.tree(&there.join(entry.file_name()), &entry.path())?;
        }
        Ok(())
    }

    /// A file, executable: of a symbolic link, what it leads to.
    pub(super) fn file(&mut self, there: &Path, here: &Path) -> Result<()> {
        let bytes = fs::read(here).with_context(|| format!("read {}", here.display()))?;
        self.bytes(there, EXECUTABLE, &bytes)
    }

    pub(super) fn bytes(&mut self, there: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
        if let Some(directory) = there.parent() {
            self.directory(directory)?;
        }
        if self.written.insert(there.to_owned()) {
            self.entry(&name(there), FILE | mode, bytes)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.to.flush().context("write the archive")
    }

    fn directory(&mut self, there: &Path) -> Result<()> {
        if name(there).is_empty() || !self.written.insert(there.to_owned()) {
            return Ok(());
        }
        if let Some(above) = there.parent() {
            self.directory(above)?;
        }
        self.entry(&name(there), DIRECTORY | EXECUTABLE, &[])
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let size = u32::try_from(bytes.len()).context("a file of 4 GiB or more")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let links = 1;
        // inode, mode, uid, gid, links, mtime, size, device (2), device of a special file (2), name's size, checksum.
        let fields = [0, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        let mut header = MAGIC.to_owned();
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(bytes)
    }

    /// The next part begins at a multiple of four, as this one did.
    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.to.write_all(bytes).context("write the archive")?;
        let zeros = [0; 4];
        self.to
            .write_all(&zeros[..padding])
            .context("write the archive")
    }
}

fn name(there: &Path) -> String {
    there.to_string_lossy().trim_start_matches('/').to_owned()
}

const MAGIC: &str = "070701";
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
pub(super) const EXECUTABLE: u32 = 0o755;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::{Archive, EXECUTABLE};

    #[test]
    fn cpio_unpacks_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let packed = directory.path().join("packed");
        let mut archive = Archive::new(std::fs::File::create(&packed).expect("a file"));
        for (path, content) in [("/a/b/odd", "odd"), ("/a/four", "four"), ("/a/b/odd", "no")] {
            archive
                .bytes(Path::new(path), EXECUTABLE, content.as_bytes())
                .expect("room");
        }
        archive.finish().expect("room");
        let run = Command::new("busybox")
            .args(["cpio", "-i"])
            .stdin(std::fs::File::open(&packed).expect("the file"))
            .stderr(Stdio::null())
            .current_dir(directory.path())
            .status();
        assert!(run.expect("busybox").success());
        let content = |path: &str| std::fs::read_to_string(directory.path().join(path));
        assert_eq!(content("a/b/odd").expect("unpacked"), "odd");
        assert_eq!(content("a/four").expect("unpacked"), "four");
    }
}
