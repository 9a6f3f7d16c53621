//! Everything that is said to a container engine.
//!
//! [`find()`] decides which engine is meant, [`Engine`] talks to it. Nothing of the HTTP library leaves this module.

mod container;
mod context;
mod dial;
mod endpoint;
mod engine;
mod environment;
mod equip;
mod events;
mod find;
mod image;
mod leg;
mod network;
mod presence;
mod refusal;
mod reset;
mod server;
mod session;
mod swarm;

pub use container::{Container, Endpoint as ContainerEndpoint, Port, Protocol};
pub use endpoint::{Certificates, Endpoint};
pub use engine::{Engine, Facts};
pub use environment::{Environment, User};
pub use events::{Event, EventKind};
pub use find::{Choice, Selection, Target, choose, find};
pub use image::ImageId;
pub use leg::{LEG_LABEL, LegInput, UPLINK as LEG_UPLINK};
pub use network::{Network, Subnet};
pub use presence::Presence;
pub use refusal::is_absent;
pub use server::{Health, ServerContainer, ServerState};
pub use session::{Session, SessionInput, SessionOutput, SessionProcess};
pub use swarm::{GATEWAY_BRIDGE, Remote, Swarm};

/// A network or container with this label set to `false` is left alone.
pub const ENABLE_LABEL: &str = "dtap.enable";
