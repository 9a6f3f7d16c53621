//! Packages of Debian suites, which need not be the machine's, from the mirror it uses, without touching its apt state.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::{Output, check, run};
use super::place;

/// Packages of one Debian suite that are unpacked into one directory.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) suite: &'static str,
    pub(super) directory: &'static str,
    pub(super) selection: Selection,
}

/// Which packages.
#[derive(Debug)]
pub(super) enum Selection {
    Named(&'static [&'static str]),
    /// What an otherwise empty package stands for: the newest of many versions, each with a name of its own.
    DependenciesOf(&'static str),
}

/// Where packages are unpacked: `DTAP_LAB_CACHE`, else `lab` in cargo's target directory.
///
/// # Errors
/// When cargo's target directory cannot be found.
pub fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("DTAP_LAB_CACHE") {
        return Ok(PathBuf::from(cache));
    }
    let target = place::target().context("find cargo's target directory; set DTAP_LAB_CACHE")?;
    Ok(target.join("lab"))
}

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
    let work = tempfile::tempdir_in(cache).context("create a directory for apt")?;
    let apt = Apt::with_state_in(work.path(), packages.suite)?;
    download(apt.command("apt-get").args(["-qq", "update"]))?;
    let names = apt.names(&packages.selection)?;
    eprintln!(
        "lab: fetching {} of Debian {}",
        names.join(", "),
        packages.suite
    );
    download(
        apt.command("apt-get")
            .arg("-qq")
            .arg("download")
            .args(names),
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

    fn names(&self, selection: &Selection) -> Result<Vec<String>> {
        match selection {
            Selection::Named(names) => Ok(names.iter().map(ToString::to_string).collect()),
            Selection::DependenciesOf(name) => {
                let said = check(self.command("apt-cache").args(["depends", name]))?;
                let names = dependencies_in(&said);
                if names.is_empty() {
                    bail!("the package {name} depends on none");
                }
                Ok(names)
            }
        }
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

fn dependencies_in(depends: &str) -> Vec<String> {
    depends
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .map(ToOwned::to_owned)
        .collect()
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

/// Held while the cache is written, so that tests that start together fetch once.
fn lock(cache: &Path) -> Result<File> {
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock().context("lock the cache")?;
    Ok(file)
}

const FAILURE: &str = "failed";

#[cfg(test)]
mod tests {
    use super::{dependencies_in, mirror_in};

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

    #[test]
    fn dependencies_are_neither_recommended_nor_suggested_packages() {
        let depends = "\
            linux-image-cloud-amd64\n  \
              Depends: linux-image-6.1.0-1-cloud-amd64\n  \
              Suggests: linux-doc\n";
        assert_eq!(
            dependencies_in(depends),
            ["linux-image-6.1.0-1-cloud-amd64"]
        );
    }
}
