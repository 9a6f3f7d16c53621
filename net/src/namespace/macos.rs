//! macOS has no network namespaces, and no engine runs on it natively.

use std::path::Path;

pub(super) const fn current() -> Option<String> {
    None
}

pub(super) const fn is_shared_with_daemon(_socket: &Path) -> bool {
    false
}
