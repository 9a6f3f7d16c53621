//! macOS: a utun interface; the kernel picks the number.

use tun_rs::DeviceBuilder;

pub(super) fn builder() -> DeviceBuilder {
    DeviceBuilder::new().associate_route(false).enable(false)
}
