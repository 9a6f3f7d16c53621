use futures_util::stream;
use tokio::io::AsyncReadExt;

use super::*;

fn output(frames: Vec<Result<LogOutput, Error>>) -> SessionOutput {
    SessionOutput {
        frames: Box::pin(stream::iter(frames)),
        unread: Bytes::new(),
        complaint: Arc::default(),
    }
}

fn out(text: &'static str) -> Result<LogOutput, Error> {
    let message = Bytes::from_static(text.as_bytes());
    Ok(LogOutput::StdOut { message })
}

#[tokio::test]
async fn output_is_what_the_program_wrote_whatever_its_frames() {
    let complaint = LogOutput::StdErr {
        message: Bytes::from(vec![b'!'; 5000]),
    };
    let mut output = output(vec![out("he"), Ok(complaint), out(""), out("llo")]);
    let mut text = String::new();

    output.read_to_string(&mut text).await.unwrap();

    assert_eq!(text, "hello");
    assert_eq!(output.complaint.text(), "!".repeat(LONGEST_COMPLAINT));
}

#[tokio::test]
async fn a_frame_that_is_cut_is_no_output() {
    let rest = LogOutput::Console {
        message: Bytes::from_static(b"\x01\0\0"),
    };
    let mut output = output(vec![out("hello"), Ok(rest)]);
    let mut text = Vec::new();

    let error = output.read_to_end(&mut text).await.unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(text, b"hello");
}
