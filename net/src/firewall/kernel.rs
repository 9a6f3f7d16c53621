//! nf_tables over netlink: lists the ruleset, and commits changes to it as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::io;

use netlink_bindings::nftables::{
    Chained, IterableChainAttrs, IterableRuleAttrs, IterableSetelemListAttrs, Nfgenmsg,
    PushSetelemListAttrs, Request, VerdictCode,
};

use super::codec;
use super::expression;
use super::plan::{Base, Chain, ChainId, Change, INET, Rule, Snapshot, Table};
use super::ruleset::{self, Ruleset, Set, Statement, TABLE, TableFamily};
use crate::netlink::Socket;

/// The ruleset as it is now. If its generation is the current one when a transaction begins, it was
/// complete.
pub(super) fn snapshot(socket: &mut Socket) -> io::Result<Snapshot> {
    Ok(Snapshot {
        generation: generation(socket)?,
        tables: socket.dump(
            &Request::new().op_gettable_dump(&header(ANY)),
            |(header, table)| {
                Ok(table.get_name().ok().map(|name| Table {
                    family: header.nfgen_family,
                    name: name.to_string_lossy().into_owned(),
                    flags: table.get_flags().unwrap_or_default(),
                }))
            },
        )?,
        chains: socket.dump(
            &Request::new().op_getchain_dump(&header(ANY)),
            |(header, chain)| Ok(parse_chain(header.nfgen_family, &chain)),
        )?,
        rules: socket.dump(
            &Request::new().op_getrule_dump(&header(ANY)),
            |(header, rule)| Ok(parse_rule(header.nfgen_family, &rule)),
        )?,
        sets: sets(socket)?,
    })
}

/// Counts the changes of the ruleset by anybody.
pub(super) fn generation(socket: &mut Socket) -> io::Result<u32> {
    let generations = socket.dump(
        &Request::new().op_getgen_do(&header(ANY)),
        |(_, generation)| Ok(generation.get_id().ok()),
    )?;
    generations
        .first()
        .copied()
        .ok_or_else(|| io::Error::other("ask for the ruleset's generation: no answer"))
}

/// Commits all changes or none.
///
/// # Errors
/// `Interrupted` if somebody has changed the ruleset since `generation`; else the first refusal.
pub(super) fn commit(socket: &mut Socket, generation: u32, changes: &[Change]) -> io::Result<()> {
    let mut batch = Batch {
        chained: Chained::new(socket.reserve(MAX_MESSAGES)),
    };
    batch
        .chained
        .request()
        .op_batch_begin_do(&batch_header())
        .encode()
        .push_genid(generation);
    for change in changes {
        batch.push(change);
    }
    batch.chained.request().op_batch_end_do(&batch_header());
    socket.transact(&batch.chained.finalize())
}

struct Batch {
    chained: Chained<'static>,
}

impl Batch {
    fn push(&mut self, change: &Change) {
        match change {
            Change::ReplaceTable(ruleset, elements) => self.replace_table(ruleset, elements),
            Change::DeleteTable(family) => self.delete_table(*family),
            Change::AddElements(set, keys) => self.add_elements(*set, keys),
            Change::DeleteElements(set, keys) => self.delete_elements(*set, keys),
            Change::InsertAccept(chain, rule) => {
                let request = self.chained.request().set_create();
                push_rule(request, chain, rule, Some(&MARK));
            }
            Change::DeleteRule(chain, handle) => {
                let mut request = self.chained.request().op_delrule_do(&header(chain.family));
                let rule = request.encode().push_table_bytes(chain.table.as_bytes());
                rule.push_chain_bytes(chain.name.as_bytes())
                    .push_handle(*handle);
            }
        }
    }

    /// Deleting what may not exist is an error: so it is created first.
    fn replace_table(&mut self, ruleset: &Ruleset, elements: &BTreeMap<Set, BTreeSet<Vec<u8>>>) {
        self.create_table(ruleset.family);
        self.delete_table(ruleset.family);
        self.create_table(ruleset.family);
        for (identifier, (set, keys)) in elements.iter().enumerate() {
            self.create_set(*set, identifier as u32 + 1);
            self.add_elements(*set, keys);
        }
        for chain in &ruleset.chains {
            self.create_chain(ruleset.family, chain);
            let id = ChainId::own(ruleset.family, &chain.name);
            for rule in &chain.rules {
                let request = self.chained.request().set_create().set_append();
                push_rule(request, &id, rule, None);
            }
        }
    }

    fn create_table(&mut self, family: TableFamily) {
        let mut request = self
            .chained
            .request()
            .set_create()
            .op_newtable_do(&header(family.number()));
        request.encode().push_name_bytes(TABLE.as_bytes());
    }

    fn delete_table(&mut self, family: TableFamily) {
        let header = header(family.number());
        let mut request = self.chained.request().op_deltable_do(&header);
        request.encode().push_name_bytes(TABLE.as_bytes());
    }

    fn create_set(&mut self, set: Set, identifier: u32) {
        let (kind, length) = key_layout(set);
        let mut request = self
            .chained
            .request()
            .set_create()
            .op_newset_do(&header(INET));
        let attributes = request
            .encode()
            .push_table_bytes(TABLE.as_bytes())
            .push_name_bytes(set.name().as_bytes());
        attributes
            .push_key_type(kind)
            .push_key_len(length)
            .push_id(identifier);
    }

    fn create_chain(&mut self, family: TableFamily, chain: &ruleset::Chain) {
        let mut request = self
            .chained
            .request()
            .set_create()
            .op_newchain_do(&header(family.number()));
        let attributes = request
            .encode()
            .push_table_bytes(TABLE.as_bytes())
            .push_name_bytes(chain.name.as_bytes());
        let mut hook = attributes
            .nested_hook()
            .push_num(chain.hook.number())
            .push_priority(chain.priority);
        if let Some(device) = &chain.device {
            hook = hook.push_dev_bytes(device.as_bytes());
        }
        hook.end_nested()
            .push_policy(VerdictCode::Accept as u32)
            .push_type_bytes(chain.kind.as_bytes());
    }

    fn add_elements(&mut self, set: Set, keys: &BTreeSet<Vec<u8>>) {
        for chunk in chunks(keys) {
            let mut request = self
                .chained
                .request()
                .set_create()
                .op_newsetelem_do(&header(INET));
            push_keys(request.encode(), set, &chunk);
        }
    }

    fn delete_elements(&mut self, set: Set, keys: &BTreeSet<Vec<u8>>) {
        for chunk in chunks(keys) {
            let mut request = self.chained.request().op_delsetelem_do(&header(INET));
            push_keys(request.encode(), set, &chunk);
        }
    }
}

fn push_rule(request: Request<'_>, chain: &ChainId, rule: &[Statement], userdata: Option<&[u8]>) {
    let mut request = request.op_newrule_do(&header(chain.family));
    let attributes = request
        .encode()
        .push_table_bytes(chain.table.as_bytes())
        .push_chain_bytes(chain.name.as_bytes());
    let list = expression::lower(rule)
        .iter()
        .fold(attributes.nested_expressions(), codec::encode);
    let attributes = list.end_nested();
    if let Some(userdata) = userdata {
        attributes.push_userdata(userdata);
    }
}

fn push_keys(attributes: PushSetelemListAttrs<&mut Vec<u8>>, set: Set, keys: &[&Vec<u8>]) {
    let attributes = attributes
        .push_table_bytes(TABLE.as_bytes())
        .push_set_bytes(set.name().as_bytes());
    let elements = keys
        .iter()
        .fold(attributes.nested_elements(), |elements, key| {
            elements
                .nested_elem()
                .nested_key()
                .push_value(key)
                .end_nested()
                .end_nested()
        });
    elements.end_nested();
}

fn chunks(keys: &BTreeSet<Vec<u8>>) -> Vec<Vec<&Vec<u8>>> {
    keys.iter()
        .collect::<Vec<_>>()
        .chunks(ELEMENTS_PER_MESSAGE)
        .map(<[_]>::to_vec)
        .collect()
}

fn parse_chain(family: u8, chain: &IterableChainAttrs<'_>) -> Option<Chain> {
    let id = chain_id(family, chain.get_table().ok()?, chain.get_name().ok()?);
    let base = chain.get_hook().ok().and_then(|hook| {
        Some(Base {
            kind: chain.get_type().ok()?.to_string_lossy().into_owned(),
            hook: hook.get_num().ok()?,
            device: hook
                .get_dev()
                .ok()
                .map(|it| it.to_string_lossy().into_owned()),
            priority: hook.get_priority().ok()?,
            drops: chain.get_policy().ok() == Some(VerdictCode::Drop as u32),
        })
    });
    Some(Chain { id, base })
}

fn parse_rule(family: u8, rule: &IterableRuleAttrs<'_>) -> Option<Rule> {
    Some(Rule {
        chain: chain_id(family, rule.get_table().ok()?, rule.get_chain().ok()?),
        handle: rule.get_handle().ok()?,
        marked: rule.get_userdata().is_ok_and(|userdata| userdata == MARK),
        expressions: rule
            .get_expressions()
            .ok()
            .and_then(|list| codec::decode(&list)),
    })
}

fn chain_id(family: u8, table: &CStr, name: &CStr) -> ChainId {
    ChainId {
        family,
        table: table.to_string_lossy().into_owned(),
        name: name.to_string_lossy().into_owned(),
    }
}

/// The elements of our sets, of those that have the right shape.
fn sets(socket: &mut Socket) -> io::Result<BTreeMap<String, BTreeSet<Vec<u8>>>> {
    let mut request = Request::new().op_getset_dump(&header(INET));
    request.encode().push_table_bytes(TABLE.as_bytes());
    let listed = socket.dump(&request, |(_, set)| {
        let Ok(name) = set.get_name() else {
            return Ok(None);
        };
        let layout = (
            set.get_key_type().unwrap_or_default(),
            set.get_key_len().unwrap_or_default(),
        );
        let plain = set.get_flags().unwrap_or_default() == 0;
        Ok(Some((name.to_string_lossy().into_owned(), layout, plain)))
    });
    let mut sets = BTreeMap::new();
    for (name, layout, plain) in absent_is_empty(listed)? {
        let known = Set::ALL
            .iter()
            .any(|set| set.name() == name && key_layout(*set) == layout);
        // A set that is not ours as it stands makes the table differ, whatever is in it.
        let keys = if known && plain {
            elements(socket, &name)?
        } else {
            BTreeSet::new()
        };
        let name = if known && plain {
            name
        } else {
            format!("{name} of another shape")
        };
        sets.insert(name, keys);
    }
    Ok(sets)
}

fn elements(socket: &mut Socket, set: &str) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut request = Request::new().op_getsetelem_dump(&header(INET));
    request
        .encode()
        .push_table_bytes(TABLE.as_bytes())
        .push_set_bytes(set.as_bytes());
    let messages = absent_is_empty(socket.dump(&request, |(_, list)| Ok(Some(keys(&list)))))?;
    Ok(messages.into_iter().flatten().collect())
}

fn keys(list: &IterableSetelemListAttrs<'_>) -> Vec<Vec<u8>> {
    let Ok(elements) = list.get_elements() else {
        return Vec::new();
    };
    elements
        .get_elem()
        .filter_map(|element| Some(element.get_key().ok()?.get_value().ok()?.to_vec()))
        .collect()
}

/// The table may not exist, or no longer.
fn absent_is_empty<T>(listed: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Ok(_) | Err(_) => listed,
    }
}

/// The type, by which only `nft` prints elements, and the length in bytes of a set's key. A
/// concatenation's type has six bits per part (nft's `TYPE_BITS`).
fn key_layout(set: Set) -> (u32, u32) {
    match set {
        Set::Attached4 | Set::Outward4 | Set::Hosts4 => (TYPE_IPADDR << 6 | TYPE_IFNAME, 4 + 16),
        Set::Attached6 | Set::Outward6 | Set::Hosts6 => (TYPE_IP6ADDR << 6 | TYPE_IFNAME, 16 + 16),
        Set::Callers4 => (TYPE_IPADDR << 6 | TYPE_IPADDR, 4 + 4),
        Set::Callers6 => (TYPE_IP6ADDR << 6 | TYPE_IP6ADDR, 16 + 16),
        Set::Excluded4 | Set::Masquerade4 => (TYPE_IPADDR, 4),
        Set::Excluded6 | Set::Masquerade6 => (TYPE_IP6ADDR, 16),
        Set::Footholds => (TYPE_IFNAME, 16),
    }
}

fn header(family: u8) -> Nfgenmsg {
    Nfgenmsg {
        nfgen_family: family,
        ..Default::default()
    }
}

fn batch_header() -> Nfgenmsg {
    let mut header = header(ANY);
    header.set_res_id(libc::NFNL_SUBSYS_NFTABLES as u16);
    header
}

const ANY: u8 = libc::NFPROTO_UNSPEC as u8;
/// A private record (type 75, length 5) in the type-length-value list that a rule's userdata is;
/// iptables and nft pass over types they do not know, while a comment would be printed.
const MARK: [u8; 7] = *b"\x4b\x05dtap\0";
/// Keeps a message within the 64 KiB of a netlink attribute.
const ELEMENTS_PER_MESSAGE: usize = 512;
const MAX_MESSAGES: u32 = 1 << 16;

/// nft's `enum datatypes`.
const TYPE_IPADDR: u32 = 7;
const TYPE_IP6ADDR: u32 = 8;
const TYPE_IFNAME: u32 = 41;
