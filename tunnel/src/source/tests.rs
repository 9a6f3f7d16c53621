use super::*;
use crate::tests::start;

/// A packet of UDP with right checksums.
fn packet(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = 28 + payload.len() as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, UDP, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(source);
    packet.extend([10, 75, 0, 2, 0, 53, 0x30, 0x39]);
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let sum = sum(&packet[..20]);
    packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
    let sum = udp_sum(&packet);
    packet[26..28].copy_from_slice(&(!sum).to_be_bytes());
    packet
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn udp_sum(packet: &[u8]) -> u16 {
    let mut covered = packet[12..].to_vec();
    covered.extend([0, UDP]);
    covered.extend(&packet[24..26]);
    if covered.len() % 2 == 1 {
        // The payload's padding comes before the pseudo-header here.
        let at = packet.len() - 12;
        covered.insert(at, 0);
    }
    sum(&covered)
}

const ASKER: [u8; 4] = [10, 75, 0, 2];
const ASKED: [u8; 4] = [10, 0, 1, 2];
const ANSWERING: [u8; 4] = [172, 18, 0, 3];

fn sources() -> Sources {
    let mut sources = Sources::default();
    sources.set(BTreeMap::from([(ANSWERING.into(), ASKED.into())]));
    sources
}

/// To what [`packet`] is the answer to, from this port.
fn question(asked: [u8; 4], port: u16) -> Vec<u8> {
    let mut question = packet(ASKER, b"question");
    question[16..20].copy_from_slice(&asked);
    question[20..22].copy_from_slice(&port.to_be_bytes());
    question[22..24].copy_from_slice(&53_u16.to_be_bytes());
    question
}

/// With an answer to this port.
fn answer(port: u16) -> Vec<u8> {
    let mut answer = packet(ANSWERING, b"answer");
    answer[22..24].copy_from_slice(&port.to_be_bytes());
    answer
}

fn later(mut packet: Vec<u8>) -> Vec<u8> {
    packet[7] = 0xb9;
    packet
}

const PORT: u16 = 0x3039;

fn corrected(packet: &[u8]) -> Vec<u8> {
    let mut sources = sources();
    let now = start();
    sources.note(&question(ASKED, PORT), now);
    corrected_by(&mut sources, packet, now)
}

fn corrected_by(sources: &mut Sources, packet: &[u8], now: Instant) -> Vec<u8> {
    let mut packet = packet.to_vec();
    sources.correct(&mut packet, now);
    packet
}

fn is_corrected(sources: &mut Sources, packet: &[u8], now: Instant) -> bool {
    corrected_by(sources, packet, now)[12..16] == ASKED
}

#[test]
fn an_answer_gets_the_address_that_was_asked_and_right_checksums() {
    for payload in [&b"answer"[..], b"odd", b""] {
        let right = corrected(&packet(ANSWERING, payload));
        assert_eq!(right[12..16], ASKED);
        assert_eq!(sum(&right[..20]), 0xffff);
        assert_eq!(udp_sum(&right), 0xffff);
        assert_eq!(&right[28..], payload);
    }
}

#[test]
fn a_checksum_that_was_not_computed_stays_so() {
    let mut without = packet(ANSWERING, b"answer");
    without[26..28].fill(0);
    let right = corrected(&without);
    assert_eq!(right[26..28], [0, 0]);
    assert_eq!(sum(&right[..20]), 0xffff);
}

#[test]
fn later_fragments_have_no_checksum_of_their_own() {
    let fragment = later(packet(ANSWERING, b"answer"));
    let right = corrected(&fragment);
    assert_eq!(right[12..16], ASKED);
    assert_eq!(right[16..], fragment[16..]);
}

#[test]
fn nothing_else_is_touched() {
    let other = packet([172, 18, 0, 4], b"other");
    assert_eq!(corrected(&other), other);
    let mut tcp = packet(ANSWERING, b"tcp");
    tcp[9] = 6;
    assert_eq!(corrected(&tcp), tcp);
    let whole = packet(ANSWERING, b"");
    for length in 0..whole.len() {
        corrected(&whole[..length]);
    }
    for byte in 0..=255 {
        let mut strange = whole.clone();
        strange[0] = byte;
        corrected(&strange);
    }
}

#[test]
fn what_is_no_answer_keeps_its_source() {
    let (mut sources, now) = (sources(), start());
    for unasked in [answer(PORT), later(answer(PORT))] {
        assert_eq!(corrected_by(&mut sources, &unasked, now), unasked);
    }
    sources.note(&question(ANSWERING, PORT), now);
    assert!(!is_corrected(&mut sources, &answer(PORT), now));
    sources.note(&question(ASKED, PORT), now);
    assert!(is_corrected(&mut sources, &answer(PORT), now));
    assert!(!is_corrected(&mut sources, &answer(PORT + 1), now));
    let mut from_another_port = answer(PORT);
    from_another_port[21] += 1;
    assert!(!is_corrected(&mut sources, &from_another_port, now));
    let mut to_another_host = answer(PORT);
    to_another_host[19] += 1;
    assert!(!is_corrected(&mut sources, &to_another_host, now));
    let to_another_host = later(to_another_host);
    assert!(!is_corrected(&mut sources, &to_another_host, now));
}

#[test]
fn a_conversation_is_remembered_while_it_goes_on_and_three_minutes_longer() {
    let (mut sources, begin) = (sources(), start());
    let nearly = LIFE - Duration::from_millis(1);
    sources.note(&question(ASKED, PORT), begin);
    for (rounds, packet) in [(1, answer(PORT)), (2, answer(PORT)), (3, answer(PORT))] {
        let now = begin + nearly * rounds;
        assert!(is_corrected(&mut sources, &packet, now), "{rounds}");
    }
    sources.note(&question(ASKED, PORT), begin + nearly * 4);
    let now = begin + nearly * 5;
    assert!(is_corrected(&mut sources, &later(answer(PORT)), now));
    let now = now + Duration::from_millis(1);
    assert!(!is_corrected(&mut sources, &later(answer(PORT)), now));
    assert!(!is_corrected(&mut sources, &answer(PORT), now));
    assert!(sources.questions.heard.is_empty() && sources.questions.order.is_empty());
}

#[test]
fn among_too_many_conversations_the_quietest_is_forgotten() {
    let (mut sources, begin) = (sources(), start());
    let most = u16::try_from(MOST).unwrap();
    for port in 0..most {
        sources.note(&question(ASKED, port), begin);
    }
    let now = begin + GRAIN;
    sources.note(&question(ASKED, 0), now);
    sources.note(&question(ASKED, most), now);
    assert_eq!(sources.questions.heard.len(), MOST);
    assert_eq!(sources.questions.order.len(), MOST);
    assert!(is_corrected(&mut sources, &answer(0), now));
    assert!(!is_corrected(&mut sources, &answer(1), now));
    assert!(is_corrected(&mut sources, &answer(most), now));
}

#[test]
fn a_change_of_other_addresses_ends_no_conversation() {
    let (mut sources, now) = (sources(), start());
    sources.note(&question(ASKED, PORT), now);
    let own = (ANSWERING.into(), ASKED.into());
    let other = ([172, 18, 0, 4].into(), [10, 0, 1, 3].into());
    sources.set(BTreeMap::from([own, other]));
    assert!(is_corrected(&mut sources, &answer(PORT), now));
    sources.set(BTreeMap::from([other]));
    sources.set(BTreeMap::from([own, other]));
    assert!(!is_corrected(&mut sources, &answer(PORT), now));
}

#[test]
fn a_question_cut_short_is_none() {
    let (mut sources, now) = (sources(), start());
    let whole = question(ASKED, PORT);
    for length in 0..24 {
        sources.note(&whole[..length], now);
    }
    sources.note(&later(whole), now);
    assert!(sources.questions.heard.is_empty());
}
