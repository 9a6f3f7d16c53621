//! `tap`: Ethernet between this host and the engine's machine.
//!
//! The HyperKit carrier gives Docker's VM a NIC: a shim in HyperKit's place starts it with one
//! device more. What is there is gathered as [`facts`], what to do is decided by [`plan`] without
//! touching anything, and [`change`] does it wholly or not at all.

mod attach;
mod change;
mod facts;
mod hyperkit;
mod install;
mod nic;
mod plan;
mod record;
mod restart;
mod status;
#[cfg(test)]
mod tests;
mod wish;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand, value_parser};

use crate::cli::StateDir;
pub(crate) use nic::{Nic, all as all_nics, nics, repair};
pub(crate) use wish::{CarrierChoice, NetworkName, Wish};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    root: Root,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Give Docker's VM a network interface of ours: on Intel Macs with HyperKit and tuntap
    ///
    /// Puts a small program in HyperKit's place that starts the original with one device more, and
    /// with the same arguments wherever it is not sure. Repeat it after an update of Docker.
    Install {
        /// How many interfaces [default: as many as there are, else 1]
        #[arg(long, value_name = "N", env = "DTAP_NICS", value_parser = value_parser!(u8).range(1..=15))]
        nics: Option<u8>,
        #[command(flatten)]
        how: How,
    },
    /// Put HyperKit back as it was
    Uninstall {
        #[command(flatten)]
        how: How,
    },
    /// Be in a network's Ethernet: ARP, broadcasts, mDNS and all
    ///
    /// The running client keeps this host attached until `tap detach` or its own end.
    Attach {
        #[command(flatten)]
        state: StateDir,
        /// Name of the network; of several engines, CONNECTION/NAME
        network: String,
        /// What carries the frames
        #[arg(long, env = "DTAP_CARRIER", value_enum, default_value = "auto")]
        carrier: CarrierChoice,
        /// This host's address in the network; a free one by default
        #[arg(long, env = "DTAP_ADDRESS", value_name = "IP")]
        address: Option<IpAddr>,
    },
    /// Leave a network's Ethernet
    Detach {
        #[command(flatten)]
        state: StateDir,
        /// Name of the network; of several engines, CONNECTION/NAME
        network: String,
    },
    /// Print the name of a NIC of the VM for `docker network create -d macvlan -o parent=NAME`
    ///
    /// Containers of such a network are in the Ethernet of this host's end of the NIC. `tap attach` takes an address
    /// there.
    Parent {
        #[command(flatten)]
        state: StateDir,
    },
    /// Show whether the VM gets its interfaces; exit 0 when all is in place
    Status {
        /// Print JSON
        #[arg(long, env = "DTAP_JSON")]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct How {
    /// Print what would be done and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Quit and start Docker, too: only then does the VM change
    #[arg(long)]
    restart: bool,
}

/// Where paths begin: `/`, or the lab's directory.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Root {
    /// A directory that stands for `/`, in the lab
    #[arg(
        id = "root",
        long = "root",
        global = true,
        hide = true,
        env = "DTAP_TAP_ROOT"
    )]
    directory: Option<PathBuf>,
}

impl Root {
    fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        match &self.directory {
            Some(root) => root.join(absolute.strip_prefix("/").unwrap_or(absolute)),
            None => absolute.to_owned(),
        }
    }

    fn is_lab(&self) -> bool {
        self.directory.is_some()
    }
}

pub(crate) async fn command(arguments: Arguments) -> Result<ExitCode> {
    let root = arguments.root;
    match arguments.command {
        Command::Install { nics, how } => install::install(&root, nics, how),
        Command::Uninstall { how } => install::uninstall(&root, how),
        Command::Status { json } => status::command(&root, json),
        Command::Attach {
            state,
            network,
            carrier,
            address,
        } => {
            let wish = Wish {
                network: network.as_str().into(),
                carrier,
                address,
            };
            attach::attach(&state.directory, wish).await
        }
        Command::Parent { state } => attach::parent(&state.directory).await,
        Command::Detach { state, network } => {
            attach::detach(&state.directory, network.as_str().into()).await
        }
    }
}
