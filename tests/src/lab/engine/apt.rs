//! Packages of other Debian suites than the machine's, from the mirror it uses, without touching its apt state.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::command::{Output, check, run};
use super::{Packages, lock};

/// The directory with the unpacked packages. A failure is remembered, so that it costs time only once.
pub(super) fn unpacked(cache: &Path, packages: &Packages) -> Result<PathBuf> {
    let root = cache.join(packages.directory);
    if root.is_dir() {
        return Ok(root);
    }
    let _lock = lock(cache)?;
    if root.is_dir() {
        return Ok(root);
    }
    let failure = failure(cache, packages);
    if let Ok(reason) = fs::read_to_string(&failure) {
        bail!("{reason} (`dtap-lab setup` tries again)");
    }
    fetch(cache, packages, &root).inspect_err(|error| {
        let _ = fs::write(&failure, format!("{error:#}"));
    })?;
    Ok(root)
}

pub(super) fn forget_failures(cache: &Path) -> Result<()> {
    let _lock = lock(cache)?;
    for entry in fs::read_dir(cache)?.flatten() {
        if entry.path().extension().is_some_and(|end| end == FAILURE) {
            fs::remove_file(entry.path()).context("remove the note of a failure")?;
        }
    }
    Ok(())
}

fn fetch(cache: &Path, packages: &Packages, root: &Path) -> Result<()> {
    eprintln!(
        "lab: fetching {} of Debian {}",
        packages.names.join(", "),
        packages.suite
    );
    let work = tempfile::tempdir_in(cache).context("create a directory for apt")?;
    let apt = Apt::with_state_in(work.path(), packages.suite)?;
    download(apt.command("apt-get").args(["-qq", "update"]))?;
    download(
        apt.command("apt-get")
            .arg("-qq")
            .arg("download")
            .args(packages.names),
    )?;
    let unpacked = work.path().join("unpacked");
    for entry in fs::read_dir(work.path())?.flatten() {
        let file = entry.path();
        if file.extension().is_some_and(|end| end == "deb") {
            check(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unpacked))?;
        }
    }
    fs::rename(&unpacked, root).with_context(|| format!("move packages to {}", root.display()))
}

/// For as long as a slow line takes.
fn download(command: &mut Command) -> Result<()> {
    run(command, Duration::from_secs(900))
        .and_then(Output::text)
        .with_context(|| format!("run {command:?}"))?;
    Ok(())
}

struct Apt {
    state: PathBuf,
}

impl Apt {
    fn with_state_in(directory: &Path, suite: &str) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part)).context("create apt's directories")?;
        }
        let source = format!("deb {}{} {suite} main\n", signed_by(), mirror()?);
        fs::write(directory.join("sources.list"), source).context("write apt's sources")?;
        Ok(Self {
            state: directory.to_owned(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.state);
        for (option, file) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "none"),
            ("Dir::Etc::Preferences", "none"),
            ("Dir::Etc::PreferencesParts", "none"),
            ("Dir::State::Lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            let file = self.state.join(file);
            command.args(["-o", &format!("{option}={}", file.display())]);
        }
        // The sandbox user of apt may not write to our directory.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command
    }
}

/// Where the machine itself gets the main component of its release from.
fn mirror() -> Result<String> {
    let targets = check(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    mirror_in(&targets).context("find this machine's Debian mirror in `apt-get indextargets`")
}

fn mirror_in(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        match fields[..] {
            [uri, release, "main"] if !release.contains('-') => Some(uri.to_owned()),
            _ => None,
        }
    })
}

fn signed_by() -> String {
    let keys =
        ["pgp", "gpg"].map(|end| format!("/usr/share/keyrings/debian-archive-keyring.{end}"));
    match keys.iter().find(|key| Path::new(key).is_file()) {
        Some(key) => format!("[signed-by={key}] "),
        None => String::new(),
    }
}

fn failure(cache: &Path, packages: &Packages) -> PathBuf {
    cache.join(packages.directory).with_extension(FAILURE)
}

const FAILURE: &str = "failed";

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn the_mirror_is_that_of_the_release_not_of_its_updates() {
        let targets = "\
            http://security.example/debian-security/ bookworm-security main\n\
            http://mirror.example/debian/ bookworm contrib\n\
            http://mirror.example/debian/ bookworm main\n";
        assert_eq!(
            mirror_in(targets).as_deref(),
            Some("http://mirror.example/debian/")
        );
    }

    #[test]
    fn without_a_release_there_is_no_mirror() {
        assert_eq!(
            mirror_in("http://mirror.example/ bookworm-updates main\n"),
            None
        );
    }
}
