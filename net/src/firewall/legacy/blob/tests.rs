use proptest::prelude::*;

use super::*;
use crate::firewall::legacy::fixtures::{FAMILIES, before, table};

#[test]
fn a_recorded_table_is_understood_and_written_as_it_was() {
    for family in FAMILIES {
        let blob = before(family);
        assert_eq!(blob.parse(family).unwrap().serialise(), blob);
    }
}

#[test]
fn chains_are_found_by_their_names() {
    let table = table(Family::V4);
    let length = |name| table.chain(name).map(|chain| chain.last - chain.first);
    // Without the return at the end of each.
    assert_eq!(length("DOCKER-USER"), Some(2));
    assert_eq!(length("DOCKER-ISOLATION-STAGE-1"), Some(2));
    assert_eq!(length("EMPTY"), Some(0));
    assert_eq!(length("DOCKER-USE"), None);
    assert_eq!(length("ERROR"), None);
    let forward = table.forward().unwrap();
    assert_eq!(forward.last - forward.first, 7);
}

#[test]
fn rules_without_a_target_and_jumps_are_told_apart() {
    let table = table(Family::V4);
    let forward = table.forward().unwrap();
    let targets: Vec<_> = table.entries[forward.first..=forward.last]
        .iter()
        .map(|entry| &entry.target)
        .collect();
    let to = |name| Target::Jump(table.chain(name).unwrap().first);
    assert_eq!(
        targets,
        [
            &to("DOCKER-USER"),
            &to("DOCKER-ISOLATION-STAGE-1"),
            &Target::Final,
            &to("DOCKER"),
            &Target::Final,
            &Target::Final,
            &Target::Next,
            &Target::Final,
        ]
    );
}

#[test]
fn what_is_not_understood_is_refused() {
    let refused = |change: &dyn Fn(&mut Blob)| {
        let mut blob = before(Family::V4);
        change(&mut blob);
        blob.parse(Family::V4).unwrap_err().0
    };
    assert_eq!(
        refused(&|blob| blob.count += 1),
        "another number of rules than announced"
    );
    assert_eq!(
        refused(&|blob| blob.entries.truncate(blob.entries.len() - 8)),
        "a rule whose lengths do not fit"
    );
    assert_eq!(
        refused(&|blob| blob.hook_entry[2] += 8),
        "a chain of the kernel's that begins within a rule"
    );
    assert_eq!(
        refused(&|blob| blob.underflow[3] = blob.underflow[1] + 8),
        "a chain of the kernel's that begins within a rule"
    );
    assert_eq!(
        before(Family::V6).parse(Family::V4).unwrap_err().0,
        "a rule whose lengths do not fit"
    );
}

#[test]
fn a_jump_anywhere_but_to_a_chain_is_refused() {
    let mut table = table(Family::V4);
    let jump = table
        .entries
        .iter_mut()
        .find(|entry| matches!(entry.target, Target::Jump(_)));
    jump.unwrap().target = Target::Jump(0);
    assert_eq!(
        table.serialise().parse(Family::V4).unwrap_err().0,
        "a jump into the middle of a chain"
    );
}

proptest! {
    /// What was misread would be written back differently.
    #[test]
    fn whatever_is_understood_is_written_as_it_was(
        family in prop_oneof![Just(Family::V4), Just(Family::V6)],
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut blob = before(family);
        for (place, byte) in damages {
            *place.get_mut(&mut blob.entries) = byte;
        }
        if let Ok(table) = blob.parse(family) {
            prop_assert_eq!(table.serialise(), blob);
        }
    }

    #[test]
    fn no_blob_is_too_strange(
        entries in prop::collection::vec(prop_oneof![Just(0), Just(112), Just(152), any::<u8>()], 0..600),
        hooks in any::<[u32; HOOKS]>(),
        valid_hooks in any::<u32>(),
        count in 0..4_u32,
    ) {
        let blob = Blob { valid_hooks, hook_entry: hooks, underflow: hooks, count, entries };
        for family in FAMILIES {
            let _ = blob.parse(family);
        }
    }
}
