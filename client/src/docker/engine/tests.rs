//! Engines that cannot be talked to, each with the sentence a user reads.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use futures_util::StreamExt;
use tempfile::TempDir;

use super::super::environment::User;
use super::*;

/// A socket where an engine could be.
struct Socket {
    directory: TempDir,
}

impl Socket {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    fn target(&self) -> Target {
        Target {
            name: "default".into(),
            endpoint: Endpoint::Unix(self.path()),
            user: User {
                name: "me".into(),
                uid: 0,
                gid: 0,
                home: "/".into(),
            },
            ssh_agent: None,
        }
    }

    /// Answers every request with the text for its path, then closes the connection.
    fn answering(self, answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = UnixListener::bind(self.path()).unwrap();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = [0; 4096];
                let length = connection.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                connection.write_all(answer(path).as_bytes()).unwrap();
            }
        });
        self
    }

    async fn refusal(&self) -> String {
        let error = Engine::connect(&self.target()).await.unwrap_err();
        format!("{error:#}").replace(&self.path().display().to_string(), "SOCKET")
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn version(api: &str) -> String {
    ok(&format!(
        r#"{{"Version":"x","ApiVersion":"{api}","Arch":"arm64"}}"#
    ))
}

#[tokio::test]
async fn a_missing_socket_is_no_engine() {
    assert_eq!(
        Socket::new().refusal().await,
        "connect to engine 'default': no engine at SOCKET: start Docker, or name another with --context or --docker-host"
    );
}

#[tokio::test]
async fn a_socket_nobody_listens_on_is_an_engine_that_is_not_running() {
    let socket = Socket::new();
    drop(UnixListener::bind(socket.path()).unwrap());

    assert_eq!(
        socket.refusal().await,
        "connect to engine 'default': the engine at unix://SOCKET is not running (connection refused): start Docker"
    );
}

#[tokio::test]
async fn an_engine_of_2019_is_too_old() {
    let socket = Socket::new().answering(|_| version("1.40"));

    assert_eq!(
        socket.refusal().await,
        "engine 'default' is too old: its API is 1.40, and dtap needs 1.41 (Docker 20.10): upgrade Docker"
    );
}

#[tokio::test]
async fn the_engine_s_own_refusal_is_passed_on() {
    let socket = Socket::new().answering(|_| {
        let body = r#"{"message":"client is newer than server\n"}"#;
        ok(body).replace("200 OK", "400 Bad Request")
    });

    assert_eq!(
        socket.refusal().await,
        "connect to engine 'default': the engine refused: client is newer than server"
    );
}

#[tokio::test]
async fn what_is_no_engine_is_named() {
    let socket = Socket::new().answering(|_| "220 mail.example ESMTP\r\n".to_owned());

    let refusal = socket.refusal().await;
    assert!(
        refusal.contains("talk to the engine at unix://SOCKET"),
        "{refusal}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_engine_is_given_up() {
    let socket = Socket::new();
    let _listener = UnixListener::bind(socket.path()).unwrap();

    assert_eq!(
        socket.refusal().await,
        "connect to engine 'default': the engine at unix://SOCKET did not answer within 10 s"
    );
}

#[tokio::test]
async fn the_end_of_the_events_is_an_error() {
    let socket = Socket::new().answering(|path| {
        if path.contains("/version") {
            version("1.41")
        } else if path.contains("/info") {
            ok(r#"{"SystemTime":"2026-11-21T04:00:00.123456789+01:00"}"#)
        } else {
            assert!(path.contains("since=1795230000"), "{path}");
            ok(concat!(
                r#"{"Type":"network","Action":"create","Actor":{"ID":"n1","Attributes":{"name":"web"}}}"#,
                "\n",
                r#"{"Type":"image","Action":"pull","Actor":{"ID":"i1"}}"#,
                "\n",
            ))
        }
    });
    let engine = Engine::connect(&socket.target()).await.unwrap();

    let events: Vec<_> = engine.events().await.unwrap().collect().await;

    let [Ok(event), Err(end)] = events.as_slice() else {
        panic!("one event and the end: {events:?}")
    };
    assert_eq!(
        (event.action.as_str(), event.name.as_str()),
        ("create", "web")
    );
    assert_eq!(end.to_string(), "the engine ended its stream of events");
}
