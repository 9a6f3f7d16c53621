//! Length-prefixed frames: `u32` big-endian length of what follows it, one
//! byte of kind, the body.

use std::ops::Range;

use super::Message;

/// One frame, as far as this end knows its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame<'a> {
    /// A WireGuard datagram.
    Datagram(&'a [u8]),
    Message(Message),
}

/// The stream is not a session; nothing after this point can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Most often the engine's own words, such as `OCI runtime exec failed`.
    #[error("the stream is not a dtap session, it begins with {0:?}")]
    NotASession(String),
    #[error("a session message cannot be read: {0}")]
    Malformed(String),
}

/// Bytes before a frame's body.
pub const HEADER: usize = 5;
const DATAGRAM: u8 = 0;
const MESSAGE: u8 = 1;
/// A plan of a thousand networks takes some 200 KiB.
const LONGEST: usize = 8 << 20;

/// Appends a datagram as a frame.
pub fn encode_datagram(datagram: &[u8], stream: &mut Vec<u8>) {
    header(DATAGRAM, datagram.len(), stream);
    stream.extend_from_slice(datagram);
}

/// Appends a message as a frame.
pub fn encode_message(message: &Message, stream: &mut Vec<u8>) {
    let body = message.to_json();
    header(MESSAGE, body.len(), stream);
    stream.extend_from_slice(&body);
}

/// Splits a stream of bytes, in whatever pieces it arrives, into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    datagrams: Vec<Range<usize>>,
}

/// Datagrams in the memory in which their stream arrived.
#[derive(Debug, Default)]
pub struct Datagrams {
    buffer: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Decoder {
    /// Takes the next piece of the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.arrived(bytes.len());
    }

    /// Where the next piece of the stream is to be put, at least `length` bytes;
    /// [`Self::arrived`] says how many came.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        self.datagrams.clear();
        // Moves no more than was given out, mostly the beginning of one frame.
        if self.start >= self.end - self.start {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= std::mem::take(&mut self.start);
        }
        if self.buffer.len() < self.end + length {
            self.buffer.resize(self.end + length, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were put at the start of [`Self::room`].
    pub fn arrived(&mut self, length: usize) {
        self.end = self.buffer.len().min(self.end + length);
    }

    /// Hands over the datagrams that [`Self::next`] gave since the last piece, with the memory they
    /// lie in, in exchange for other memory.
    pub fn hand_over(&mut self, datagrams: &mut Datagrams) {
        let Datagrams { buffer, ranges } = datagrams;
        ranges.clear();
        if self.datagrams.is_empty() {
            return;
        }
        let rest = &self.buffer[self.start..self.end];
        if buffer.len() < rest.len() {
            buffer.resize(rest.len(), 0);
        }
        buffer[..rest.len()].copy_from_slice(rest);
        (self.start, self.end) = (0, rest.len());
        std::mem::swap(&mut self.buffer, buffer);
        std::mem::swap(&mut self.datagrams, ranges);
    }

    /// The next whole frame, or `None` until more bytes arrive. Frames of
    /// unknown kinds and unknown messages are skipped.
    ///
    /// # Errors
    /// [`FrameError`] when the stream cannot be a session; it stays broken.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame borrows the decoder"
    )]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        loop {
            let pending = &self.buffer[self.start..self.end];
            let head: [u8; HEADER] = *pending.first_chunk()?;
            let [a, b, c, d, kind] = head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > LONGEST {
                return Some(Err(FrameError::NotASession(printable(pending))));
            }
            let end = self.start + HEADER - 1 + length;
            if self.end < end {
                return None;
            }
            let body = self.start + HEADER..end;
            self.start = end;
            match kind {
                DATAGRAM => {
                    self.datagrams.push(body.clone());
                    return Some(Ok(Frame::Datagram(&self.buffer[body])));
                }
                MESSAGE => match Message::from_json(&self.buffer[body]) {
                    Ok(Message::Unknown) => {}
                    Ok(message) => return Some(Ok(Frame::Message(message))),
                    Err(error) => return Some(Err(FrameError::Malformed(error.to_string()))),
                },
                _ => {}
            }
        }
    }
}

impl Datagrams {
    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ranges.iter().map(|range| &self.buffer[range.clone()])
    }
}

/// Drops the first datagrams longer than `length`, at most so many, from a run
/// of whole frames; returns how many.
pub(super) fn drop_datagrams(frames: &mut Vec<u8>, most: usize, length: usize) -> u64 {
    let (mut kept, mut next, mut dropped) = (0, 0, 0);
    while let Some(&[a, b, c, d, kind]) = frames[next..].first_chunk() {
        let body = u32::from_be_bytes([a, b, c, d]) as usize - 1;
        let frame = next..next + HEADER + body;
        next = frame.end;
        if kind == DATAGRAM && body > length && dropped < most {
            dropped += 1;
        } else {
            frames.copy_within(frame.clone(), kept);
            kept += frame.len();
        }
    }
    frames.truncate(kept);
    dropped as u64
}

fn header(kind: u8, body: usize, stream: &mut Vec<u8>) {
    let length = u32::try_from(body + 1).unwrap_or(u32::MAX);
    stream.extend_from_slice(&length.to_be_bytes());
    stream.push(kind);
}

fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(200)];
    String::from_utf8_lossy(shown).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagrams of these lengths, and each byte of one is its number.
    fn stream(lengths: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut stream = Vec::new();
        for (number, length) in (0..=u8::MAX).cycle().zip(lengths) {
            encode_datagram(&vec![number; length], &mut stream);
        }
        stream
    }

    #[test]
    fn the_decoder_forgets_what_it_has_given_out() {
        let stream = stream([1400].into_iter());
        let (head, tail) = stream.split_at(700);
        let mut decoder = Decoder::default();
        decoder.extend(head);
        for _ in 0..5000 {
            // The next frame has begun, so that the buffer never runs empty.
            decoder.extend(tail);
            decoder.extend(head);
            assert!(matches!(decoder.next(), Some(Ok(Frame::Datagram(_)))));
            assert!(decoder.next().is_none());
            assert!(decoder.buffer.len() <= 3 * stream.len());
            assert!(decoder.datagrams.len() <= 1);
        }
    }

    #[test]
    fn datagrams_are_handed_over_whole_however_the_stream_is_cut() {
        let lengths = || (0..500).map(|number| number * 37 % 1500);
        let stream = stream(lengths());
        let (mut decoder, mut memory) = (Decoder::default(), Datagrams::default());
        let mut all = Vec::new();
        for piece in stream.chunks(4093) {
            decoder.extend(piece);
            while let Some(frame) = decoder.next() {
                assert!(matches!(frame, Ok(Frame::Datagram(_))));
            }
            decoder.hand_over(&mut memory);
            all.extend(memory.iter().map(<[u8]>::to_vec));
        }
        let numbers = (0..=u8::MAX).cycle();
        let expected = numbers
            .zip(lengths())
            .map(|(number, length)| vec![number; length]);
        assert_eq!(all, expected.collect::<Vec<_>>());
        assert!(memory.buffer.len() < 3 * 4093);
    }
}
