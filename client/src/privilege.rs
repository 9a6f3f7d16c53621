//! Root, where it is needed, is asked for first and with the exact command.

use anyhow::{Result, bail};

/// Fails unless this process is root, saying why it must be.
pub(crate) fn require_root(why: &str) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let command: Vec<_> = std::env::args().map(|argument| quoted(&argument)).collect();
    bail!("{why} needs root: run `sudo {}`", command.join(" "))
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("--include"), "--include");
        assert_eq!(quoted("web*"), "'web*'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
