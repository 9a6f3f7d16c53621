//! The command line. The doc comments are the help.

mod engines;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::image::Arch;
use crate::plan::{Filter, Map, Maps};
use crate::tap::{self, Root};
pub(crate) use engines::EngineChoice;

/// Reach Docker containers by IP, as if Docker ran natively
#[derive(Debug, Parser)]
#[command(name = "dtap-client", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log more to stderr; repeat for more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = LOGGING)]
    pub(crate) verbose: u8,

    /// Log errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = LOGGING)]
    pub(crate) quiet: u8,

    /// What to log, in the syntax of tracing's EnvFilter
    #[arg(long, global = true, env = "DTAP_LOG", hide = true)]
    pub(crate) log: Option<String>,
}

const LOGGING: &str = "Logging";

impl Arguments {
    /// Reads the command line; what is wrong with it is said, with exit code 2.
    pub(crate) fn parse_checked() -> Self {
        let arguments = Self::parse();
        if let Command::Connect(options) = &arguments.command
            && let Err(error) = Maps::new(&options.map)
        {
            Self::command()
                .error(ErrorKind::ArgumentConflict, error)
                .exit();
        }
        arguments
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the tunnel up and stay in the foreground
    ///
    /// Starts the server container where none runs, and follows the engine from then on. Prints one
    /// line per change of state. Ctrl-C undoes everything. Of several engines, each has a tunnel of
    /// its own, and those that do not run yet are followed until they appear.
    Connect(ConnectOptions),
    /// End the running client and undo everything
    ///
    /// The server container stays, without any kernel state.
    Disconnect {
        #[command(flatten)]
        state: StateDir,
    },
    /// Show the state of every connection; exit 0 when connected
    Status {
        #[command(flatten)]
        state: StateDir,
        /// Print JSON
        #[arg(long, env = "DTAP_JSON")]
        json: bool,
        /// Print again each second until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// List containers with their addresses, and whether each is reachable
    Ls {
        #[command(flatten)]
        state: StateDir,
        #[command(flatten)]
        engine: EngineChoice,
        /// Print JSON
        #[arg(long, env = "DTAP_JSON")]
        json: bool,
    },
    /// Reach networks by Ethernet, not by IP alone
    Tap(tap::Arguments),
    /// Write the server image to stdout, for `docker load`
    Image {
        /// Architecture of the engine; this machine's by default
        #[arg(long, env = "DTAP_ARCH", value_enum)]
        arch: Option<Arch>,
    },
    /// Disconnect and remove the server container
    Uninstall {
        #[command(flatten)]
        state: StateDir,
        #[command(flatten)]
        engine: EngineChoice,
        /// Remove its volume, its images, and this host's keys and state, too
        #[arg(long)]
        purge: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StateDir {
    /// Directory of this client's keys, lock and socket
    #[arg(
        id = "state_dir",
        long = "state-dir",
        value_name = "DIR",
        env = "DTAP_STATE_DIR",
        default_value = DEFAULT_STATE_DIR
    )]
    pub(crate) directory: PathBuf,
}

pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/dtap-client";

#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectOptions {
    #[command(flatten)]
    pub(crate) engine: EngineChoice,

    /// Return once connected and go on in the background
    #[arg(short, long, env = "DTAP_DETACH")]
    pub(crate) detach: bool,

    /// Wait for engines that do not run yet
    #[arg(long, env = "DTAP_WAIT")]
    pub(crate) wait: bool,

    /// With --detach: give up after this many seconds [default: 30]
    #[arg(long, value_name = "SECONDS", env = "DTAP_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,

    /// Reach only networks of this name (a glob) or inside this CIDR; repeatable
    #[arg(
        long,
        value_name = "NET|CIDR",
        env = "DTAP_INCLUDE",
        value_delimiter = ','
    )]
    pub(crate) include: Vec<Filter>,

    /// Do not reach networks of this name (a glob) or overlapping this CIDR; repeatable
    #[arg(
        long,
        value_name = "NET|CIDR",
        env = "DTAP_EXCLUDE",
        value_delimiter = ','
    )]
    pub(crate) exclude: Vec<Filter>,

    /// Reach a clashing subnet under another prefix, or with `auto` every one; repeatable
    #[arg(
        long,
        value_name = "CIDR=CIDR|auto",
        env = "DTAP_MAP",
        value_delimiter = ','
    )]
    pub(crate) map: Vec<Map>,

    /// How datagrams reach the engine [default: auto]
    #[arg(long, value_enum, env = "DTAP_PATH")]
    pub(crate) path: Option<PathChoice>,

    /// How packets reach the containers [default: auto]
    #[arg(long, value_enum, env = "DTAP_MODE")]
    pub(crate) mode: Option<Mode>,

    /// Image of the server, one the engine has, instead of the one this client carries
    #[arg(long, value_name = "REF", env = "DTAP_SERVER_IMAGE")]
    pub(crate) server_image: Option<String>,

    /// Fail where no server container runs
    #[arg(long, env = "DTAP_NO_START_SERVER")]
    pub(crate) no_start_server: bool,

    /// Directory of this client's keys, lock and socket [default: /var/lib/dtap-client]
    #[arg(long, value_name = "DIR", env = "DTAP_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// TOML file with the same keys as these flags; flags win
    #[arg(long, value_name = "FILE", env = "DTAP_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) root: Root,

    /// This process is the background half of --detach
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PathChoice {
    /// UDP where it works, else the session
    Auto,
    /// UDP only
    Udp,
    /// The Docker API only
    Session,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// The best that works
    Auto,
    /// IP through the tunnel
    Tunnel,
    /// IP by the network interface that `tap install` gives Docker's VM
    Tap,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "give a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "give a positive number of seconds".to_owned())
}
