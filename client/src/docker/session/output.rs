//! What a program writes, as the engine frames it: before each piece a byte for the stream, three zeros and a big-endian
//! length (Docker's API, "Attach to a container": stream format).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads standard output, straight into its reader's memory, and keeps the beginning of standard error.
pub(super) struct Demultiplexer<R> {
    stream: R,
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    known: usize,
    /// Bytes of the piece behind it that are not.
    left: usize,
    complaint: Arc<Complaint>,
}

/// The beginning of the program's standard error.
#[derive(Debug, Default)]
pub(super) struct Complaint(Mutex<Vec<u8>>);

impl<R> Demultiplexer<R> {
    pub(super) fn new(stream: R, complaint: Arc<Complaint>) -> Self {
        Self {
            stream,
            header: [0; HEADER],
            known: 0,
            left: 0,
            complaint,
        }
    }
}

impl<R: AsyncRead + Unpin> Demultiplexer<R> {
    /// Reads up to the next piece; false at the end of all.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.known < HEADER {
            let mut rest = ReadBuf::new(&mut self.header[self.known..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 && self.known == 0 {
                return Poll::Ready(Ok(false));
            }
            self.known += checked(read)?;
        }
        self.known = 0;
        let [_, _, _, _, length @ ..] = self.header;
        self.left = u32::from_be_bytes(length) as usize;
        Poll::Ready(Ok(true))
    }

    fn poll_complaint(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 1024];
        let length = self.left.min(piece.len());
        let mut piece = ReadBuf::new(&mut piece[..length]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        self.left -= checked(piece.filled().len())?;
        self.complaint.add(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Demultiplexer<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();

        loop {
            if this.left == 0 {
                if !ready!(this.poll_header(cx))? {
                    return Poll::Ready(Ok(()));
                }
            } else if this.header[0] == STDERR {
                ready!(this.poll_complaint(cx))?;
            } else {
                let length = this.left.min(buffer.remaining());
                let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(length));
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut piece))?;
                let read = checked(piece.filled().len())?;
                this.left -= read;
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Complaint {
    fn add(&self, message: &[u8]) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LONGEST_COMPLAINT.saturating_sub(text.len());

        text.extend(message.iter().take(room));
    }

    pub(super) fn text(&self) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);

        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

/// The stream must not end here.
fn checked(read: usize) -> io::Result<usize> {
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(read)
}

/// Bytes.
const HEADER: usize = 8;
const LONGEST_COMPLAINT: usize = 4096;
/// Names the stream.
const STDERR: u8 = 2;

#[cfg(test)]
mod tests;
