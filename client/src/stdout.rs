//! Results go to stdout, and nobody minds if it was closed early (`… | head`).

use std::io::Write as _;

/// Writes `text` as it is.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        tracing::debug!(%error, "stdout is closed");
    }
}

/// Writes `text` and ends the line.
pub(crate) fn say(text: &str) {
    print(&format!("{text}\n"));
}
