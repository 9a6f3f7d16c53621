//! An image as `docker save` writes it: a stand-in for the server's that echoes its session.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};

pub struct Archive {
    tag: String,
    program: String,
}

impl Archive {
    pub fn new(tag: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            program: PROGRAM.to_owned(),
        }
    }

    /// As `Archive::new`, with another program under the same tag.
    pub fn with_program(self, program: &str) -> Self {
        Self {
            program: program.to_owned(),
            ..self
        }
    }

    pub fn bytes(&self) -> Bytes {
        let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
        let layer = tar(&[
            ("bin/sh", busybox),
            ("dtap-server", self.program.clone().into_bytes()),
        ]);
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
            "RepoTags": [self.tag],
            "Layers": ["layer.tar"],
        }]);

        let archive = tar(&[
            ("manifest.json", manifest.to_string().into_bytes()),
            ("config.json", config.to_string().into_bytes()),
            ("layer.tar", layer),
        ]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&archive).unwrap();
        gzip.finish().unwrap().into()
    }
}

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, path, contents.as_slice())
            .unwrap();
    }
    tar.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

const PROGRAM: &str = "#!/bin/sh
case $1 in
    run) trap 'exit 0' TERM; while :; do sleep 1 & wait; done ;;
    session) echo ready >&2; exec cat ;;
    *) echo \"no such command\" >&2; exit 7 ;;
esac
";
