use super::super::{Decoder, Frame};
use super::*;
use crate::tests::start;

const MS: Duration = Duration::from_millis(1);

/// The length of each datagram that is written, and `None` for each message.
fn frames(stream: &[u8]) -> Vec<Option<usize>> {
    let mut decoder = Decoder::default();
    decoder.extend(stream);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next() {
        frames.push(match frame.unwrap() {
            Frame::Datagram(datagram) => Some(datagram.len()),
            Frame::Message(_) => None,
        });
    }
    frames
}

fn written(queue: &mut Queue, now: Instant) -> Vec<Option<usize>> {
    let mut all = Vec::new();
    let mut piece = Vec::new();
    while let Some(next) = queue.take(piece, now) {
        all.extend(frames(&next));
        piece = next;
    }
    all
}

#[test]
fn a_burst_is_kept_whole_and_in_order_while_the_stream_stands() {
    let begin = start();
    let mut queue = Queue::default();
    let lengths: Vec<_> = (0..2500).map(|number| 200 + number % 1200).collect();
    for length in &lengths {
        assert!(queue.datagram(&vec![4; *length], begin));
    }
    queue.message(&Message::Heartbeat, begin);
    assert!(queue.datagram(&[4; 100], begin));

    let expected = lengths.into_iter().map(Some).chain([None, Some(100)]);
    let written = written(&mut queue, begin + 50 * MS);
    assert_eq!(written, expected.collect::<Vec<_>>());
    assert_eq!(queue.dropped(), 0);
    assert_eq!(queue.bytes, 0);
}

#[test]
fn a_stream_that_stands_still_takes_no_memory_and_no_old_datagrams() {
    let begin = start();
    let mut queue = Queue::default();
    queue.message(&Message::Heartbeat, begin);
    for _ in 0..10_000 {
        queue.datagram(&[4; 1400], begin);
    }
    assert!(queue.bytes <= MOST, "{}", queue.bytes);
    queue.message(&Message::Bye, begin);

    let later = begin + STALE + MS;
    assert!(!queue.datagram(&[4; 1400], later));
    assert_eq!(written(&mut queue, later), [None, None]);
    assert_eq!(queue.dropped(), 10_001);
    assert_eq!(queue.bytes, 0);
    assert!(queue.datagram(&[4; 1400], later));
    assert_eq!(written(&mut queue, later), [Some(1400)]);
    assert!(queue.spare.len() <= MOST_SPARE);
}

#[test]
fn of_a_trickle_into_a_stream_that_stood_still_the_last_second_is_sent() {
    let begin = start();
    let mut queue = Queue::default();
    for number in 0..150 {
        queue.datagram(&[4; 100], begin + number * 20 * MS);
    }
    let sent = written(&mut queue, begin + 3000 * MS).len();
    assert!((45..=55).contains(&sent), "{sent}");
}

#[test]
fn one_connection_keeps_the_stream_busy_and_the_queue_short() {
    // Bytes per millisecond: 80 Mbit/s, and what an exec stream carries. On the slow one
    // more is added to the queue until it counts as long.
    for (rate, longest_wait) in [(10_000, 6 * TARGET), (200_000, 2 * TARGET)] {
        for window in [100_000, MOST / 2] {
            let time = 4000;
            let carried = carry(rate, window, time);
            let what = format!("{rate} bytes/ms, window {window}: {carried:?}");
            assert!(carried.bytes > rate * time / 10 * 9, "{what}");
            assert!(carried.longest_wait < longest_wait, "{what}");
            assert!(carried.lost < 100, "{what}");
        }
    }
}

#[test]
fn handshakes_and_messages_are_not_dropped_for_a_queue_that_is_long() {
    let begin = start();
    let mut queue = Queue::default();
    let (mut piece, mut short, mut messages) = (Vec::new(), 0, 0);
    for milliseconds in 0..2000 {
        let now = begin + milliseconds * MS;
        for _ in 0..46 {
            queue.datagram(&[4; 1400], now);
        }
        queue.datagram(&[1; INITIATION], now);
        queue.message(&Message::Heartbeat, now);
        // Always some ten pieces behind.
        if milliseconds > 10 {
            piece = queue.take(piece, now).unwrap();
            let frames = frames(&piece);
            short += frames.iter().filter(|it| **it == Some(INITIATION)).count();
            messages += frames.iter().filter(|it| it.is_none()).count();
        }
    }
    let rest = written(&mut queue, begin + 2000 * MS);
    assert!(queue.dropped() > 10, "{}", queue.dropped());
    short += rest.iter().filter(|it| **it == Some(INITIATION)).count();
    messages += rest.iter().filter(|it| it.is_none()).count();
    assert_eq!((short, messages), (2000, 2000));
}

#[derive(Debug, Default)]
struct Carried {
    bytes: usize,
    lost: usize,
    /// In the second half, when the connection has found its pace.
    longest_wait: Duration,
}

/// One connection that has at most `window` bytes on their way, one datagram more after each millisecond, and half as
/// many after a loss; and a stream of `rate` bytes per millisecond.
fn carry(rate: usize, mut window: usize, milliseconds: usize) -> Carried {
    let mut now = start();
    let mut queue = Queue::default();
    let mut result = Carried::default();
    let (mut on_way, mut credit, mut piece) = (0, 0, Vec::new());
    for millisecond in 0..milliseconds {
        while on_way < window && queue.datagram(&[4; 1400], now) {
            on_way += 1400;
        }
        credit += rate;
        while let Some(next) = queue.pieces.front().filter(|it| it.frames.len() <= credit) {
            if millisecond > milliseconds / 2 {
                result.longest_wait = result.longest_wait.max(now - next.since);
            }
            let Some(next) = queue.take(piece, now) else {
                piece = Vec::new();
                break;
            };
            let bytes = next.len() / (HEADER + 1400) * 1400;
            (credit, on_way) = (credit - next.len(), on_way - bytes);
            (result.bytes, piece) = (result.bytes + bytes, next);
        }
        if queue.pieces.is_empty() {
            credit = 0;
        }
        let lost = usize::try_from(queue.dropped()).unwrap();
        if lost > result.lost {
            on_way = on_way.saturating_sub((lost - result.lost) * 1400);
            (result.lost, window) = (lost, window / 2);
        } else {
            window += 1400;
        }
        now += MS;
    }
    result
}
