//! Docker engines of several ages, from Debian's packages, unpacked beside each other.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::{self, Packages, Selection};
use super::command::check;

/// An engine ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    version: String,
    /// Where its package lies unpacked.
    root: PathBuf,
    /// Where containerd and runc do: one of each serves every engine.
    runtime: PathBuf,
}

impl Engine {
    /// Every engine that Debian has, oldest first, fetched if need be. One that cannot be had is reported on standard error.
    ///
    /// # Errors
    /// When not a single one can be had.
    pub fn available() -> Result<Vec<Self>> {
        let cache = apt::cache()?;
        let runtime = apt::unpacked(&cache, &RUNTIME).context("fetch containerd and runc")?;
        let found: Vec<_> = ENGINES
            .iter()
            .filter_map(|packages| Self::unpacked(&cache, packages, &runtime))
            .collect();
        if found.is_empty() {
            bail!("no Docker engine could be fetched from Debian");
        }
        Ok(found)
    }

    /// The newest of [`Self::available`].
    pub fn newest() -> Result<Self> {
        let cache = apt::cache()?;
        let runtime = apt::unpacked(&cache, &RUNTIME).context("fetch containerd and runc")?;
        let mut newest_first = ENGINES.iter().rev();
        newest_first
            .find_map(|packages| Self::unpacked(&cache, packages, &runtime))
            .context("no Docker engine could be fetched from Debian")
    }

    /// The engine whose version starts with `version`, such as `20.10` or `28`.
    pub fn version(version: &str) -> Result<Self> {
        let available = Self::available()?;
        let Some(engine) = available.iter().find(|engine| engine.matches(version)) else {
            let have: Vec<_> = available.iter().map(Self::to_string).collect();
            bail!("no engine {version}; there are: {}", have.join(", "));
        };
        Ok(engine.clone())
    }

    /// The engines that a test of every engine shall take: those `DTAP_LAB_ENGINES` names (such as `20.10,28`), else all.
    pub fn required() -> Result<Vec<Self>> {
        match env::var("DTAP_LAB_ENGINES") {
            Ok(versions) => versions
                .split(',')
                .map(str::trim)
                .map(Self::version)
                .collect(),
            Err(_) => Self::available(),
        }
    }

    /// Fetches anew what could not be had before.
    pub fn retry() -> Result<()> {
        apt::forget_failures(&apt::cache()?)
    }

    /// Its docker command.
    pub fn docker(&self) -> PathBuf {
        self.root.join("usr/bin/docker")
    }

    /// Everything it runs, to be taken elsewhere.
    pub fn programs(&self) -> Vec<PathBuf> {
        let own = ["sbin/dockerd", "sbin/docker-proxy", "bin/docker"];
        let runtime = ["bin/containerd", "bin/containerd-shim-runc-v2", "sbin/runc"];
        let own = own.map(|it| self.root.join("usr").join(it));
        own.into_iter()
            .chain(runtime.map(|it| self.runtime.join("usr").join(it)))
            .collect()
    }

    /// Where its programs are, for a PATH.
    pub(super) fn directories(&self) -> [PathBuf; 4] {
        [
            self.root.join("usr/sbin"),
            self.root.join("usr/bin"),
            self.runtime.join("usr/sbin"),
            self.runtime.join("usr/bin"),
        ]
    }

    /// Where its packages, and those of containerd and runc, lie unpacked.
    pub(super) fn roots(&self) -> [&PathBuf; 2] {
        [&self.root, &self.runtime]
    }

    /// What its dockerd needs for IPv6 rules: a flag since 20.10, experimental until 27.0, the default from then on.
    pub(super) fn ipv6_arguments(&self) -> &'static [&'static str] {
        if self.major() < 27 {
            &["--experimental", "--ip6tables"]
        } else {
            &[]
        }
    }

    pub fn major(&self) -> u32 {
        let major = self.version.split('.').next();
        major.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// None, with the reason on standard error, when Debian does not have it.
    fn unpacked(cache: &Path, packages: &Packages, runtime: &Path) -> Option<Self> {
        match apt::unpacked(cache, packages).and_then(|root| Self::at(root, runtime)) {
            Ok(engine) => Some(engine),
            Err(error) => {
                eprintln!("lab: no engine from Debian {}: {error:#}", packages.suite);
                None
            }
        }
    }

    fn at(root: PathBuf, runtime: &Path) -> Result<Self> {
        let said = check(Command::new(root.join("usr/sbin/dockerd")).arg("--version"))?;
        let version = said
            .strip_prefix("Docker version ")
            .and_then(|rest| rest.split(['+', ',', '-']).next())
            .with_context(|| format!("read the version in {said:?}"))?;
        Ok(Self {
            version: version.to_owned(),
            root,
            runtime: runtime.to_owned(),
        })
    }

    fn matches(&self, wanted: &str) -> bool {
        self.version == wanted || self.version.starts_with(&format!("{wanted}."))
    }
}

/// Its version, such as `28.5.2`.
impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.version)
    }
}

/// Oldest first.
const ENGINES: [Packages; 3] = [
    Packages {
        suite: "bookworm",
        directory: "docker-bookworm",
        selection: Selection::Named(&["docker.io"]),
    },
    Packages {
        suite: "trixie",
        directory: "docker-trixie",
        selection: Selection::Named(&["docker.io", "docker-cli"]),
    },
    Packages {
        suite: "sid",
        directory: "docker-sid",
        selection: Selection::Named(&["docker.io", "docker-cli"]),
    },
];

/// Bookworm's, because they run on every C library since.
const RUNTIME: Packages = Packages {
    suite: "bookworm",
    directory: "runtime",
    selection: Selection::Named(&["containerd", "runc"]),
};
