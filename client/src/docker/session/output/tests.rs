use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

const STDOUT: u8 = 1;

fn piece(stream: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&[stream, 0, 0, 0], &length.to_be_bytes()[..], content].concat()
}

/// All of standard output, and what was said beside it, of a stream that arrives in parts of this size.
fn read(stream: &[u8], part: usize) -> (io::Result<()>, Vec<u8>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let (mut far, near) = duplex(part);
        let complaint = Arc::new(Complaint::default());
        let mut output = Demultiplexer::new(near, complaint.clone());
        let mut all = Vec::new();
        let write = async {
            // A reader that has had enough closes.
            let _ = far.write_all(stream).await;
            drop(far);
        };
        let ((), end) = tokio::join!(write, output.read_to_end(&mut all));
        (end.map(drop), all, complaint.text())
    })
}

#[test]
fn output_is_what_the_program_wrote_whatever_its_pieces() {
    let pieces = [
        piece(STDOUT, b"he"),
        piece(STDERR, &[b'!'; 5000]),
        piece(STDOUT, b""),
        piece(STDOUT, b"llo"),
    ];
    for part in [1, 7, 8, 9, 1 << 16] {
        let (end, all, said) = read(&pieces.concat(), part);
        assert!(end.is_ok());
        assert_eq!(all, b"hello");
        assert_eq!(said, "!".repeat(LONGEST_COMPLAINT));
    }
}

#[test]
fn a_piece_that_is_cut_is_an_error() {
    let whole = [piece(STDOUT, b"hello"), piece(STDOUT, b"world")].concat();
    for length in 14..whole.len() {
        let (end, all, _) = read(&whole[..length], 5);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(all.starts_with(b"hello"));
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_or_added(
        pieces in prop::collection::vec((STDOUT..=STDERR, prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        part in 1_usize..700,
    ) {
        let stream: Vec<_> = pieces.iter().flat_map(|(to, content)| piece(*to, content)).collect();
        let of = |wanted| -> Vec<u8> {
            pieces.iter().filter(|(to, _)| *to == wanted).flat_map(|(_, content)| content.clone()).collect()
        };
        let (end, all, said) = read(&stream, part);
        prop_assert!(end.is_ok());
        prop_assert_eq!(all, of(STDOUT));
        let mut complaint = of(STDERR);
        complaint.truncate(LONGEST_COMPLAINT);
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        prop_assert_eq!(said.as_str(), complaint.trim());
    }
}
