//! Decides: facts in, changes or a refusal out.

use std::path::{Path, PathBuf};

use dtap_shim::{Mac, Nic, ORIGINAL, RECORD};

use super::change::{Becomes, Change};
use super::facts::{Facts, HyperKit, Machine, Tap, beside};
use super::hyperkit::{self, Content, File, Owner};
use super::record::Record;

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("HyperKit runs on Intel Macs, and this is not a Mac")]
    NotMac,
    #[error("HyperKit never ran on Apple silicon")]
    AppleSilicon,
    #[error(
        "Docker Desktop uses Apple's Virtualization framework, which takes no interfaces of others; where it still \
         offers HyperKit, choose that in its settings"
    )]
    Virtualization,
    #[error(
        "there is no HyperKit in /Applications/Docker.app, nor in the Applications of your home directory"
    )]
    NoHyperKit,
    #[error(
        "{} is the script of another tool: undo that first with `sudo mv {} {}`, then restart Docker", .place.display(),
        .original.display(), .place.display()
    )]
    Rival { place: PathBuf, original: PathBuf },
    #[error("{} is no program for an Intel Mac, so it is not HyperKit: install Docker Desktop anew", .0.display())]
    NotProgram(PathBuf),
    #[error("the HyperKit {} is too old to know tap interfaces: update Docker Desktop", .0.display())]
    KnowsNoTap(PathBuf),
    #[error(
        "there is no free /dev/tapN for {missing} of {wanted} interfaces: the kernel extension of tuntaposx is not \
         loaded, or its devices are in use"
    )]
    NoKext { missing: usize, wanted: usize },
    #[error("this client was built without a shim: build it with `make build`")]
    NoShim,
    #[error(
        "the original of {} is missing or not what was put aside: install Docker Desktop anew, which brings its own, \
         and then repeat this", .0.display()
    )]
    OriginalLost(PathBuf),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// As many as there are if none are named, at least one.
    pub(super) nics: Option<u8>,
    /// `None` leaves the one in place.
    pub(super) shim: Option<&'a [u8]>,
    /// Who is to open the devices; `None` is who did.
    pub(super) user: Option<u32>,
}

/// What is to be done so that the VM gets its NICs, and what the record says then.
pub(super) fn install(
    facts: &Facts,
    wish: &Wish<'_>,
    random: impl FnMut() -> Mac,
) -> Result<(Record, Vec<Change>), Refusal> {
    let hyperkit = usable(facts)?;
    let HyperKit { place, file, .. } = hyperkit;
    let before = facts.installed();
    let original = original(hyperkit, before.as_ref())?;
    let nics = nics(facts, before.as_ref(), wish.nics, random)?;
    let user = match wish.user.or_else(|| before.as_ref().map(|it| it.user)) {
        Some(0) | None => original.owner.uid,
        Some(uid) => uid,
    };
    let mut owners = before.map(|it| it.owners).unwrap_or_default();
    let mut of_taps = Vec::new();
    // Those no longer wanted are given back.
    let is_ours = |unit: &u8| nics.iter().any(|it| it.unit == *unit);
    let dropped = owners.extract_if(.., |unit, _| !is_ours(unit));
    let dropped: Vec<_> = dropped.collect();
    for (unit, owner) in dropped {
        of_taps.extend(facts.taps.get(&unit).and_then(|tap| owned(tap, owner)));
    }
    for tap in nics
        .iter()
        .filter_map(|nic| Some((nic.unit, facts.taps.get(&nic.unit)?)))
    {
        let (unit, tap) = tap;
        owners.entry(unit).or_insert(tap.owner);
        let wanted = Owner {
            uid: user,
            mode: tap.owner.mode | 0o600,
            ..tap.owner
        };
        of_taps.extend(owned(tap, wanted));
    }
    let record = Record {
        sha256: original.sha256.clone(),
        version: hyperkit.version.clone(),
        user,
        nics,
        owners,
    };

    let mut changes = Vec::new();
    if file.content != Content::Shim {
        let aside = beside(place, ORIGINAL);
        changes.extend((hyperkit.original.as_ref() != Some(file)).then(|| Change {
            what: format!("keep {} beside it", place.display()),
            path: aside,
            becomes: Becomes::Link(place.clone()),
        }));
    }
    let text = record.to_string();
    let at_record = beside(place, RECORD);
    let records = [
        (&at_record, &facts.record),
        (&facts.memory_at, &facts.memory),
    ];
    let records = records
        .into_iter()
        .filter(|(_, is)| is.as_ref() != Some(&text));
    changes.extend(records.map(|(path, _)| Change {
        path: path.clone(),
        becomes: Becomes::File {
            content: text.clone().into_bytes(),
            owner: RECORD_OWNER,
        },
        what: format!("note it in {}", path.display()),
    }));
    changes.extend(of_taps);
    match wish.shim {
        Some(shim) if hyperkit::sha256(shim) != file.sha256 || file.owner != original.owner => {
            changes.push(Change {
                path: place.clone(),
                becomes: Becomes::File {
                    content: shim.to_vec(),
                    owner: original.owner,
                },
                what: format!("put the shim in the place of {}", place.display()),
            });
        }
        None if file.content != Content::Shim => return Err(Refusal::NoShim),
        Some(_) | None => {}
    }
    Ok((record, changes))
}

/// What is to be done so that nothing of ours is left.
pub(super) fn uninstall(facts: &Facts) -> Result<Vec<Change>, Refusal> {
    let before = facts.installed();
    let owners = before.iter().flat_map(|it| &it.owners);
    let mut changes: Vec<_> = owners
        .filter_map(|(unit, owner)| owned(facts.taps.get(unit)?, *owner))
        .collect();
    if let Some(hyperkit) = &facts.hyperkit {
        let HyperKit { place, file, .. } = hyperkit;
        let aside = beside(place, ORIGINAL);
        match file.content {
            Content::Shim => {
                original(hyperkit, before.as_ref())?;
                changes.push(Change {
                    path: place.clone(),
                    becomes: Becomes::Link(aside.clone()),
                    what: format!("put HyperKit back to {}", place.display()),
                });
            }
            // A script may start what another tool put aside: our shim, which needs its files.
            Content::Text if hyperkit.original.is_some() => return Err(rival(hyperkit)),
            Content::MachO { .. } | Content::Elf | Content::Text | Content::Other => {}
        }
        changes.extend(hyperkit.original.as_ref().map(|_| removal(&aside)));
        changes.extend(
            facts
                .record
                .as_ref()
                .map(|_| removal(&beside(place, RECORD))),
        );
    }
    changes.extend(facts.memory.as_ref().map(|_| removal(&facts.memory_at)));
    Ok(changes)
}

const RECORD_OWNER: Owner = Owner {
    uid: 0,
    gid: 0,
    mode: 0o644,
};

fn usable(facts: &Facts) -> Result<&HyperKit, Refusal> {
    match facts.machine {
        Machine::Linux => return Err(Refusal::NotMac),
        Machine::AppleSilicon => return Err(Refusal::AppleSilicon),
        Machine::IntelMac | Machine::Lab => {}
    }
    if facts.is_virtualization_on {
        return Err(Refusal::Virtualization);
    }
    let hyperkit = facts.hyperkit.as_ref().ok_or(Refusal::NoHyperKit)?;
    let place = || hyperkit.place.clone();
    match hyperkit.file.content {
        Content::Shim => Ok(hyperkit),
        Content::MachO {
            intel: true,
            knows_tap: true,
        } => Ok(hyperkit),
        Content::Elf if facts.machine == Machine::Lab => Ok(hyperkit),
        Content::MachO { intel: true, .. } => Err(Refusal::KnowsNoTap(place())),
        Content::Text => Err(rival(hyperkit)),
        Content::MachO { .. } | Content::Elf | Content::Other => Err(Refusal::NotProgram(place())),
    }
}

fn rival(hyperkit: &HyperKit) -> Refusal {
    let place = hyperkit.place.clone();
    match hyperkit.rivals.first().cloned() {
        Some(original) => Refusal::Rival { place, original },
        None => Refusal::NotProgram(place),
    }
}

/// HyperKit itself: in its place, or beside the shim and what it was.
fn original<'a>(hyperkit: &'a HyperKit, record: Option<&Record>) -> Result<&'a File, Refusal> {
    if hyperkit.file.content != Content::Shim {
        return Ok(&hyperkit.file);
    }
    let is_known = |it: &&File| match record {
        Some(record) => record.sha256 == it.sha256,
        None => matches!(it.content, Content::MachO { .. } | Content::Elf),
    };
    let original = hyperkit.original.as_ref().filter(is_known);
    original.ok_or_else(|| Refusal::OriginalLost(hyperkit.place.clone()))
}

/// Those there are stay: the server finds them by their MAC.
fn nics(
    facts: &Facts,
    before: Option<&Record>,
    wanted: Option<u8>,
    mut random: impl FnMut() -> Mac,
) -> Result<Vec<Nic>, Refusal> {
    let mut nics = before.map(|it| it.nics.clone()).unwrap_or_default();
    let wanted = wanted.map_or_else(|| nics.len().max(1), usize::from);
    nics.retain(|it| facts.taps.contains_key(&it.unit));
    nics.truncate(wanted);
    // The first is what other programs take first.
    let units = (1..=u8::MAX).chain([0]);
    let free = units.filter(|it| facts.taps.get(it).is_some_and(|tap| !tap.is_in_use));
    for unit in free {
        if nics.len() < wanted && nics.iter().all(|it| it.unit != unit) {
            let mac = random();
            nics.push(Nic { unit, mac });
        }
    }
    let missing = wanted - nics.len();
    match missing {
        0 => Ok(nics),
        _ => Err(Refusal::NoKext { missing, wanted }),
    }
}

fn owned(tap: &Tap, owner: Owner) -> Option<Change> {
    (tap.owner != owner).then(|| Change {
        path: tap.path.clone(),
        becomes: Becomes::Owned(owner),
        what: format!(
            "give {} to user {}, mode {:o}",
            tap.path.display(),
            owner.uid,
            owner.mode
        ),
    })
}

fn removal(path: &Path) -> Change {
    Change {
        path: path.to_owned(),
        becomes: Becomes::Nothing,
        what: format!("remove {}", path.display()),
    }
}
