//! macOS: a utun interface, of which the kernel picks the number; for frames a
//! pair of feths.

#[path = "macos/feth.rs"]
mod feth;

use dtap_tunnel::offload::Merge;
use tun_rs::{AsyncDevice, DeviceBuilder};

pub(super) use feth::tap;

pub(super) fn builder() -> DeviceBuilder {
    DeviceBuilder::new().associate_route(false).enable(false)
}

pub(super) const fn prepare(_: &AsyncDevice) {}

/// Neither takes more than one packet at a time.
pub(super) const fn merge(_: &AsyncDevice) -> Merge {
    Merge::Nothing
}
