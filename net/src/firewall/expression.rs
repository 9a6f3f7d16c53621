//! Statements as the instructions of the kernel's virtual machine, to netlink and back.
//!
//! Encoding a rule and decoding what the kernel then lists gives the same instructions: that is how an intact table
//! is recognised.

use std::net::IpAddr;

use netlink_bindings::nftables::{
    CmpOps, CtKeys, ExprOps, IterableDataAttrs, IterableExprListAttrs, MetaKeys, PayloadBase,
    PushExprListAttrs, Registers, VerdictCode,
};
use netlink_bindings::traits::Pusher;

use super::ruleset::{Direction, Family, Set, Statement};

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

/// Bytes of the network header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    offset: u32,
    length: u32,
}

/// Which checksums a store keeps right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum {
    kind: u32,
    offset: u32,
    flags: u32,
}

/// The instructions of a rule.
pub(super) fn lower(rule: &[Statement]) -> Vec<Expression> {
    rule.iter().flat_map(instructions).collect()
}

/// A set key: an address alone, or an address and an interface.
pub(super) fn key(address: IpAddr, bridge: Option<&str>) -> Vec<u8> {
    let mut key = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    key.extend(bridge.into_iter().flat_map(padded));
    key
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
            let (address, second, set) = match (family, bridge) {
                (Family::V4, Direction::Out) => (SOURCE_4, REG_32_1, Set::Attached4),
                (Family::V4, Direction::In) => (DESTINATION_4, REG_32_1, Set::Attached4),
                (Family::V6, Direction::Out) => (SOURCE_6, REG_2, Set::Attached6),
                (Family::V6, Direction::In) => (DESTINATION_6, REG_2, Set::Attached6),
            };
            let mut expressions = of_family(*family);
            expressions.push(Expression::Load {
                field: address,
                to: REG_1,
            });
            expressions.push(Expression::Meta {
                key: bridge.meta(),
                to: second,
            });
            expressions.push(lookup(set));
            expressions
        }
        Statement::NeedsMasquerade(family) => {
            let (field, set) = match family {
                Family::V4 => (DESTINATION_4, Set::Masquerade4),
                Family::V6 => (DESTINATION_6, Set::Masquerade6),
            };
            let mut expressions = of_family(*family);
            expressions.extend([Expression::Load { field, to: REG_1 }, lookup(set)]);
            expressions
        }
        Statement::Established => vec![
            Expression::Conntrack {
                key: CtKeys::State as u32,
                to: REG_1,
            },
            Expression::Bitwise {
                register: REG_1,
                mask: (CT_ESTABLISHED | CT_RELATED).to_ne_bytes().to_vec(),
                xor: vec![0; 4],
            },
            Expression::Compare {
                operator: CmpOps::Neq as u32,
                register: REG_1,
                value: vec![0; 4],
            },
        ],
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

/// The kernel corrects the IPv4 header's checksum, and those of TCP, UDP and ICMPv6 through their pseudo-header.
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

/// Appends one instruction to a rule's list.
pub(super) fn encode<Prev: Pusher>(
    list: PushExprListAttrs<Prev>,
    expression: &Expression,
) -> PushExprListAttrs<Prev> {
    let element = list.nested_elem();
    match expression {
        Expression::Meta { key, to } => element
            .nested_data_meta()
            .push_key(*key)
            .push_dreg(*to)
            .end_nested()
            .end_nested(),
        Expression::Conntrack { key, to } => element
            .nested_data_ct()
            .push_key(*key)
            .push_dreg(*to)
            .end_nested()
            .end_nested(),
        Expression::Compare {
            operator,
            register,
            value,
        } => {
            let compare = element
                .nested_data_cmp()
                .push_sreg(*register)
                .push_op(*operator);
            compare
                .nested_data()
                .push_value(value)
                .end_nested()
                .end_nested()
                .end_nested()
        }
        Expression::Load { field, to } => {
            let load = element
                .nested_data_payload()
                .push_dreg(*to)
                .push_base(PayloadBase::NetworkHeader as u32);
            load.push_offset(field.offset)
                .push_len(field.length)
                .end_nested()
                .end_nested()
        }
        Expression::Store {
            field,
            from,
            checksum,
        } => {
            let store = element
                .nested_data_payload()
                .push_sreg(*from)
                .push_base(PayloadBase::NetworkHeader as u32);
            let store = store.push_offset(field.offset).push_len(field.length);
            let store = store
                .push_csum_type(checksum.kind)
                .push_csum_offset(checksum.offset);
            store
                .push_csum_flags(checksum.flags)
                .end_nested()
                .end_nested()
        }
        Expression::Bitwise {
            register,
            mask,
            xor,
        } => {
            let bitwise = element
                .nested_data_bitwise()
                .push_sreg(*register)
                .push_dreg(*register);
            let bitwise = bitwise
                .push_len(mask.len() as u32)
                .nested_mask()
                .push_value(mask)
                .end_nested();
            bitwise
                .nested_xor()
                .push_value(xor)
                .end_nested()
                .end_nested()
                .end_nested()
        }
        Expression::Lookup { set, register } => {
            // The bindings' specification has the attributes of a lookup in another order than `nf_tables.h`: its
            // set identifier (2) is the source register.
            let lookup = element.nested_data_lookup().push_set_bytes(set.as_bytes());
            lookup.push_set_id(*register).end_nested().end_nested()
        }
        Expression::SourceNat { protocol, register } => {
            let nat = element
                .nested_data_nat()
                .push_type(NAT_SNAT)
                .push_family(*protocol);
            nat.push_reg_addr_min(*register).end_nested().end_nested()
        }
        Expression::Masquerade => element.push_name(c"masq").end_nested(),
        Expression::Counter => element.nested_data_counter().end_nested().end_nested(),
        Expression::Verdict(code) => {
            let immediate = element
                .nested_data_immediate()
                .push_dreg(Registers::RegVerdict as u32);
            let data = immediate
                .nested_data()
                .nested_verdict()
                .push_code(*code)
                .end_nested();
            data.end_nested().end_nested().end_nested()
        }
    }
}

/// The instructions of a listed rule; none if it has any that we never use.
pub(super) fn decode(list: &IterableExprListAttrs<'_>) -> Option<Vec<Expression>> {
    list.get_elem()
        .map(|element| match element.get_name().ok()?.to_bytes() {
            b"masq" => Some(Expression::Masquerade),
            _ => decode_one(&element.get_data().ok()?),
        })
        .collect()
}

fn decode_one(data: &ExprOps<'_>) -> Option<Expression> {
    match data {
        ExprOps::Meta(meta) => Some(Expression::Meta {
            key: meta.get_key().ok()?,
            to: meta.get_dreg().ok()?,
        }),
        ExprOps::Ct(ct) => Some(Expression::Conntrack {
            key: ct.get_key().ok()?,
            to: ct.get_dreg().ok()?,
        }),
        ExprOps::Cmp(compare) => Some(Expression::Compare {
            operator: compare.get_op().ok()?,
            register: compare.get_sreg().ok()?,
            value: bytes(&compare.get_data().ok()?)?,
        }),
        ExprOps::Payload(payload) => {
            let field = Field {
                offset: payload.get_offset().ok()?,
                length: payload.get_len().ok()?,
            };
            match payload.get_sreg() {
                Err(_) => Some(Expression::Load {
                    field,
                    to: payload.get_dreg().ok()?,
                }),
                Ok(from) => Some(Expression::Store {
                    field,
                    from,
                    checksum: Checksum {
                        kind: payload.get_csum_type().ok()?,
                        offset: payload.get_csum_offset().ok()?,
                        flags: payload.get_csum_flags().unwrap_or_default(),
                    },
                }),
            }
        }
        ExprOps::Bitwise(bitwise) => Some(Expression::Bitwise {
            register: bitwise.get_dreg().ok()?,
            mask: bytes(&bitwise.get_mask().ok()?)?,
            xor: bytes(&bitwise.get_xor().ok()?)?,
        }),
        ExprOps::Lookup(lookup) => Some(Expression::Lookup {
            set: lookup.get_set().ok()?.to_str().ok()?.to_owned(),
            register: lookup.get_set_id().ok()?,
        }),
        ExprOps::Nat(nat) if nat.get_type().ok()? == NAT_SNAT => Some(Expression::SourceNat {
            protocol: nat.get_family().ok()?,
            register: nat.get_reg_addr_min().ok()?,
        }),
        ExprOps::Counter(_) => Some(Expression::Counter),
        ExprOps::Immediate(immediate) => {
            let verdict = immediate.get_data().ok()?.get_verdict().ok()?;
            verdict
                .get_chain()
                .is_err()
                .then_some(Expression::Verdict(verdict.get_code().ok()?))
        }
        ExprOps::Fib(_)
        | ExprOps::FlowOffload(_)
        | ExprOps::Log(_)
        | ExprOps::Match(_)
        | ExprOps::Nat(_)
        | ExprOps::Numgen(_)
        | ExprOps::Objref(_)
        | ExprOps::Quota(_)
        | ExprOps::Range(_)
        | ExprOps::Reject(_)
        | ExprOps::Target(_)
        | ExprOps::Tproxy(_) => None,
    }
}

fn bytes(data: &IterableDataAttrs<'_>) -> Option<Vec<u8>> {
    data.get_value().ok().map(<[u8]>::to_vec)
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
    offset: 12,
    length: 4,
};
const DESTINATION_4: Field = Field {
    offset: 16,
    length: 4,
};
const SOURCE_6: Field = Field {
    offset: 8,
    length: 16,
};
const DESTINATION_6: Field = Field {
    offset: 24,
    length: 16,
};
const IPV4_CHECKSUM: u32 = 10;

const REG_1: u32 = Registers::Reg1 as u32;
/// The parts of a concatenation stand in adjacent 32-bit registers: after an IPv4 address comes the second of them,
const REG_32_1: u32 = Registers::Reg3201 as u32;
/// after an IPv6 address the fifth, which has the name of the second 128-bit one.
const REG_2: u32 = Registers::Reg2 as u32;

/// `NF_CT_STATE_BIT` of `enum ip_conntrack_info` in the kernel's `nf_conntrack_common.h`.
const CT_ESTABLISHED: u32 = 1 << 1;
const CT_RELATED: u32 = 1 << 2;
/// `enum nft_payload_csum_types`, `enum nft_payload_csum_flags` and `enum nft_nat_types` in `nf_tables.h`.
const CSUM_NONE: u32 = 0;
const CSUM_INET: u32 = 1;
const L4CSUM_PSEUDOHDR: u32 = 1;
const NAT_SNAT: u32 = 0;
