//! `tap install` and `tap uninstall`.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Error, Result};
use dtap_shim::Mac;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rand_core::{OsRng, RngCore as _};

use super::facts::{self, Facts, locate};
use super::plan::{self, Refusal, Wish};
use super::{How, Root, change, restart};
use crate::docker::{Environment, User};
use crate::privilege;
use crate::stdout::say;
use change::Change;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/shim.rs"));
}

/// What to do where HyperKit is not to be had.
const INSTEAD: &str =
    "the tunnel carries Ethernet, too: `sudo dtap-client tap attach NETWORK --carrier tunnel`";

pub(super) fn install(root: &Root, nics: Option<u8>, how: How) -> Result<ExitCode> {
    allowed(how, "replacing HyperKit")?;
    let user = Environment::current()?.user;
    let wish = Wish {
        nics,
        shim: embedded::SHIM,
        user: Some(user.uid),
    };
    let plan = |facts: &Facts| plan::install(facts, &wish, random_mac).map_err(refused);
    let (record, changes) = changed(root, &user, how, plan)?;
    if changes.is_empty() {
        say("installed already");
    }
    // A MAC that is not noted yet is drawn anew each time.
    for nic in record.nics.iter().filter(|_| !how.dry_run) {
        say(&format!("{} is {} in the VM", nic.interface(), nic.mac));
    }
    finish(root, &user, how, &changes)
}

pub(super) fn uninstall(root: &Root, how: How) -> Result<ExitCode> {
    allowed(how, "putting HyperKit back")?;
    let user = Environment::current()?.user;
    let plan = |facts: &Facts| Ok(((), plan::uninstall(facts)?));
    let ((), changes) = changed(root, &user, how, plan)?;
    if changes.is_empty() {
        say("nothing is installed");
    }
    finish(root, &user, how, &changes)
}

pub(super) fn refused(refusal: Refusal) -> Error {
    if refusal == Refusal::NoShim {
        return refusal.into();
    }
    Error::msg(format!("{refusal}; {INSTEAD}"))
}

fn allowed(how: How, what: &str) -> Result<()> {
    match how.dry_run {
        true => Ok(()),
        false => privilege::require_root(what),
    }
}

/// Does what `plan` says, alone.
fn changed<T>(
    root: &Root,
    user: &User,
    how: How,
    plan: impl Fn(&Facts) -> Result<(T, Vec<Change>)>,
) -> Result<(T, Vec<Change>)> {
    let location = locate(root, user)?;
    let _alone = match &location {
        Some(it) if !how.dry_run => it.place.parent().map(lock).transpose()?,
        Some(_) | None => None,
    };
    // Another may have been at work while this waited.
    let location = locate(root, user)?;
    if !how.dry_run {
        facts::traces(root, location.as_ref())
            .iter()
            .for_each(|it| change::sweep(it));
    }
    let facts = Facts::gather(root, user, location.as_ref())?;
    let (result, changes) = plan(&facts)?;
    if how.dry_run {
        for change in &changes {
            say(&format!("would {}", change.what));
        }
    } else {
        change::apply(&changes)?;
        for change in &changes {
            say(&change.what);
        }
    }
    Ok((result, changes))
}

/// On the directory itself, so that nothing is left; waits for another that installs.
fn lock(directory: &Path) -> Result<Flock<File>> {
    let attempt = || format!("lock {}", directory.display());
    let file = File::open(directory).with_context(attempt)?;
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    locked
        .map_err(|(_, error): (_, Errno)| error)
        .with_context(attempt)
}

fn finish(root: &Root, user: &User, how: How, changes: &[Change]) -> Result<ExitCode> {
    match (how.dry_run, how.restart) {
        (true, _) => {}
        (false, true) if root.is_lab() => say("there is no Docker Desktop to restart in a lab"),
        (false, true) => restart::docker(user)?,
        (false, false) if changes.is_empty() => {}
        (false, false) => {
            say("restart Docker for this to take effect, or repeat this with --restart")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Unicast and locally administered: nobody's hardware has it.
fn random_mac() -> Mac {
    let mut bytes = [0; 6];
    OsRng.fill_bytes(&mut bytes);
    let [first, ..] = &mut bytes;
    *first = *first & 0xfc | 2;
    Mac(bytes)
}
