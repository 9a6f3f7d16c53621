//! The session's frames and messages, in any pieces and with any bytes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::session::{
    Access, Attachment, Carrier, Decoder, Frame, FrameError, HEADER, Hello, Hop, Message,
    NicOutcome, PROTOCOL, Paired, Problem, Protocol, SiblingKind, Tap, encode_datagram,
    encode_message,
};
use crate::{HardwareAddress, PathMessage, PublicKey, Seal};

#[derive(Debug, Clone, PartialEq)]
enum Said {
    Datagram(Vec<u8>),
    Message(Message),
}

fn read(pieces: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<Said>, FrameError> {
    let mut decoder = Decoder::default();
    let mut said = Vec::new();
    for piece in pieces {
        decoder.extend(&piece);
        while let Some(frame) = decoder.next() {
            said.push(match frame? {
                Frame::Datagram(datagram) => Said::Datagram(datagram.to_vec()),
                Frame::Message(message) => Said::Message(message),
            });
        }
    }
    Ok(said)
}

fn write(said: &[Said]) -> Vec<u8> {
    let mut stream = Vec::new();
    for one in said {
        match one {
            Said::Datagram(datagram) => encode_datagram(datagram, &mut stream),
            Said::Message(message) => encode_message(message, &mut stream),
        }
    }
    stream
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

fn nets() -> impl Strategy<Value = BTreeSet<IpNet>> {
    let net = (any::<IpAddr>(), 0..=32u8);
    btree_set(
        net.prop_map(|(ip, length)| IpNet::new(ip, length).unwrap()),
        0..4,
    )
}

fn sockets() -> impl Strategy<Value = Vec<SocketAddr>> {
    vec(any::<(IpAddr, u16)>().prop_map(SocketAddr::from), 0..4)
}

fn hello() -> impl Strategy<Value = Hello> {
    (
        0..9u32,
        0..9u32,
        ".{0,9}",
        option::of(".{0,9}"),
        option::of(".{0,9}"),
        any::<bool>(),
    )
        .prop_map(
            |(oldest, newest, version, boot, namespace, lacks_xtables_lock)| Hello {
                protocol: Protocol { oldest, newest },
                version,
                boot,
                namespace,
                lacks_xtables_lock,
            },
        )
}

fn path_message() -> impl Strategy<Value = PathMessage> {
    let seal = any::<(u32, u64)>().prop_map(|(index, counter)| Seal { index, counter });
    prop_oneof![
        any::<u32>().prop_map(|attempt| PathMessage::Switch { attempt }),
        any::<u32>().prop_map(|attempt| PathMessage::SwitchAck { attempt }),
        vec(seal, 0..5).prop_map(|seals| PathMessage::Report { seals }),
    ]
}

fn key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey::from_bytes)
}

fn paired() -> impl Strategy<Value = Paired> {
    let addresses = vec(any::<IpAddr>(), 0..3);
    let nic = (any::<[u8; 6]>().prop_map(HardwareAddress), ".{0,9}");
    let nics = btree_map(nic.0, nic.1, 0..3);
    (key(), addresses, nets(), sockets(), any::<u16>(), nics).prop_map(
        |(public_key, addresses, nets, candidates, port, nics)| Paired {
            nics,
            public_key,
            host: addresses.clone(),
            server: addresses,
            prefixes: nets.into_iter().collect(),
            candidates,
            port,
        },
    )
}

fn access() -> impl Strategy<Value = Access> {
    let hop =
        (any::<IpAddr>(), ".{0,9}").prop_map(|(address, interface)| Hop { address, interface });
    let sources = btree_map(any::<Ipv4Addr>(), any::<Ipv4Addr>(), 0..3);
    let kind = prop_oneof![
        Just(SiblingKind::Macvlan),
        Just(SiblingKind::IpvlanL2),
        Just(SiblingKind::IpvlanL3),
        Just(SiblingKind::IpvlanL3s),
    ];
    prop_oneof![
        (".{0,9}", nets()).prop_map(|(interface, bare)| Access::Bridge { interface, bare }),
        (".{0,9}", kind, btree_set(any::<IpAddr>(), 0..3)).prop_map(
            |(parent, kind, containers)| Access::Sibling {
                parent,
                kind,
                containers,
            }
        ),
        (nets(), vec(hop, 3), sources).prop_map(|(nets, hops, sources)| Access::Hops {
            sources,
            hops: nets.into_iter().zip(hops).collect(),
        }),
    ]
}

fn attachment() -> impl Strategy<Value = Attachment> {
    let addresses = || btree_set(any::<IpAddr>(), 0..3);
    (
        ".{0,9}",
        ".{0,9}",
        access(),
        nets(),
        addresses(),
        addresses(),
    )
        .prop_map(
            |(id, network, access, subnets, masquerade, excluded)| Attachment {
                id,
                network,
                access,
                subnets,
                masquerade,
                excluded,
            },
        )
}

fn tap() -> impl Strategy<Value = Tap> {
    let carrier = prop_oneof![
        any::<u16>().prop_map(|number| Carrier::Tunnel { number }),
        hardware().prop_map(|address| Carrier::Nic { address }),
    ];
    (".{0,9}", ".{0,9}", option::of(".{0,9}"), carrier).prop_map(
        |(id, network, bridge, carrier)| Tap {
            id,
            network,
            bridge,
            carrier,
        },
    )
}

fn problem() -> impl Strategy<Value = Problem> {
    (".{0,9}", ".{0,9}").prop_map(|(id, reason)| Problem { id, reason })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        hello().prop_map(Message::Hello),
        (key(), nets(), sockets(), any::<u16>(), any::<bool>()).prop_map(
            |(public_key, used, candidates, port, udp)| Message::Pair {
                public_key,
                used,
                candidates,
                port,
                udp,
            }
        ),
        paired().prop_map(Message::Paired),
        (
            any::<u64>(),
            vec(attachment(), 0..4),
            vec(tap(), 0..3),
            option::of(hardware())
        )
            .prop_map(|(generation, attachments, taps, nic)| {
                Message::Plan {
                    generation,
                    attachments,
                    taps,
                    nic,
                }
            }),
        (
            any::<u64>(),
            vec(problem(), 0..4),
            option::of(vec(problem(), 0..3)),
            option::of(nic_outcome())
        )
            .prop_map(|(generation, problems, tap_problems, nic)| {
                Message::PlanDone {
                    generation,
                    problems,
                    tap_problems,
                    nic,
                }
            }),
        sockets().prop_map(|candidates| Message::Candidates { candidates }),
        path_message().prop_map(Message::Path),
        ".{0,40}".prop_map(|error| Message::Failed { error }),
        Just(Message::Heartbeat),
        Just(Message::Bye),
    ]
}

fn nic_outcome() -> impl Strategy<Value = NicOutcome> {
    prop_oneof![
        Just(NicOutcome::Used),
        ".{0,40}".prop_map(|reason| NicOutcome::Failed { reason }),
    ]
}

fn hardware() -> impl Strategy<Value = HardwareAddress> {
    any::<[u8; 6]>().prop_map(HardwareAddress)
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let one = prop_oneof![
        vec(any::<u8>(), 0..2000).prop_map(Said::Datagram),
        message().prop_map(Said::Message),
    ];
    vec(one, 0..12)
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_an_error(pieces in vec(vec(any::<u8>(), 0..50), 0..20)) {
        let _ = read(pieces);
    }

    #[test]
    fn a_stream_in_any_pieces_says_the_same(
        said in said(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = write(&said);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| stream[ends[0]..ends[1]].to_vec());
        prop_assert_eq!(read(pieces), Ok(said));
    }

    #[test]
    fn a_cut_stream_says_what_was_whole(said in said(), cut in any::<prop::sample::Index>()) {
        let stream = write(&said);
        let heard = read([stream[..cut.index(stream.len() + 1)].to_vec()]).unwrap();
        prop_assert!(said.starts_with(&heard));
    }

    #[test]
    fn unknown_kinds_and_messages_are_skipped(
        before in said(),
        after in said(),
        kind in 2..=255u8,
        body in vec(any::<u8>(), 0..100),
    ) {
        let mut stream = write(&before);
        stream.extend(frame(kind, &body));
        stream.extend(frame(1, br#"{"message":"sing","song":["a",1]}"#));
        stream.extend(write(&after));
        let expected: Vec<_> = before.into_iter().chain(after).collect();
        prop_assert_eq!(read([stream]), Ok(expected));
    }

    #[test]
    fn two_ends_agree_on_the_newest_protocol_of_both(client in hello(), server in hello()) {
        let speaks = |hello: &Hello, number| {
            (hello.protocol.oldest..=hello.protocol.newest).contains(&number)
        };
        let common = (0..9).rev().find(|n| speaks(&client, *n) && speaks(&server, *n));
        prop_assert_eq!(client.agree(&server).ok(), common);
    }
}

#[test]
fn the_engines_own_words_are_in_the_error() {
    let words = b"OCI runtime exec failed: exec failed: no such file or directory";
    let Err(FrameError::NotASession(text)) = read([words.to_vec()]) else {
        panic!("taken for a session");
    };
    assert_eq!(text.as_bytes(), words);
}

#[test]
fn a_message_that_cannot_be_read_is_an_error_and_not_skipped() {
    for body in [&b"not json"[..], br#"{"message":"pair"}"#] {
        let heard = read([frame(1, body)]);
        assert!(matches!(heard, Err(FrameError::Malformed(_))), "{heard:?}");
    }
}

#[test]
fn fields_of_newer_versions_are_skipped() {
    let body =
        br#"{"message":"hello","protocol":{"oldest":1,"newest":7,"beta":9},"version":"9","x":0}"#;
    let heard = read([frame(1, body)]).unwrap();
    let [Said::Message(Message::Hello(hello))] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    assert_eq!((hello.protocol.newest, &*hello.version), (7, "9"));
    assert_eq!(hello.boot, None);
}

#[test]
fn an_unknown_path_message_is_told_apart() {
    let heard = read([frame(1, br#"{"message":"path","type":"fly"}"#)]).unwrap();
    assert_eq!(heard, [Said::Message(Message::Path(PathMessage::Unknown))]);
}

#[test]
fn a_header_is_as_long_as_it_says() {
    let mut stream = Vec::new();
    encode_datagram(&[1, 2, 3], &mut stream);
    assert_eq!(stream, [0, 0, 0, 4, 0, 1, 2, 3]);
    assert_eq!(stream.len(), HEADER + 3);
}

#[test]
fn versions_that_cannot_work_together_are_named_with_the_fix() {
    let hello = |version: &str, protocol| Hello {
        protocol,
        version: version.to_owned(),
        boot: None,
        namespace: None,
        lacks_xtables_lock: false,
    };
    let future = Protocol {
        oldest: PROTOCOL.newest + 1,
        newest: PROTOCOL.newest + 2,
    };
    let client = hello("0.1.0", PROTOCOL);
    let error = client
        .agree(&hello("9.0.0", future))
        .unwrap_err()
        .to_string();
    for word in ["0.1.0", "9.0.0", "dtap-client uninstall"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_server_that_knows_no_taps_and_nics_has_nothing_to_say_of_them() {
    let done = r#"{"message":"plan-done","generation":1,"problems":[]}"#;
    let Message::PlanDone {
        tap_problems, nic, ..
    } = serde_json::from_str(done).unwrap()
    else {
        panic!("the end of a plan");
    };
    assert_eq!((tap_problems, nic), (None, None));
}

#[test]
fn an_access_that_only_a_newer_version_knows_leaves_the_plan_readable() {
    let plan = r#"{"message":"plan","generation":1,"attachments":[{"id":"n","network":"web",
        "access":{"by":"magic","wand":"oak"},"subnets":["172.18.0.0/16"],"masquerade":[],"excluded":[]}]}"#;
    let Message::Plan { attachments, .. } = serde_json::from_str(plan).unwrap() else {
        panic!("a plan");
    };
    assert_eq!(attachments[0].access, Access::Unknown);
}
