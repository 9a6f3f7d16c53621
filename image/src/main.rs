//! Writes the server's image for `docker load`.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use dtap_image::{Arch, archive};

/// Write the server's image for `docker load`
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Architecture that the binary is for
    #[arg(long)]
    arch: Arch,
    /// Static dtap-server to put into the image
    #[arg(long)]
    binary: PathBuf,
    /// Where to write the image, as a .tar.gz
    #[arg(long)]
    output: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let binary = arguments.binary.display();
    let content = fs::read(&arguments.binary).with_context(|| format!("read {binary}"))?;
    let image =
        archive(arguments.arch, &content).with_context(|| format!("make an image of {binary}"))?;
    write_if_different(&arguments.output, &image)
        .with_context(|| format!("write {}", arguments.output.display()))
}

/// Leaves an equal file alone, so that the client which embeds it is not built again.
fn write_if_different(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, content)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_equal_file_is_left_alone_and_a_different_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/image");
        write_if_different(&path, b"one").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();

        write_if_different(&path, b"one").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(modified, SystemTime::UNIX_EPOCH);

        write_if_different(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
