//! What there is: Docker, HyperKit, tap devices, and what was installed before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use dtap_shim::{ORIGINAL, RECORD};
use nix::net::if_::if_nametoindex;
use serde_json::Value;

use super::Root;
use super::hyperkit::{self, File, Location, Owner};
use super::record::Record;
use crate::docker::User;

/// Everything that decides what to do.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) machine: Machine,
    /// Docker Desktop runs its VM by Apple's framework instead.
    pub(super) is_virtualization_on: bool,
    pub(super) hyperkit: Option<HyperKit>,
    /// Beside HyperKit; an update of Docker may take it away.
    pub(super) record: Option<String>,
    /// The same, where no update comes.
    pub(super) memory: Option<String>,
    pub(super) memory_at: PathBuf,
    /// The nodes `/dev/tapN`, by N.
    pub(super) taps: BTreeMap<u8, Tap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    IntelMac,
    AppleSilicon,
    Linux,
    Lab,
}

#[derive(Clone, Debug)]
pub(super) struct HyperKit {
    pub(super) place: PathBuf,
    pub(super) file: File,
    /// What lies beside as the original.
    pub(super) original: Option<File>,
    pub(super) version: Option<String>,
    /// What other tools have put aside.
    pub(super) rivals: Vec<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
    /// Somebody has it open: its interface exists only then.
    pub(super) is_in_use: bool,
}

/// docker-for-mac-host-bridge and docker-tuntap-osx.
const RIVALS: [&str; 2] = [".real", ".original"];
const MEMORY: &str = "/var/lib/dtap-tap/record";
/// tuntaposx makes no more.
const TAPS: u8 = 16;

impl Facts {
    pub(super) fn gather(root: &Root, user: &User, location: Option<&Location>) -> Result<Self> {
        let hyperkit = location.map(HyperKit::at).transpose()?.flatten();
        let beside = |it: &HyperKit| fs::read_to_string(beside(&it.place, RECORD)).ok();
        let memory_at = root.path(MEMORY);
        Ok(Self {
            machine: machine(root),
            is_virtualization_on: is_virtualization_on(&root.path(&user.home)),
            record: hyperkit.as_ref().and_then(beside),
            memory: fs::read_to_string(&memory_at).ok(),
            hyperkit,
            memory_at,
            taps: taps(root),
        })
    }

    /// What was installed last.
    pub(super) fn installed(&self) -> Option<Record> {
        let texts = [&self.record, &self.memory].into_iter().flatten();
        texts.flat_map(|it| Record::parse(it)).next()
    }
}

/// Whatever is written beside the devices.
pub(super) fn traces(root: &Root, location: Option<&Location>) -> Vec<PathBuf> {
    let of = |it: &Location| ["", ORIGINAL, RECORD].map(|ending| beside(&it.place, ending));
    let all = location.map(of).into_iter().flatten();
    all.chain([root.path(MEMORY)]).collect()
}

/// HyperKit's place, in /Applications or the user's own.
pub(super) fn locate(root: &Root, user: &User) -> Result<Option<Location>> {
    hyperkit::find(&[
        root.path("/Applications"),
        root.path(user.home.join("Applications")),
    ])
}

pub(super) fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(place);
    path.push(ending);
    path.into()
}

impl HyperKit {
    fn at(location: &Location) -> Result<Option<Self>> {
        let Location { bundle, place } = location;
        let Some(file) = hyperkit::file(place)? else {
            return Ok(None);
        };
        let rivals = RIVALS.map(|it| beside(place, it)).into_iter();
        Ok(Some(Self {
            original: hyperkit::file(&beside(place, ORIGINAL))?,
            version: hyperkit::version(bundle),
            rivals: rivals.filter(|it| it.exists()).collect(),
            place: place.clone(),
            file,
        }))
    }
}

fn machine(root: &Root) -> Machine {
    // A program for Intel is told of the machine it really runs on by this alone.
    let is_arm = || {
        let asked = Command::new("/usr/sbin/sysctl")
            .args(["-n", "hw.optional.arm64"])
            .output();
        asked.is_ok_and(|it| it.stdout.trim_ascii() == b"1")
    };
    match (std::env::consts::OS, std::env::consts::ARCH) {
        _ if root.is_lab() => Machine::Lab,
        ("macos", "aarch64") => Machine::AppleSilicon,
        ("macos", _) if is_arm() => Machine::AppleSilicon,
        ("macos", _) => Machine::IntelMac,
        _ => Machine::Linux,
    }
}

/// Only what Docker Desktop's settings say for certain; the newer file goes first.
fn is_virtualization_on(home: &Path) -> bool {
    let directory = home.join("Library/Group Containers/group.com.docker");
    let setting = |(file, key): (&str, &str)| {
        let text = fs::read(directory.join(file)).ok()?;
        let settings: Value = serde_json::from_slice(&text).ok()?;
        settings.get(key)?.as_bool()
    };
    let mut settings = [
        ("settings-store.json", "UseVirtualizationFramework"),
        ("settings.json", "useVirtualizationFramework"),
    ]
    .into_iter()
    .filter_map(setting);
    settings.next().unwrap_or_default()
}

fn taps(root: &Root) -> BTreeMap<u8, Tap> {
    let tap = |unit| {
        let path = root.path(format!("/dev/tap{unit}"));
        let metadata = fs::symlink_metadata(&path).ok()?;
        let kind = metadata.file_type();
        let is_node = kind.is_char_device() || root.is_lab() && kind.is_file();
        let is_in_use = !root.is_lab() && if_nametoindex(format!("tap{unit}").as_str()).is_ok();
        let tap = Tap {
            owner: Owner::of(&metadata),
            path,
            is_in_use,
        };
        is_node.then_some((unit, tap))
    };
    (0..TAPS).filter_map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_settings_count_and_unreadable_ones_do_not() {
        let home = tempfile::tempdir().unwrap();
        let directory = home
            .path()
            .join("Library/Group Containers/group.com.docker");
        let on = || is_virtualization_on(home.path());
        assert!(!on());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("settings.json"), "{").unwrap();
        assert!(!on());
        let old = "{\"useVirtualizationFramework\": true}";
        fs::write(directory.join("settings.json"), old).unwrap();
        assert!(on());
        let new = "{\"UseVirtualizationFramework\": false}";
        fs::write(directory.join("settings-store.json"), new).unwrap();
        assert!(!on());
    }
}
