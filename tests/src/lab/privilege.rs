use std::env;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

/// Whether this process may run a lab. If not, says so on standard error, for a test that then skips itself.
pub fn can_run() -> bool {
    match require_root() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
    }
}

/// # Errors
/// When not root, with the command that would be.
pub fn require_root() -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    let command: Vec<_> = env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    bail!("a lab needs root; run: sudo {}", command.join(" "));
}
