//! Where Docker Desktop keeps HyperKit, and what a file is.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use dtap_shim::MARKER;
use memchr::memmem;
use sha2::{Digest as _, Sha256};

/// All it ever had; those who wrote such shims before found them in this order.
const PLACES: [&str; 3] = [
    "Contents/MacOS/com.docker.hyperkit",
    "Contents/Resources/bin/hyperkit",
    "Contents/Resources/bin/com.docker.hyperkit",
];
const BUNDLE: &str = "Docker.app";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bundle: PathBuf,
    /// Without symlinks: what is replaced, and what the shim finds its files beside.
    pub(super) place: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Content,
    /// In hexadecimal.
    pub(super) sha256: String,
    pub(super) owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Shim,
    MachO {
        intel: bool,
        /// An emulation that HyperKit does not know ends it.
        knows_tap: bool,
    },
    Elf,
    Text,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permissions only.
    pub(super) mode: u32,
}

/// The first place that is taken.
///
/// # Errors
/// When a symlink leads out of the bundle: whoever owns that could have any file replaced.
pub(super) fn find(applications: &[PathBuf]) -> Result<Option<Location>> {
    for directory in applications {
        let Ok(bundle) = directory.join(BUNDLE).canonicalize() else {
            continue;
        };
        for place in PLACES {
            let path = bundle.join(place);
            let Ok(place) = path.canonicalize() else {
                continue;
            };
            if !place.starts_with(&bundle) {
                bail!(
                    "{} leads to {}, out of Docker: nothing is replaced there",
                    path.display(),
                    place.display()
                );
            }
            return Ok(Some(Location { bundle, place }));
        }
    }
    Ok(None)
}

/// `CFBundleShortVersionString`, if the property list is text.
pub(super) fn version(bundle: &Path) -> Option<String> {
    let list = fs::read_to_string(bundle.join("Contents/Info.plist")).ok()?;
    let (_, rest) = list.split_once("<key>CFBundleShortVersionString</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    let (version, _) = rest.split_once("</string>")?;
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-._+".contains(it);
    Some(version.trim().to_owned()).filter(|it| !it.is_empty() && it.chars().all(is_plain))
}

/// `None` if there is none.
pub(super) fn file(path: &Path) -> Result<Option<File>> {
    let read = || -> io::Result<File> {
        let bytes = fs::read(path)?;
        Ok(File {
            content: Content::of(&bytes),
            sha256: sha256(&bytes),
            owner: Owner::of(&fs::metadata(path)?),
        })
    };
    match read() {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        let has = |needle: &str| memmem::find(bytes, needle.as_bytes()).is_some();
        if has(MARKER) {
            return Self::Shim;
        }
        if let Some(processors) = processors(bytes) {
            return Self::MachO {
                intel: processors.contains(&X86_64),
                knows_tap: has("virtio-tap"),
            };
        }
        match bytes {
            [0x7f, b'E', b'L', b'F', ..] => Self::Elf,
            [] => Self::Other,
            _ if str::from_utf8(bytes).is_ok() => Self::Text,
            _ => Self::Other,
        }
    }
}

/// `CPU_TYPE_X86_64` of mach/machine.h.
const X86_64: u32 = 0x0100_0007;

/// The processors a Mach-O is for; `None` for anything else. See mach-o/loader.h, mach-o/fat.h.
fn processors(bytes: &[u8]) -> Option<Vec<u32>> {
    // A class of Java begins like a fat Mach-O; its version stands where the count does.
    const MOST: u32 = 30;
    let word = |at: usize| <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok();
    let fat = |size: usize| {
        let count = u32::from_be_bytes(word(4)?);
        let entries = (0..usize::try_from(count).ok()?).map(|it| 8 + it * size);
        let read = || {
            entries
                .map_while(|at| word(at).map(u32::from_be_bytes))
                .collect()
        };
        (1..=MOST).contains(&count).then(read)
    };
    match u32::from_be_bytes(word(0)?) {
        0xcafe_babe => fat(20),
        0xcafe_babf => fat(32),
        0xcffa_edfe | 0xcefa_edfe => Some(vec![u32::from_le_bytes(word(4)?)]),
        _ => None,
    }
}

impl Owner {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const KNOWN: &[u8] = b"\xcf\xfa\xed\xfe\x07\0\0\x01 virtio-tap ";

    fn macho(intel: bool, knows_tap: bool) -> Content {
        Content::MachO { intel, knows_tap }
    }

    #[test]
    fn files_are_told_apart() {
        let fat =
            |processor: &[u8]| [b"\xca\xfe\xba\xbe\0\0\0\x01", processor, b"virtio-tap"].concat();
        for (bytes, content) in [
            (KNOWN.to_vec(), macho(true, true)),
            (b"\xcf\xfa\xed\xfe\x07\0\0\x01".to_vec(), macho(true, false)),
            (
                b"\xcf\xfa\xed\xfe\x0c\0\0\x01virtio-tap".to_vec(),
                macho(false, true),
            ),
            (fat(b"\x01\0\0\x07"), macho(true, true)),
            (fat(b"\x01\0\0\x0c"), macho(false, true)),
            (b"\xca\xfe\xba\xbe\0\0\0\x34class".to_vec(), Content::Other),
            (b"\x7fELF\x02".to_vec(), Content::Elf),
            (b"#!/bin/bash\n".to_vec(), Content::Text),
            (Vec::new(), Content::Other),
            (b"\xcf\xfa".to_vec(), Content::Other),
            ([b"\x7fELF", MARKER.as_bytes()].concat(), Content::Shim),
            ([KNOWN, MARKER.as_bytes()].concat(), Content::Shim),
        ] {
            assert_eq!(Content::of(&bytes), content, "{bytes:x?}");
        }
    }

    #[test]
    fn the_first_place_that_is_taken_is_it_and_symlinks_are_followed_inside_the_bundle() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let applications = [
            root.join("Applications"),
            root.join("Users/me/Applications"),
        ];
        let bundle = applications[1].join(BUNDLE);
        fs::create_dir_all(bundle.join("Contents/MacOS")).unwrap();
        fs::create_dir_all(bundle.join("Contents/Resources/bin")).unwrap();
        assert_eq!(find(&applications).unwrap(), None);

        let place = bundle.join(PLACES[2]);
        fs::write(&place, KNOWN).unwrap();
        let expected = Some(Location {
            bundle: bundle.clone(),
            place,
        });
        assert_eq!(find(&applications).unwrap(), expected);
        symlink(
            "../Resources/bin/com.docker.hyperkit",
            bundle.join(PLACES[0]),
        )
        .unwrap();
        assert_eq!(find(&applications).unwrap(), expected);

        fs::write(root.join("bash"), KNOWN).unwrap();
        fs::remove_file(bundle.join(PLACES[0])).unwrap();
        symlink(root.join("bash"), bundle.join(PLACES[0])).unwrap();
        let error = find(&applications).unwrap_err().to_string();
        assert!(error.contains("out of Docker"), "{error}");
    }

    #[test]
    fn the_version_is_docker_s() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(version(bundle.path()), None);
        fs::create_dir(bundle.path().join("Contents")).unwrap();
        let list =
            "<dict>\n<key>CFBundleShortVersionString</key>\n\t<string>4.5.0</string>\n</dict>";
        fs::write(bundle.path().join("Contents/Info.plist"), list).unwrap();
        assert_eq!(version(bundle.path()).as_deref(), Some("4.5.0"));
    }
}
