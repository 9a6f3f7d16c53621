//! End-to-end tests of dtap and the [`lab`] they run in.
//!
//! Nothing is simulated but the Mac: the lab runs a real Docker engine in network namespaces of this machine, without an
//! uplink, and the stories in `tests/` drive the real `dtap-client` and `dtap-server` there.
//!
//! ```no_run
//! use dtap_tests::lab::{Lab, Options};
//!
//! let lab = Lab::start(Options::default())?;
//! let web = lab.container("web", &[])?;
//! assert!(!lab.mac(&["ping", "-c1", "-W1", &web.v4()?.to_string()]).success());
//! # anyhow::Ok(())
//! ```

pub mod lab;
mod wait;

pub use wait::wait_until;
