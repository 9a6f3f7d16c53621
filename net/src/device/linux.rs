//! Linux: a tun interface `dtapN`; the kernel fills in the first free number.

use tun_rs::DeviceBuilder;

pub(super) fn builder() -> DeviceBuilder {
    DeviceBuilder::new().name("dtap%d").enable(false)
}
