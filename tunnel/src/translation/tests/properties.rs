//! For every packet.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::reference::{Body, Fragment, Packet};
use super::*;
use crate::translation::checksum::Difference;

fn address(v6: bool) -> BoxedStrategy<IpAddr> {
    let foreign = if v6 {
        ["fd75::2", "ff02::1", "2001:db8::1"]
    } else {
        ["10.75.0.2", "224.0.0.251", "192.0.2.1"]
    };
    let family = PAIRS
        .into_iter()
        .flat_map(|(truth, mapped)| [truth, mapped]);
    let family = family.filter(|it| it.contains(':') == v6);
    let prefixes: Vec<IpNet> = family.map(|it| it.parse().unwrap()).collect();
    let inside = (proptest::sample::select(prefixes), any::<u128>());
    let inside = inside.prop_map(|(prefix, host)| match prefix {
        IpNet::V4(prefix) => {
            #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
            let host = host as u32 & u32::from(prefix.hostmask());
            IpAddr::V4((u32::from(prefix.network()) | host).into())
        }
        IpNet::V6(prefix) => {
            let host = host & u128::from(prefix.hostmask());
            IpAddr::V6((u128::from(prefix.network()) | host).into())
        }
    });
    let foreign = proptest::sample::select(foreign.to_vec());
    prop_oneof![4 => inside, 1 => foreign.prop_map(|it| it.parse().unwrap())].boxed()
}

fn plain_body(v6: bool) -> BoxedStrategy<Body> {
    let data = || vec(any::<u8>(), 0..40);
    prop_oneof![
        data().prop_map(Body::Tcp),
        data().prop_map(Body::Udp),
        data().prop_map(Body::UdpWithoutChecksum),
        data().prop_map(Body::UdpLite),
        data().prop_map(Body::Dccp),
        data().prop_map(Body::Sctp),
        data().prop_map(Body::Esp),
        data().prop_map(Body::Echo),
    ]
    .prop_filter("UDP over IPv6 has a checksum", move |body| {
        !v6 || !matches!(body, Body::UdpWithoutChecksum(_))
    })
    .boxed()
}

fn with_body(v6: bool, body: BoxedStrategy<Body>) -> BoxedStrategy<Packet> {
    let extension = (proptest::sample::select(vec![0u8, 43, 60]), 0..3u8);
    let fragment = (any::<bool>(), 0..8usize).prop_map(|(first, words)| Fragment {
        first,
        length: words * 8,
    });
    (
        address(v6),
        address(v6),
        0..=10u8,
        vec(extension, 0..4),
        option::weighted(0.2, fragment),
        body,
    )
        .prop_map(
            |(source, destination, options, extensions, fragment, body)| Packet {
                source,
                destination,
                options,
                extensions,
                // Errors are too short to be cut.
                fragment: fragment.filter(|_| !matches!(body, Body::Error(..))),
                body,
            },
        )
        .boxed()
}

fn body(v6: bool) -> BoxedStrategy<Body> {
    let kinds: Vec<u8> = if v6 {
        vec![1, 2, 3, 4]
    } else {
        vec![3, 4, 5, 11, 12]
    };
    let quoted = with_body(v6, plain_body(v6));
    let error = (proptest::sample::select(kinds), quoted, any::<Option<u8>>());
    let error = error.prop_map(|(kind, quoted, further)| {
        let header = quoted.bytes().len() - quoted_payload(&quoted);
        // Even: half a checksum is left as it is.
        let length = further.map_or(usize::MAX, |it| header + usize::from(it % 16) * 2);
        Body::Error(kind, Box::new(quoted), length)
    });
    prop_oneof![1 => plain_body(v6), 1 => error].boxed()
}

/// How many bytes are behind the fixed IP header.
fn quoted_payload(packet: &Packet) -> usize {
    let fixed = match packet.source {
        IpAddr::V4(_) => 20 + usize::from(packet.options) * 4,
        IpAddr::V6(_) => 40,
    };
    packet.bytes().len() - fixed
}

fn packet() -> impl Strategy<Value = Packet> {
    any::<bool>().prop_flat_map(|v6| with_body(v6, body(v6)))
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Outbound), Just(Direction::Inbound)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_translated_packet_equals_one_built_with_the_other_addresses(
        packet in packet(),
        direction in direction(),
    ) {
        let expected = packet.translated(direction).bytes();
        prop_assert_eq!(translated(&packet.bytes(), direction), expected);
    }

    #[test]
    fn the_way_back_undoes_the_way_there(packet in packet()) {
        // No true address may be left: on this end they lead nowhere.
        let packet = packet.swapped().translated(Direction::Inbound).swapped();
        let there = packet.translated(Direction::Outbound);
        let out = translated(&packet.bytes(), Direction::Outbound);
        prop_assert_eq!(&out, &there.bytes());
        let back = translated(&there.swapped().bytes(), Direction::Inbound);
        prop_assert_eq!(back, packet.swapped().bytes());
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(
        mut bytes in vec(any::<u8>(), 0..200),
        version in prop_oneof![Just(0x45u8), Just(0x60), Just(0x4f), any::<u8>()],
        protocol in prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(43), Just(44), any::<u8>()],
        direction in direction(),
    ) {
        if bytes.len() > 9 {
            bytes[0] = version;
            bytes[2..6].copy_from_slice(&[0, 100, 0, 40]);
            bytes[6] = protocol;
            bytes[9] = protocol;
        }
        let pairs = Pairs::new(&["0.0.0.0/0", "::/0"].map(|it| (it.parse().unwrap(), it.parse().unwrap())).into());
        let everything = |address| pairs.mapped(address);
        let before = bytes.clone();
        if translate(&mut bytes, direction, everything).is_err() {
            prop_assert_eq!(bytes, before);
        }
    }

    #[test]
    fn a_cut_or_damaged_packet_is_translated_or_left_alone(
        packet in packet(),
        cut in any::<proptest::sample::Index>(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        direction in direction(),
    ) {
        let mut bytes = packet.bytes();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()));
        let before = bytes.clone();
        let pairs = pairs();
        if translate(&mut bytes, direction, |address| pairs.mapped(address)).is_err() {
            prop_assert_eq!(bytes, before);
        }
    }

    #[test]
    fn a_partial_checksum_moves_by_the_same_difference(
        words in vec(any::<u8>(), 8),
        rest in any::<u16>(),
        other in vec(any::<u8>(), 8),
    ) {
        let sum = |pseudo: &[u8]| !reference::checksum(&[pseudo, &rest.to_be_bytes()]);
        prop_assume!(sum(&words) != 0);
        let moved = Difference::between(&words, &other).of_sum(sum(&words));
        // Both zeros of one's complement mean the same.
        prop_assert_eq!(moved % 0xffff, sum(&other) % 0xffff);
    }
}
