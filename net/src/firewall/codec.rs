//! Instructions to netlink and back.
//!
//! Encoding a rule and decoding what the kernel then lists gives the same instructions: that is how
//! an intact table is recognised.

use netlink_bindings::nftables::{
    ExprOps, IterableDataAttrs, IterableExprListAttrs, PushExprListAttrs, Registers,
};
use netlink_bindings::traits::Pusher;

use super::expression::{Checksum, Expression, Field};

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
                .push_base(field.base);
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
                .push_base(field.base);
            let store = store.push_offset(field.offset).push_len(field.length);
            let store = store
                .push_csum_type(checksum.kind)
                .push_csum_offset(checksum.offset);
            store
                .push_csum_flags(checksum.flags)
                .end_nested()
                .end_nested()
        }
        Expression::Value { value, to } => {
            let immediate = element.nested_data_immediate().push_dreg(*to);
            let data = immediate.nested_data().push_value(value).end_nested();
            data.end_nested().end_nested()
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
            // The bindings' specification has the attributes of a lookup in another order than
            // `nf_tables.h`: its set identifier (2) is the source register.
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
                base: payload.get_base().ok()?,
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
            let data = immediate.get_data().ok()?;
            let Ok(verdict) = data.get_verdict() else {
                return Some(Expression::Value {
                    value: bytes(&data)?,
                    to: immediate.get_dreg().ok()?,
                });
            };
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

/// `enum nft_nat_types` in the kernel's `nf_tables.h`.
const NAT_SNAT: u32 = 0;
