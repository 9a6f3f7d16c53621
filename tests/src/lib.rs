//! End-to-end tests of dtap and the [`lab`] they run in.
//!
//! Nothing is simulated but the Mac: the lab runs a real Docker engine in network namespaces of this machine, without an
//! uplink, and the stories in `tests/` drive the real `dtap-client` and `dtap-server` there.
//!
//! ```no_run
//! # #[cfg(target_os = "linux")]
//! # fn story() -> anyhow::Result<()> {
//! use dtap_tests::lab::{Lab, Options};
//!
//! let lab = Lab::start(Options::default())?;
//! let web = lab.container("web", &[])?;
//! assert!(!lab.mac(&["ping", "-c1", "-W1", &web.v4()?.to_string()]).success());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
pub mod capture;
#[cfg(target_os = "linux")]
pub mod churn;
#[cfg(target_os = "linux")]
pub mod client;
#[cfg(target_os = "linux")]
pub mod echo;
#[cfg(target_os = "linux")]
pub mod guest;
#[cfg(target_os = "linux")]
pub mod host;
#[cfg(target_os = "linux")]
pub mod inside;
#[cfg(target_os = "linux")]
pub mod lab;
#[cfg(target_os = "linux")]
pub mod machines;
#[cfg(target_os = "linux")]
pub mod matrix;
#[cfg(target_os = "linux")]
pub mod mdns;
#[cfg(target_os = "linux")]
pub mod misuse;
#[cfg(target_os = "linux")]
pub mod old_engine;
#[cfg(target_os = "linux")]
pub mod pings;
#[cfg(target_os = "linux")]
pub mod taps;
#[cfg(target_os = "linux")]
pub mod traffic;
#[cfg(target_os = "linux")]
pub mod transfer;
mod wait;

pub use wait::{keeps_promise, wait_until, within};
