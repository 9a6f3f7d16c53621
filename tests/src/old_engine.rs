//! An engine from before dtap's time, as far as a client that asks for its version can tell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use crate::lab::Lab;

/// Answers every request on the host as Docker 1.12 would answer for its version. Ends with this process.
pub fn start(lab: &Lab) -> Result<SocketAddr> {
    let listener = lab
        .mac_namespace()
        .enter(|| TcpListener::bind("127.0.0.1:0"))?
        .context("listen on the host")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that has gone misses nothing.
            let _ = answer(stream);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> Result<()> {
    let mut request = [0; 4096];
    while stream.read(&mut request)? > 0 {
        let length = VERSION.len();
        let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.24\r\nContent-Type: application/json";
        write!(
            stream,
            "{head}\r\nContent-Length: {length}\r\n\r\n{VERSION}"
        )?;
    }
    Ok(())
}

const VERSION: &str = r#"{"Version":"1.12.6","ApiVersion":"1.24","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;
