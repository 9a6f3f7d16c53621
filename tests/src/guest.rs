//! Tests that need another kernel than this machine's: they run themselves again, in a virtual machine.
//!
//! ```no_run
//! # use anyhow::Result;
//! use dtap_tests::guest;
//!
//! #[test]
//! fn a_bond_has_two_slaves() -> Result<()> {
//!     if !guest::is_here() {
//!         return guest::run("a_bond_has_two_slaves", &["bonding"]);
//!     }
//!     // What follows is done by Debian's kernel.
//!     Ok(())
//! }
//! ```

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client;
use crate::lab::{ENGINE_MODULES, Engine, Vm, VmOptions, cache, can_run, found};

/// Whether the virtual machine is where this program runs.
pub fn is_here() -> bool {
    env::var_os(HERE).is_some()
}

/// Runs the test of this name there, with these kernel modules and iproute2. Says so and does nothing where it cannot.
///
/// # Errors
/// When it failed, with what the kernel said; what the test said is on standard error.
pub fn run(test: &str, modules: &[&str]) -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    boot(test, modules, Equipment::network()?)
}

/// As [`run`], with all that a [`Lab`](crate::lab::Lab) needs, and a client.
///
/// # Errors
/// As [`run`].
pub fn run_with_lab(test: &str, modules: &[&str]) -> Result<()> {
    if !can_run() || !Vm::can_run() {
        return Ok(());
    }
    let modules = [&ENGINE_MODULES, modules].concat();
    boot(test, &modules, Equipment::lab()?)
}

/// What a test finds there.
#[derive(Debug)]
struct Equipment {
    programs: Vec<PathBuf>,
    files: &'static [&'static str],
    variables: String,
    memory_mib: u32,
    deadline: Duration,
}

impl Equipment {
    fn network() -> Result<Self> {
        Ok(Self {
            programs: vec![found("ip")?],
            files: &[],
            variables: format!("export {HERE}=1\n"),
            memory_mib: 512,
            deadline: Duration::from_secs(120),
        })
    }

    fn lab() -> Result<Self> {
        let client = client::program();
        let client = fs::canonicalize(&client).with_context(|| {
            format!(
                "find the client {}; `make build` makes it",
                client.display()
            )
        })?;
        let cache = cache()?;
        let variables = format!(
            "export {HERE}=1 DTAP_CLIENT='{}' DTAP_LAB_CACHE='{}'\n",
            client.display(),
            cache.display()
        );
        let mut programs = Engine::newest()?.programs();
        programs.push(client);
        for name in LAB_PROGRAMS {
            programs.push(found(name)?);
        }
        Ok(Self {
            programs,
            files: &["/usr/lib/x86_64-linux-gnu/xtables"],
            variables,
            memory_mib: 2048,
            deadline: Duration::from_secs(300),
        })
    }
}

fn boot(test: &str, modules: &[&str], equipment: Equipment) -> Result<()> {
    let begin = Instant::now();
    let own = env::current_exe().context("find this program")?;
    let programs = equipment.programs.iter().chain([&own]);
    let programs: Vec<_> = programs.map(PathBuf::as_path).collect();
    let files: Vec<_> = equipment
        .files
        .iter()
        .map(|it| (Path::new(*it), Path::new(*it)))
        .collect();
    let command = format!(
        "{}'{}' --exact {test} --nocapture\n",
        equipment.variables,
        own.display()
    );
    let options = VmOptions {
        programs: &programs,
        files: &files,
        modules,
        command: &command,
        memory_mib: equipment.memory_mib,
    };
    let output = Vm::run(&options, equipment.deadline)?;
    eprintln!(
        "{}in a virtual machine, {:.1?}",
        output.stdout,
        begin.elapsed()
    );
    // A name that no test has would be none failed, too.
    let passed = output.success() && output.stdout.contains(" 1 passed");
    ensure!(
        passed,
        "{test} failed, and the kernel said:\n{}",
        output.stderr
    );
    Ok(())
}

const HERE: &str = "DTAP_TEST_IN_VM";

/// Those of which busybox's cannot do all that is asked of them.
const LAB_PROGRAMS: [&str; 7] = [
    "bash",
    "ip",
    "mount",
    "nft",
    "nsenter",
    "unshare",
    "xtables-nft-multi",
];
