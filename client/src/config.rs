//! The settings of `connect`: flags and `DTAP_…` variables over a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use dtap_tunnel::PathPolicy;
use serde::Deserialize;

use crate::cli::{ConnectOptions, DEFAULT_STATE_DIR, EngineChoice, Mode, PathChoice};
use crate::docker::Selection;
use crate::plan::{Filters, Maps};
use crate::tap::Root;

/// What `connect` goes by.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// At least one.
    pub(crate) engines: Vec<Selection>,
    pub(crate) waits: bool,
    pub(crate) filters: Filters,
    pub(crate) maps: Maps,
    pub(crate) policy: PathPolicy,
    pub(crate) way: Way,
    /// Where to look for HyperKit.
    pub(crate) root: Root,
    pub(crate) server_image: Option<String>,
    pub(crate) starts_server: bool,
    pub(crate) state_dir: PathBuf,
    pub(crate) timeout: Duration,
}

/// What packets go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Tunnel,
    /// That of Docker's VM.
    Nic,
}

/// The file: the same keys as the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    context: Names,
    docker_host: Names,
    wait: bool,
    include: Vec<String>,
    exclude: Vec<String>,
    map: Vec<String>,
    path: Option<PathChoice>,
    mode: Option<Mode>,
    server_image: Option<String>,
    no_start_server: bool,
    state_dir: Option<PathBuf>,
    timeout: Option<f64>,
}

/// One name, or a list of names.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a name or a list of names")]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        match names {
            Names::One(name) => vec![name],
            Names::Several(names) => names,
        }
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

impl Settings {
    /// Lays the flags over the file they name.
    ///
    /// # Errors
    /// When the file cannot be read, or says something no flag does.
    pub(crate) fn new(options: &ConnectOptions) -> Result<Self> {
        let file = match &options.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        Self::merge(options, file)
    }

    fn merge(options: &ConnectOptions, file: File) -> Result<Self> {
        let named = EngineChoice::new(file.context.into(), file.docker_host.into());
        let engine = options.engine.clone().or(named);
        let engines = engine.selections();
        let maps = Maps::new(&chosen(&options.map, &file.map)?).context("read the config file")?;
        let way = match options.mode.or(file.mode).unwrap_or(Mode::Auto) {
            Mode::Auto | Mode::Tunnel => Way::Tunnel,
            Mode::Tap if engines.len() > 1 => {
                bail!("connect with --mode tap: name one engine, that of Docker Desktop")
            }
            Mode::Tap if !maps.is_empty() => {
                bail!("connect with --mode tap: only the tunnel translates, leave out --map")
            }
            Mode::Tap => Way::Nic,
        };
        let timeout = match file.timeout {
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .context("read 'timeout' of the config file: give a positive number of seconds")?,
            None => DEFAULT_TIMEOUT,
        };
        Ok(Self {
            engines,
            waits: options.wait || file.wait,
            filters: Filters {
                include: chosen(&options.include, &file.include)?,
                exclude: chosen(&options.exclude, &file.exclude)?,
            },
            maps,
            way,
            root: options.root.clone(),
            policy: match options.path.or(file.path).unwrap_or(PathChoice::Auto) {
                // Nothing but what taps by the tunnel carry goes through it.
                PathChoice::Auto | PathChoice::Udp if way == Way::Nic => PathPolicy::Session,
                PathChoice::Auto => PathPolicy::Auto,
                PathChoice::Udp => PathPolicy::Udp,
                PathChoice::Session => PathPolicy::Session,
            },
            server_image: options.server_image.clone().or(file.server_image),
            starts_server: !options.no_start_server && !file.no_start_server,
            state_dir: options
                .state_dir
                .clone()
                .or(file.state_dir)
                .unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            timeout: options.timeout.unwrap_or(timeout),
        })
    }
}

fn read(path: &Path) -> Result<File> {
    let attempt = || format!("read the config file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(attempt)?;
    toml::from_str(&text)
        .map_err(|error| anyhow!("{}", in_one_line(&text, &error)))
        .with_context(attempt)
}

/// toml draws the line below the message; a sentence names its number.
fn in_one_line(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().replace('\n', ", ");
    match error.span() {
        Some(span) => {
            let line = text[..span.start].matches('\n').count() + 1;
            format!("line {line}: {message}")
        }
        None => message,
    }
}

fn chosen<T>(flags: &[T], file: &[String]) -> Result<Vec<T>>
where
    T: Clone + FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    if !flags.is_empty() {
        return Ok(flags.to_vec());
    }
    let parsed = file.iter().map(|text| text.parse());
    parsed
        .collect::<Result<_, _>>()
        .context("read the config file")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Arguments, Command};

    fn settings(flags: &[&str], file: &str) -> Result<Settings> {
        let arguments = Arguments::parse_from(["dtap-client", "connect"].iter().chain(flags));
        let Command::Connect(options) = arguments.command else {
            unreachable!("the command is connect");
        };
        Settings::merge(&options, toml::from_str(file)?)
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = "context = 'colima'\npath = 'udp'\ninclude = ['web']\ntimeout = 5";
        let settings = settings(&["--path", "session", "--include", "db*"], file).unwrap();
        assert_eq!(settings.engines, [Selection::Context("colima".into())]);
        assert_eq!(settings.policy, PathPolicy::Session);
        assert_eq!(settings.filters.include, ["db*".parse().unwrap()]);
        assert_eq!(settings.timeout, Duration::from_secs(5));
    }

    #[test]
    fn the_file_names_one_engine_or_several() {
        let file = "context = ['a', 'b']\ndocker-host = 'ssh://vm'\nwait = true";
        let several = settings(&[], file).unwrap();
        let expected = [
            Selection::Context("a".into()),
            Selection::Context("b".into()),
            Selection::Host("ssh://vm".into()),
        ];
        assert_eq!(several.engines, expected);
        assert!(several.waits);
        let one = settings(&["--docker-host", "unix:///x.sock"], file).unwrap();
        assert_eq!(one.engines, [Selection::Host("unix:///x.sock".into())]);
        let default = settings(&[], "").unwrap();
        assert_eq!(default.engines, [Selection::Default]);
    }

    #[test]
    fn an_engine_that_is_no_name_is_refused() {
        let error = settings(&[], "context = 5").unwrap_err();
        assert!(
            format!("{error:#}").contains("a list of names"),
            "{error:#}"
        );
    }

    #[test]
    fn a_nic_is_one_engine_s_and_translates_nothing() {
        assert_eq!(settings(&[], "").unwrap().way, Way::Tunnel);
        let tap = settings(&["--path", "udp"], "mode = 'tap'").unwrap();
        assert_eq!((tap.way, tap.policy), (Way::Nic, PathPolicy::Session));
        for (flags, word) in [
            (["--context", "a,b"], "one engine"),
            (["--map", "auto"], "--map"),
            (["--map", "172.18.0.0/16=10.1.0.0/16"], "--map"),
        ] {
            let error = settings(&flags, "mode = 'tap'").unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = settings(&[], "paht = 'udp'").unwrap_err();
        assert!(format!("{error:#}").contains("paht"), "{error:#}");
    }

    #[test]
    fn a_malformed_filter_in_the_file_is_named() {
        let error = settings(&[], "exclude = ['172.18.0.0/33']").unwrap_err();
        assert!(format!("{error:#}").contains("172.18.0.0/33"), "{error:#}");
    }

    #[test]
    fn maps_come_from_the_flags_or_else_from_the_file() {
        let file = "map = ['172.18.0.0/16=10.1.0.0/16', 'auto']";
        let subnet = "172.18.0.0/16".parse().unwrap();
        let mapped = |text: &str| Some(text.parse().unwrap());
        let from_file = settings(&[], file).unwrap().maps;
        assert_eq!(from_file.explicit(subnet), mapped("10.1.0.0/16"));
        assert!(from_file.auto);
        let flags = ["--map", "172.18.0.0/16=10.2.0.0/16,fd00::/64=fd01::/64"];
        let from_flags = settings(&flags, file).unwrap().maps;
        assert_eq!(from_flags.explicit(subnet), mapped("10.2.0.0/16"));
        assert!(!from_flags.auto);
        let overlapping = "map = ['172.18.0.0/16=10.1.0.0/16', '172.18.0.0/16=10.2.0.0/16']";
        let error = settings(&[], overlapping).unwrap_err();
        assert!(format!("{error:#}").contains("overlap"), "{error:#}");
    }
}
