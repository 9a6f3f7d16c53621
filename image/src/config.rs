//! The image configuration: what `docker inspect` shows and `docker run` starts.

use serde_json::{Value, json};

use crate::{Arch, VERSION};

/// The configuration of an image whose only layer has this digest.
///
/// Field names are those of the OCI image specification; `Healthcheck` is Docker's addition.
/// Kept equal to the `Dockerfile` beside this crate.
pub(crate) fn config(arch: Arch, layer_digest: &str) -> Value {
    json!({
        "architecture": arch.to_string(),
        "os": "linux",
        "created": CREATED,
        "config": {
            "Entrypoint": ["/dtap-server"],
            "Cmd": ["run"],
            "Healthcheck": {
                "Test": ["CMD", "/dtap-server", "health"],
                "Interval": 30 * SECOND,
                "Timeout": 5 * SECOND,
                "StartPeriod": 5 * SECOND,
                "Retries": 3,
            },
            "Volumes": { "/var/lib/dtap": {} },
            "Labels": {
                "dtap.server": "1",
                "org.opencontainers.image.title": "dtap-server",
                "org.opencontainers.image.description": env!("CARGO_PKG_DESCRIPTION"),
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
                "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": CREATED, "created_by": "dtap-image" }],
    })
}

/// Fixed, so that the same binary gives the same image ID.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Durations of a health check are in nanoseconds.
const SECOND: u64 = 1_000_000_000;
