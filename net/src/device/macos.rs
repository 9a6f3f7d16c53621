//! macOS: a utun interface; the kernel picks the number.

use dtap_tunnel::offload::Merge;
use tun_rs::{AsyncDevice, DeviceBuilder};

pub(super) fn builder() -> DeviceBuilder {
    DeviceBuilder::new().associate_route(false).enable(false)
}

pub(super) const fn prepare(_: &AsyncDevice) {}

/// A utun interface takes one packet at a time.
pub(super) const fn merge(_: &AsyncDevice) -> Merge {
    Merge::Nothing
}
