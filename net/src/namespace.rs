//! Which network namespace this process is in, and whether a daemon shares it.

#[cfg_attr(target_os = "linux", path = "namespace/linux.rs")]
#[cfg_attr(target_os = "macos", path = "namespace/macos.rs")]
mod imp;

use std::path::Path;

/// The kernel's boot ID and the namespace's inode, comparable across
/// containers; `None` where there are no namespaces.
pub fn current() -> Option<String> {
    imp::current()
}

/// Whether the process that listens on this unix socket is a Docker daemon, or
/// the init that activates one, in this process's own network namespace.
pub fn is_shared_with_daemon(socket: &Path) -> bool {
    imp::is_shared_with_daemon(socket)
}
