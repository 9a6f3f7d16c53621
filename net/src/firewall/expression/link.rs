//! Where a packet still is a frame.

use std::net::Ipv6Addr;

use netlink_bindings::nftables::{MetaKeys, PayloadBase};

use super::{CSUM_NONE, Checksum, DESTINATION_6, Expression, Field, REG_1, equal};

pub(super) fn to(address: Ipv6Addr) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: MetaKeys::Protocol as u32,
            to: REG_1,
        },
        equal((libc::ETH_P_IPV6 as u16).to_be_bytes().to_vec()),
        Expression::Load {
            field: DESTINATION_6,
            to: REG_1,
        },
        equal(address.octets().to_vec()),
    ]
}

pub(super) fn hand_to(hardware: [u8; 6]) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: MetaKeys::Iftype as u32,
            to: REG_1,
        },
        equal(libc::ARPHRD_ETHER.to_ne_bytes().to_vec()),
        Expression::Value {
            value: hardware.to_vec(),
            to: REG_1,
        },
        Expression::Store {
            field: DESTINATION,
            from: REG_1,
            checksum: Checksum {
                kind: CSUM_NONE,
                offset: 0,
                flags: 0,
            },
        },
    ]
}

/// Of an Ethernet frame.
const DESTINATION: Field = Field {
    base: PayloadBase::LinkLayerHeader as u32,
    offset: 0,
    length: 6,
};
