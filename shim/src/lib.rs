//! What the shim knows: HyperKit's argument list, and how to add a NIC to it.
//!
//! ```text
//!  …/bin/com.docker.hyperkit                 the shim, which Docker starts
//!  …/bin/com.docker.hyperkit.dtap            the record: which NICs to add
//!  …/bin/com.docker.hyperkit.dtap-original   HyperKit, which the shim becomes
//! ```
//!
//! Docker must always boot: whatever [`inject()`] is not sure of is a [`Doubt`], upon which the
//! original gets the arguments as they were. Nothing here does I/O.

#![forbid(unsafe_code)]

mod getopt;
mod inject;
mod nic;
mod slot;

pub use inject::{Doubt, inject};
pub use nic::{Mac, Nic, nics};

/// Ends the name of the original, which lies beside the shim.
pub const ORIGINAL: &str = ".dtap-original";

/// Ends the name of the record, which lies beside the shim.
pub const RECORD: &str = ".dtap";

/// Stands in every shim of any version, and in no HyperKit.
pub const MARKER: &str = "dtap-shim in the place of HyperKit";
