//! An image as `docker save` and gzip write it: a stand-in for the server's that echoes its session.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) const TAG: &str = "dtap/server:test";

pub(crate) struct Archive {
    program: String,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::with_program(ECHO)
    }

    /// With this script as `/dtap-server`.
    pub(crate) fn with_program(program: &str) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let program = self.program.clone().into_bytes();
        let layer = tar(&[("bin/sh", busybox), ("dtap-server", program)]);
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["/dtap-server"],
                "Cmd": ["run"],
                "Labels": { "dtap.server": "1" },
                "Volumes": { "/var/lib/dtap": {} },
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let manifest = json!([{
            "Config": "config.json",
            "RepoTags": [TAG],
            "Layers": ["layer.tar"],
        }]);

        gzip(&tar(&[
            ("manifest.json", manifest.to_string().into_bytes()),
            ("config.json", config.to_string().into_bytes()),
            ("layer.tar", layer),
        ]))
        .into()
    }
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, contents.as_slice())
            .expect("write to memory");
    }
    tar.into_inner().expect("write to memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("write to memory");
    gzip.finish().expect("write to memory")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// A shell as PID 1 has no handler for SIGTERM unless it sets one.
const ECHO: &str = "#!/bin/sh
case $1 in
    run) trap 'exit 0' TERM; while :; do sleep 1 & wait; done ;;
    session) echo ready >&2; exec cat ;;
esac
";
