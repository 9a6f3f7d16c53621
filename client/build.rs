//! Embeds the server's images, so that a client needs no registry.
//!
//! `make build` names their directory in `DTAP_IMAGE_DIR`; a plain `cargo build` makes a client
//! that carries none and says so when one is needed.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DTAP_IMAGE_DIR");
    let images = env::var_os("DTAP_IMAGE_DIR").map(PathBuf::from);
    let source = [("AMD64", "amd64"), ("ARM64", "arm64")]
        .map(|(constant, arch)| declaration(constant, arch, images.as_deref()))
        .concat();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("image.rs"), source).expect("write image.rs");
}

fn declaration(constant: &str, arch: &str, images: Option<&Path>) -> String {
    let value = images.map_or_else(|| "None".to_owned(), |images| included(images, arch));
    format!(
        "/// The server's image for linux/{arch} as `docker load` takes it.\n\
         pub(crate) const {constant}: Option<&[u8]> = {value};\n"
    )
}

fn included(images: &Path, arch: &str) -> String {
    let path = images.join(format!("dtap-server-{arch}.tar.gz"));
    let path = path
        .canonicalize()
        .unwrap_or_else(|error| panic!("find the image {}: {error}", path.display()));
    println!("cargo::rerun-if-changed={}", path.display());
    format!("Some(include_bytes!({path:?}))")
}
