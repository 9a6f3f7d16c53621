//! The session: what client and server say to each other over the Docker API.
//!
//! One `docker exec` stream carries frames in both directions; a frame is a
//! datagram of the tunnel or a [`Message`]. The client speaks first:
//!
//! ```text
//!  client                                    server
//!    Hello{protocol, version}  ─────────────▶
//!                              ◀─────────────  Hello{protocol, version, boot, …}
//!    Pair{public key, …}       ─────────────▶
//!                              ◀─────────────  Paired{public key, addresses, candidates}
//!    Plan{attachments, taps}   ─────────────▶
//!                              ◀─────────────  PlanDone{problems}
//!    Heartbeat, Path, datagrams ◀──────────▶  Heartbeat, Path, datagrams
//!    Bye                       ─────────────▶  undoes everything, then Bye
//! ```
//!
//! Messages and fields that one end does not know are skipped, so that ends of
//! different versions go on as long as their protocol ranges meet.

mod attachment;
mod frame;
mod message;
mod queue;
mod tap;
mod version;

pub use attachment::{Access, Attachment, Hop, Problem, SiblingKind};
pub use frame::{Datagrams, Decoder, Frame, FrameError, HEADER, encode_datagram, encode_message};
pub use message::{Message, NicOutcome, Paired};
pub use queue::Queue;
pub use tap::{Carrier, Tap, tap_ends};
pub use version::{Hello, PROTOCOL, Protocol, VersionError, XTABLES_LOCK};
