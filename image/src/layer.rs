//! The one layer: the binary and the mount point of its state.

use std::io;

use tar::{Builder, EntryType, Header};

/// The layer as an uncompressed tar.
///
/// The state directory is in it because a new volume takes the mode of what it is mounted on,
/// and that one holds keys.
pub(crate) fn layer(binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "dtap-server", EntryType::Regular, 0o755, binary)?;
    append(&mut tar, "var/", EntryType::Directory, 0o755, &[])?;
    append(&mut tar, "var/lib/", EntryType::Directory, 0o755, &[])?;
    append(&mut tar, "var/lib/dtap/", EntryType::Directory, 0o700, &[])?;
    tar.into_inner()
}

/// Appends an entry that belongs to root and has no time of its own.
pub(crate) fn append(
    tar: &mut Builder<impl io::Write>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(path)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content)
}
