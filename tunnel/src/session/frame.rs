//! Length-prefixed frames: `u32` big-endian length of what follows it, one
//! byte of kind, the body.

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
}

impl Decoder {
    /// Takes the next piece of the stream.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > COMPACT {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
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
            let pending = &self.buffer[self.start..];
            let head: [u8; HEADER] = *pending.first_chunk()?;
            let [a, b, c, d, kind] = head;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > LONGEST {
                return Some(Err(FrameError::NotASession(printable(pending))));
            }
            let end = self.start + HEADER - 1 + length;
            if self.buffer.len() < end {
                return None;
            }
            let body = self.start + HEADER..end;
            self.start = end;
            match kind {
                DATAGRAM => return Some(Ok(Frame::Datagram(&self.buffer[body]))),
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

/// Consumed bytes are moved out once they are this many.
const COMPACT: usize = 256 << 10;

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

    #[test]
    fn the_decoder_forgets_what_it_has_given_out() {
        let mut stream = Vec::new();
        encode_datagram(&[7; 1400], &mut stream);
        let (head, tail) = stream.split_at(700);
        let mut decoder = Decoder::default();
        decoder.extend(head);
        for _ in 0..5000 {
            // The next frame has begun, so that the buffer never runs empty.
            decoder.extend(tail);
            decoder.extend(head);
            assert!(matches!(decoder.next(), Some(Ok(Frame::Datagram(_)))));
            assert!(decoder.next().is_none());
            assert!(decoder.buffer.len() <= COMPACT + 2 * stream.len());
        }
    }
}
