use std::time::Duration;

use tokio::io::{DuplexStream, duplex, split};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(30);

fn session(heart: Heart, stream: DuplexStream) -> Session {
    let (read, write) = split(stream);
    Session::start(&Handle::current(), heart, read, write)
}

#[tokio::test]
async fn the_end_of_the_stream_is_that_of_the_session() {
    let (near, far) = duplex(1 << 16);
    let mut session = session(Heart::Beats, near);
    drop(far);
    let end = timeout(SOON, session.recv()).await;
    assert!(matches!(end, Ok(Ok(None))), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_both_ends_alive_and_are_nobodys_messages() {
    let (near, far) = duplex(1 << 16);
    let mut client = session(Heart::Beats, near);
    let mut server = session(Heart::Answers, far);
    let minute = Duration::from_secs(60);
    let quiet = timeout(minute, async {
        tokio::select! {
            heard = client.recv() => heard,
            heard = server.recv() => heard,
        }
    });
    assert!(quiet.await.is_err());
    client.send(&Message::Bye);
    assert_eq!(server.recv().await.unwrap(), Some(Message::Bye));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_on_either_side() {
    for heart in [Heart::Beats, Heart::Answers] {
        let (near, _far) = duplex(1 << 16);
        let mut session = session(heart, near);
        let begin = tokio::time::Instant::now();
        let error = session.recv().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "nothing heard for 5 s");
        assert!(begin.elapsed() <= Duration::from_secs(6));
    }
}
