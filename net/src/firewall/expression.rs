//! Statements as the instructions of the kernel's virtual machine. Pure.

use std::net::IpAddr;

use netlink_bindings::nftables::{CmpOps, CtKeys, MetaKeys, PayloadBase, Registers, VerdictCode};

use crate::foothold;

use super::ruleset::{Direction, Family, Set, Statement};

mod link;

/// One instruction. Registers are in the kernel's numbering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Meta {
        key: u32,
        to: u32,
    },
    Conntrack {
        key: u32,
        to: u32,
    },
    Compare {
        operator: u32,
        register: u32,
        value: Vec<u8>,
    },
    Load {
        field: Field,
        to: u32,
    },
    Store {
        field: Field,
        from: u32,
        checksum: Checksum,
    },
    /// A constant.
    Value {
        value: Vec<u8>,
        to: u32,
    },
    Bitwise {
        register: u32,
        mask: Vec<u8>,
        xor: Vec<u8>,
    },
    Lookup {
        set: String,
        register: u32,
    },
    SourceNat {
        protocol: u32,
        register: u32,
    },
    Masquerade,
    Counter,
    Verdict(u32),
}

/// Bytes of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) base: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// Which checksums a store keeps right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum {
    pub(super) kind: u32,
    pub(super) offset: u32,
    pub(super) flags: u32,
}

/// The instructions of a rule.
pub(super) fn lower(rule: &[Statement]) -> Vec<Expression> {
    rule.iter().flat_map(instructions).collect()
}

/// The key of an address in a set.
pub(super) fn address_key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The key of an interface in a set.
pub(super) fn interface_key(name: &str) -> Vec<u8> {
    padded(name).to_vec()
}

fn instructions(statement: &Statement) -> Vec<Expression> {
    match statement {
        Statement::Interface(direction, name) => vec![
            Expression::Meta {
                key: direction.meta(),
                to: REG_1,
            },
            equal(padded(name).to_vec()),
        ],
        Statement::FlipDestination(family) => flip(*family),
        Statement::Attached(family, bridge) => {
            let (address, set) = match (family, bridge) {
                (Family::V4, Direction::Out) => (SOURCE_4, Set::Attached4),
                (Family::V4, Direction::In) => (DESTINATION_4, Set::Attached4),
                (Family::V6, Direction::Out) => (SOURCE_6, Set::Attached6),
                (Family::V6, Direction::In) => (DESTINATION_6, Set::Attached6),
            };
            address_and_interface(*family, address, *bridge, set)
        }
        Statement::AtHome(family) => {
            let (address, set) = match family {
                Family::V4 => (SOURCE_4, Set::Hosts4),
                Family::V6 => (SOURCE_6, Set::Hosts6),
            };
            address_and_interface(*family, address, Direction::In, set)
        }
        Statement::Outward(family) => {
            let (address, set) = match family {
                Family::V4 => (SOURCE_4, Set::Outward4),
                Family::V6 => (SOURCE_6, Set::Outward6),
            };
            address_and_interface(*family, address, Direction::Out, set)
        }
        Statement::Caller(family) => {
            let (called, caller, second, set) = match family {
                Family::V4 => (DESTINATION_4, SOURCE_4, REG_32_1, Set::Callers4),
                Family::V6 => (DESTINATION_6, SOURCE_6, REG_2, Set::Callers6),
            };
            let mut expressions = of_family(*family);
            expressions.extend([
                Expression::Load {
                    field: called,
                    to: REG_1,
                },
                Expression::Load {
                    field: caller,
                    to: second,
                },
                lookup(set),
            ]);
            expressions
        }
        Statement::Excluded(family, direction) => {
            let (field, set) = match (family, direction) {
                (Family::V4, Direction::Out) => (DESTINATION_4, Set::Excluded4),
                (Family::V4, Direction::In) => (SOURCE_4, Set::Excluded4),
                (Family::V6, Direction::Out) => (DESTINATION_6, Set::Excluded6),
                (Family::V6, Direction::In) => (SOURCE_6, Set::Excluded6),
            };
            let mut expressions = of_family(*family);
            expressions.extend([Expression::Load { field, to: REG_1 }, lookup(set)]);
            expressions
        }
        Statement::ByFoothold(direction) => vec![
            Expression::Meta {
                key: direction.meta(),
                to: REG_1,
            },
            lookup(Set::Footholds),
        ],
        Statement::NeedsMasquerade(family) => {
            let (field, set) = match family {
                Family::V4 => (DESTINATION_4, Set::Masquerade4),
                Family::V6 => (DESTINATION_6, Set::Masquerade6),
            };
            let mut expressions = of_family(*family);
            expressions.extend([Expression::Load { field, to: REG_1 }, lookup(set)]);
            expressions
        }
        Statement::ByOwnFoothold(direction) => vec![
            Expression::Meta {
                key: direction.meta(),
                to: REG_1,
            },
            equal(foothold::PREFIX.as_bytes().to_vec()),
        ],
        Statement::To(address) => link::to(*address),
        Statement::HandTo(hardware) => link::hand_to(*hardware),
        Statement::Discovery(message) => vec![
            Expression::Meta {
                key: MetaKeys::L4Proto as u32,
                to: REG_1,
            },
            equal(vec![libc::IPPROTO_ICMPV6 as u8]),
            Expression::Load {
                field: ICMP_TYPE,
                to: REG_1,
            },
            equal(vec![*message as u8]),
        ],
        Statement::Established => tracked_as(CT_ESTABLISHED | CT_RELATED),
        Statement::Unknown => tracked_as(CT_INVALID | CT_NEW),
        Statement::KeepSource(family) => {
            let field = match family {
                Family::V4 => SOURCE_4,
                Family::V6 => SOURCE_6,
            };
            let mut expressions = of_family(*family);
            expressions.push(Expression::Load { field, to: REG_1 });
            expressions.push(Expression::SourceNat {
                protocol: family.protocol().into(),
                register: REG_1,
            });
            expressions
        }
        Statement::Masquerade => vec![Expression::Masquerade],
        Statement::Counter => vec![Expression::Counter],
        Statement::Accept => vec![Expression::Verdict(VerdictCode::Accept as u32)],
        Statement::Drop => vec![Expression::Verdict(VerdictCode::Drop as u32)],
    }
}

/// The kernel corrects the IPv4 header's checksum, and those of TCP, UDP and ICMPv6 through their
/// pseudo-header.
fn flip(family: Family) -> Vec<Expression> {
    let (field, checksum) = match family {
        Family::V4 => (
            DESTINATION_4,
            Checksum {
                kind: CSUM_INET,
                offset: IPV4_CHECKSUM,
                flags: L4CSUM_PSEUDOHDR,
            },
        ),
        Family::V6 => (
            DESTINATION_6,
            Checksum {
                kind: CSUM_NONE,
                offset: 0,
                flags: L4CSUM_PSEUDOHDR,
            },
        ),
    };
    let length = field.length as usize;
    let mut first_bit = vec![0; length];
    first_bit[0] = 0x80;
    let mut expressions = of_family(family);
    expressions.extend([
        Expression::Load { field, to: REG_1 },
        Expression::Bitwise {
            register: REG_1,
            mask: vec![0xff; length],
            xor: first_bit,
        },
        Expression::Store {
            field,
            from: REG_1,
            checksum,
        },
    ]);
    expressions
}

/// Whether an address and the interface of this direction are together in a set.
fn address_and_interface(
    family: Family,
    address: Field,
    interface: Direction,
    set: Set,
) -> Vec<Expression> {
    let second = match family {
        Family::V4 => REG_32_1,
        Family::V6 => REG_2,
    };
    let mut expressions = of_family(family);
    expressions.extend([
        Expression::Load {
            field: address,
            to: REG_1,
        },
        Expression::Meta {
            key: interface.meta(),
            to: second,
        },
        lookup(set),
    ]);
    expressions
}

/// In one of the states of this mask.
fn tracked_as(states: u32) -> Vec<Expression> {
    vec![
        Expression::Conntrack {
            key: CtKeys::State as u32,
            to: REG_1,
        },
        Expression::Bitwise {
            register: REG_1,
            mask: states.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        },
        Expression::Compare {
            operator: CmpOps::Neq as u32,
            register: REG_1,
            value: vec![0; 4],
        },
    ]
}

fn of_family(family: Family) -> Vec<Expression> {
    vec![
        Expression::Meta {
            key: MetaKeys::Nfproto as u32,
            to: REG_1,
        },
        equal(vec![family.protocol()]),
    ]
}

fn equal(value: Vec<u8>) -> Expression {
    Expression::Compare {
        operator: CmpOps::Eq as u32,
        register: REG_1,
        value,
    }
}

fn lookup(set: Set) -> Expression {
    Expression::Lookup {
        set: set.name().to_owned(),
        register: REG_1,
    }
}

fn padded(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut bytes = [0; libc::IFNAMSIZ];
    bytes
        .iter_mut()
        .zip(name.bytes())
        .for_each(|(to, from)| *to = from);
    bytes
}

impl Direction {
    fn meta(self) -> u32 {
        match self {
            Self::In => MetaKeys::Iifname as u32,
            Self::Out => MetaKeys::Oifname as u32,
        }
    }
}

impl Family {
    fn protocol(self) -> u8 {
        match self {
            Self::V4 => libc::NFPROTO_IPV4 as u8,
            Self::V6 => libc::NFPROTO_IPV6 as u8,
        }
    }
}

const SOURCE_4: Field = Field {
    base: NETWORK,
    offset: 12,
    length: 4,
};
const DESTINATION_4: Field = Field {
    base: NETWORK,
    offset: 16,
    length: 4,
};
const SOURCE_6: Field = Field {
    base: NETWORK,
    offset: 8,
    length: 16,
};
const DESTINATION_6: Field = Field {
    base: NETWORK,
    offset: 24,
    length: 16,
};
const ICMP_TYPE: Field = Field {
    base: PayloadBase::TransportHeader as u32,
    offset: 0,
    length: 1,
};
const NETWORK: u32 = PayloadBase::NetworkHeader as u32;
const IPV4_CHECKSUM: u32 = 10;

const REG_1: u32 = Registers::Reg1 as u32;
/// The parts of a concatenation stand in adjacent 32-bit registers: after an IPv4 address comes the
/// second of them,
const REG_32_1: u32 = Registers::Reg3201 as u32;
/// after an IPv6 address the fifth, which has the name of the second 128-bit one.
const REG_2: u32 = Registers::Reg2 as u32;

/// `NF_CT_STATE_BIT` of `enum ip_conntrack_info` in the kernel's `nf_conntrack_common.h`.
const CT_INVALID: u32 = 1;
const CT_ESTABLISHED: u32 = 1 << 1;
const CT_RELATED: u32 = 1 << 2;
const CT_NEW: u32 = 1 << 3;
/// `enum nft_payload_csum_types` and `enum nft_payload_csum_flags` in the kernel's `nf_tables.h`.
const CSUM_NONE: u32 = 0;
const CSUM_INET: u32 = 1;
const L4CSUM_PSEUDOHDR: u32 = 1;
