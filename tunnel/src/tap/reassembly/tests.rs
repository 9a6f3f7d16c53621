use proptest::prelude::*;

use super::*;
use crate::tests::start;

fn piece(id: u32, offset: usize, data: &[u8], is_last: bool) -> Fragment<'_> {
    Fragment {
        id,
        offset,
        is_last,
        data,
    }
}

fn cut(id: u32, bytes: &[u8], length: usize) -> Vec<Fragment<'_>> {
    let pieces = bytes.chunks(length).enumerate();
    pieces
        .map(|(index, data)| {
            let offset = index * length;
            piece(id, offset, data, offset + data.len() == bytes.len())
        })
        .collect()
}

#[test]
fn overlaps_cost_the_whole_frame() {
    let now = start();
    let bytes = [7; 32];
    let overlapping = [
        piece(1, 8, &bytes[..16], false),
        piece(1, 0, &bytes[..8], false),
        piece(1, 0, &bytes[..24], false),
        piece(1, 0, &bytes[..8], true),
        piece(1, 4, &bytes[..8], false),
    ];
    for overlap in overlapping {
        let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
        let first = piece(1, 0, &bytes[..16], false);
        assert_eq!(reassembly.insert(first, now, &mut drops), Ok(None));
        let refused = reassembly.insert(overlap, now, &mut drops);
        assert_eq!(refused, Err(Drop::OverlappingFragment));
        let rest = piece(1, 16, &bytes[16..], true);
        let refused = reassembly.insert(rest, now, &mut drops);
        assert_eq!(refused, Err(Drop::OverlappingFragment));
        reassembly.expire(now + PATIENCE, &mut drops);
        assert_eq!(drops.total(), 0, "it was counted when refused");
    }
}

#[test]
fn what_cannot_be_a_part_is_refused() {
    let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
    let malformed = [
        piece(1, 0, &[0; 12], false),
        piece(1, 8, &[], true),
        piece(1, 65_528, &[0; 8], true),
    ];
    for fragment in malformed {
        let refused = reassembly.insert(fragment, start(), &mut drops);
        assert_eq!(refused, Err(Drop::MalformedFragment));
    }
    let longest = reassembly.insert(piece(1, 65_528, &[0; 7], true), start(), &mut drops);
    assert_eq!(longest, Ok(None));
}

#[test]
fn time_and_room_have_an_end() {
    let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
    let now = start();
    for id in 0..100 {
        let first = piece(id, 0, &[0; 8], false);
        assert_eq!(reassembly.insert(first, now, &mut drops), Ok(None));
    }
    assert_eq!(reassembly.partials.len(), MOST_PARTIALS);
    assert_eq!(drops.of(Drop::Unassembled), 100 - MOST_PARTIALS as u64);
    let last = piece(99, 8, &[1], true);
    let whole = reassembly.insert(last, now, &mut drops).unwrap();
    assert_eq!(whole, Some(&[0, 0, 0, 0, 0, 0, 0, 0, 1][..]));
    reassembly.expire(now + PATIENCE, &mut drops);
    assert_eq!(drops.of(Drop::Unassembled), 99);
    assert!(reassembly.spare.len() <= MOST_PARTIALS + 1);
}

#[test]
fn a_frame_has_so_many_pieces_and_no_more() {
    let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
    for index in 0..MOST_PIECES {
        let fragment = piece(1, index * 16, &[0; 8], false);
        assert_eq!(reassembly.insert(fragment, start(), &mut drops), Ok(None));
    }
    let more = piece(1, MOST_PIECES * 16, &[0; 8], false);
    let refused = reassembly.insert(more, start(), &mut drops);
    assert_eq!(refused, Err(Drop::OverlappingFragment));
}

proptest! {
    #[test]
    fn any_order_gives_the_same_bytes(
        frames in prop::collection::vec((1..5000usize, 1..170usize), 1..8),
        keys in prop::collection::vec(any::<u32>(), 256),
    ) {
        let bytes: Vec<Vec<u8>> = frames
            .iter()
            .zip(0u8..)
            .map(|((length, _), seed)| (0..*length).map(|at| at.to_ne_bytes()[0] ^ seed).collect())
            .collect();
        let mut fragments = Vec::new();
        for ((id, bytes), (_, eighths)) in (0..).zip(&bytes).zip(&frames) {
            let length = (eighths * 8).max((bytes.len() / 60).next_multiple_of(8));
            fragments.extend(cut(id, bytes, length));
        }
        let mut keys = keys.iter().cycle();
        fragments.sort_by_cached_key(|_| keys.next());
        let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
        let mut complete = Vec::new();
        for fragment in fragments {
            if let Some(whole) = reassembly.insert(fragment, start(), &mut drops).unwrap() {
                complete.push(whole.to_vec());
            }
        }
        complete.sort();
        let mut expected = bytes;
        expected.sort();
        prop_assert_eq!(complete, expected);
        prop_assert!(reassembly.partials.is_empty());
    }

    #[test]
    fn noise_does_no_harm(
        noise in prop::collection::vec(
            (0..4u32, 0..0x2000usize, 0..100usize, any::<bool>(), 0..1000u64),
            0..300,
        ),
    ) {
        let (mut reassembly, mut drops) = (Reassembly::default(), Drops::default());
        let mut now = start();
        for (id, offset, length, is_last, pause) in noise {
            now += Duration::from_millis(pause);
            let data = vec![0; length];
            let _ = reassembly.insert(piece(id, offset * 8, &data, is_last), now, &mut drops);
            prop_assert!(reassembly.partials.len() <= MOST_PARTIALS);
        }
    }
}
