//! Decisions and what they do, on a directory that stands for `/`.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use dtap_shim::{MARKER, Mac, ORIGINAL, RECORD};
use tempfile::TempDir;

use super::Root;
use super::change::{self, Becomes, Change, NEW, OLD, apply};
use super::facts::{self, Facts, Machine, beside, locate};
use super::hyperkit::{Content, Location};
use super::plan::{self, Refusal, Wish};
use crate::docker::User;

const PLACE: &str = "Applications/Docker.app/Contents/Resources/bin/com.docker.hyperkit";
const HYPERKIT: &[u8] = b"\xcf\xfa\xed\xfe\x07\0\0\x01 virtio-tap and all the rest";
const UPDATE: &[u8] = b"\xcf\xfa\xed\xfe\x07\0\0\x01 virtio-tap and more";

struct Tree {
    root: TempDir,
    shim: Vec<u8>,
}

impl Tree {
    fn new() -> Self {
        let mac = Self {
            root: tempfile::tempdir().unwrap(),
            shim: [b"\x7fELF", MARKER.as_bytes()].concat(),
        };
        for directory in ["dev", "Applications/Docker.app/Contents/Resources/bin"] {
            fs::create_dir_all(mac.root.path().join(directory)).unwrap();
        }
        mac.put(HYPERKIT);
        for unit in 0..4 {
            let path = mac.path(&format!("dev/tap{unit}"));
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        }
        mac
    }

    fn put(&self, hyperkit: &[u8]) {
        let place = self.path(PLACE);
        let _ = fs::remove_file(&place);
        fs::write(&place, hyperkit).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o751)).unwrap();
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        File::open(&place).unwrap().set_times(times).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().canonicalize().unwrap().join(path)
    }

    fn root(&self) -> Root {
        Root {
            directory: Some(self.path("")),
        }
    }

    fn location(&self) -> Option<Location> {
        locate(&self.root(), &user()).unwrap()
    }

    fn facts(&self) -> Facts {
        Facts::gather(&self.root(), &user(), self.location().as_ref()).unwrap()
    }

    /// As every command begins.
    fn sweep(&self) {
        let traces = facts::traces(&self.root(), self.location().as_ref());
        traces.iter().for_each(|it| change::sweep(it));
    }

    fn plan(&self, nics: Option<u8>) -> Result<Vec<Change>, Refusal> {
        let wish = Wish {
            nics,
            shim: Some(&self.shim),
            user: Some(501),
        };
        let mut last = 0;
        let mac = || {
            last += 1;
            Mac([2, 0, 0, 0, 0, last])
        };
        plan::install(&self.facts(), &wish, mac).map(|(_, changes)| changes)
    }

    fn install(&self, nics: Option<u8>) {
        self.sweep();
        apply(&self.plan(nics).unwrap()).unwrap();
    }

    fn uninstall(&self) {
        self.sweep();
        apply(&plan::uninstall(&self.facts()).unwrap()).unwrap();
    }

    fn content(&self, ending: &str) -> Vec<u8> {
        fs::read(self.path(&format!("{PLACE}{ending}"))).unwrap()
    }

    /// Every file: bytes, owner, mode, and of HyperKit the time.
    fn tree(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u32, i64)> {
        let mut tree = BTreeMap::new();
        let mut rest = vec![self.path("")];
        while let Some(directory) = rest.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    rest.push(path.clone());
                    tree.insert(path, (Vec::new(), metadata.uid(), metadata.mode(), 0));
                    continue;
                }
                let bytes = fs::read(&path).unwrap();
                let time = metadata.mtime();
                tree.insert(path, (bytes, metadata.uid(), metadata.mode(), time));
            }
        }
        tree
    }
}

fn user() -> User {
    User {
        name: "me".to_owned(),
        uid: 501,
        gid: 20,
        home: "/Users/me".into(),
    }
}

/// Files get owners here.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can give files away");
    }
    is_root
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.mode() & 0o7777)
}

#[test]
fn what_is_installed_is_undone_byte_for_byte() {
    if !is_root() {
        return;
    }
    let mac = Tree::new();
    let before = mac.tree();
    mac.install(Some(2));
    assert_eq!(mac.content(""), mac.shim);
    assert_eq!(mac.content(ORIGINAL), HYPERKIT);
    assert_eq!(owner(&mac.path(PLACE)), (0, 0o751));
    assert_eq!(owner(&mac.path("dev/tap2")), (501, 0o640));
    assert_eq!(owner(&mac.path("dev/tap3")), (0, 0o440));
    let nics = dtap_shim::nics(&String::from_utf8(mac.content(RECORD)).unwrap()).unwrap();
    assert_eq!(nics.len(), 2);

    assert_eq!(mac.plan(None).unwrap(), []);
    mac.install(Some(1));
    assert_eq!(owner(&mac.path("dev/tap2")), (0, 0o440));
    mac.uninstall();
    assert_eq!(mac.tree(), before);
    assert_eq!(plan::uninstall(&mac.facts()).unwrap(), []);
}

#[test]
fn an_update_that_puts_a_new_hyperkit_there_is_repaired_with_the_same_macs() {
    if !is_root() {
        return;
    }
    let mac = Tree::new();
    mac.install(Some(2));
    let record = mac.facts().installed().unwrap();
    mac.put(UPDATE);
    mac.install(None);
    assert_eq!(
        (mac.content(""), mac.content(ORIGINAL)),
        (mac.shim.clone(), UPDATE.to_vec())
    );
    assert_eq!(mac.facts().installed().unwrap().nics, record.nics);

    // The whole bundle anew.
    fs::remove_dir_all(mac.path("Applications/Docker.app")).unwrap();
    fs::create_dir_all(mac.path(PLACE).parent().unwrap()).unwrap();
    mac.put(HYPERKIT);
    assert_eq!(mac.facts().installed().unwrap().nics, record.nics);
    mac.install(None);
    assert_eq!(mac.facts().installed().unwrap().nics, record.nics);

    mac.put(UPDATE);
    mac.uninstall();
    assert_eq!(mac.content(""), UPDATE);
    assert!(!mac.path(&format!("{PLACE}{ORIGINAL}")).exists());
    assert_eq!(owner(&mac.path("dev/tap1")), (0, 0o440));
}

#[test]
fn whichever_step_fails_everything_is_as_it_was() {
    if !is_root() {
        return;
    }
    let fails_at_every_step = |mac: &Tree, changes: Vec<Change>| {
        let before = mac.tree();
        assert!(changes.len() >= 4);
        for step in 0..=changes.len() {
            let mut changes = changes.clone();
            changes.insert(
                step,
                Change {
                    path: mac.path("dev/tap9"),
                    becomes: Becomes::Link(mac.path("dev/none")),
                    what: "fail".to_owned(),
                },
            );
            let error = format!("{:#}", apply(&changes).unwrap_err());
            assert!(error.contains("everything is as it was"), "{error}");
            assert_eq!(mac.tree(), before, "step {step}");
        }
    };
    let mac = Tree::new();
    fails_at_every_step(&mac, mac.plan(Some(2)).unwrap());
    mac.install(Some(2));
    fails_at_every_step(&mac, plan::uninstall(&mac.facts()).unwrap());
    mac.put(UPDATE);
    fails_at_every_step(&mac, mac.plan(Some(3)).unwrap());
}

/// A kill leaves the steps so far, done and with their second names.
#[test]
fn after_a_kill_between_two_steps_docker_boots_and_either_way_is_open() {
    if !is_root() {
        return;
    }
    for (is_install, step) in [true, false]
        .into_iter()
        .flat_map(|it| (0..6).map(move |step| (it, step)))
    {
        for goes_on in [true, false] {
            let mac = Tree::new();
            let before = mac.tree();
            if !is_install {
                mac.install(None);
            }
            let changes = match is_install {
                true => mac.plan(None).unwrap(),
                false => plan::uninstall(&mac.facts()).unwrap(),
            };
            let changes = &changes[..step.min(changes.len())];
            apply(changes).unwrap();
            for Change { path, becomes, .. } in changes {
                if !matches!(becomes, Becomes::Owned(_)) && path.parent().unwrap().exists() {
                    fs::write(beside(path, NEW), "half a").unwrap();
                    fs::write(beside(path, OLD), "what was there").unwrap();
                }
            }
            let boots = match mac.facts().hyperkit.unwrap().file.content {
                Content::Shim => mac.content(ORIGINAL) == HYPERKIT,
                Content::MachO { .. } => mac.content("") == HYPERKIT,
                Content::Elf | Content::Text | Content::Other => false,
            };
            assert!(boots, "step {step}");
            if goes_on {
                mac.install(None);
                assert_eq!(
                    (mac.content(""), mac.content(ORIGINAL)),
                    (mac.shim.clone(), HYPERKIT.to_vec())
                );
            }
            mac.uninstall();
            assert_eq!(mac.tree(), before, "step {step}");
        }
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let mac = Tree::new();
    let facts = mac.facts();
    let refusal = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts.clone();
        change(&mut facts);
        let wish = Wish {
            nics: Some(2),
            shim: None,
            user: None,
        };
        plan::install(&facts, &wish, || Mac([2; 6])).unwrap_err()
    };
    let content =
        |content: Content| refusal(&|it| it.hyperkit.as_mut().unwrap().file.content = content);
    let place = || mac.path(PLACE);
    assert_eq!(refusal(&|_| {}), Refusal::NoShim);
    assert_eq!(refusal(&|it| it.machine = Machine::Linux), Refusal::NotMac);
    assert_eq!(
        refusal(&|it| it.machine = Machine::AppleSilicon),
        Refusal::AppleSilicon
    );
    assert_eq!(
        refusal(&|it| it.is_virtualization_on = true),
        Refusal::Virtualization
    );
    assert_eq!(refusal(&|it| it.hyperkit = None), Refusal::NoHyperKit);
    let no_kext = |missing| Refusal::NoKext { missing, wanted: 2 };
    assert_eq!(refusal(&|it| it.taps.clear()), no_kext(2));
    let busy = |it: &mut Facts| {
        it.taps
            .values_mut()
            .skip(1)
            .for_each(|tap| tap.is_in_use = true)
    };
    assert_eq!(refusal(&busy), no_kext(1));
    let macho = |intel, knows_tap| content(Content::MachO { intel, knows_tap });
    assert_eq!(macho(true, false), Refusal::KnowsNoTap(place()));
    assert_eq!(macho(false, true), Refusal::NotProgram(place()));
    assert_eq!(content(Content::Other), Refusal::NotProgram(place()));
    assert_eq!(content(Content::Shim), Refusal::OriginalLost(place()));
    let on_a_mac = |it: &mut Facts| {
        it.machine = Machine::IntelMac;
        it.hyperkit.as_mut().unwrap().file.content = Content::Elf;
    };
    assert_eq!(refusal(&on_a_mac), Refusal::NotProgram(place()));
}

#[test]
fn another_tool_s_script_is_named_and_left_alone() {
    let mac = Tree::new();
    mac.put(b"#!/bin/bash\nexec $0.original\n");
    assert_eq!(mac.plan(None), Err(Refusal::NotProgram(mac.path(PLACE))));
    let original = mac.path(&format!("{PLACE}.original"));
    fs::write(&original, HYPERKIT).unwrap();
    let refusal = mac.plan(None).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Rival {
            place: mac.path(PLACE),
            original
        }
    );
    assert!(refusal.to_string().contains("sudo mv"), "{refusal}");
}

#[test]
fn an_original_that_is_not_what_was_put_aside_is_not_put_back() {
    if !is_root() {
        return;
    }
    let mac = Tree::new();
    mac.install(None);
    fs::write(mac.path(&format!("{PLACE}{ORIGINAL}")), UPDATE).unwrap();
    let lost = Err(Refusal::OriginalLost(mac.path(PLACE)));
    assert_eq!(plan::uninstall(&mac.facts()), lost);
    assert_eq!(mac.plan(None), lost);
}
