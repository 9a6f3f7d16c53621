//! Embeds the server's images, so that a client needs no registry, and the shim.
//!
//! `make build` names the images' directory in `DTAP_IMAGE_DIR` and the shim in `DTAP_SHIM`; a plain
//! `cargo build` makes a client that carries neither and says so when one is needed.

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
    fs::write(out.join("shim.rs"), shim()).expect("write shim.rs");
}

fn shim() -> String {
    println!("cargo::rerun-if-env-changed=DTAP_SHIM");
    let path = env::var_os("DTAP_SHIM").map(PathBuf::from);
    let value = path.map_or_else(|| "None".to_owned(), |path| included(&path));
    format!(
        "/// The program for HyperKit's place.\n\
         pub(super) const SHIM: Option<&[u8]> = {value};\n"
    )
}

fn declaration(constant: &str, arch: &str, images: Option<&Path>) -> String {
    let value = images.map_or_else(
        || "None".to_owned(),
        |images| included(&images.join(format!("dtap-server-{arch}.tar.gz"))),
    );
    format!(
        "/// The server's image for linux/{arch} as `docker load` takes it.\n\
         pub(crate) const {constant}: Option<&[u8]> = {value};\n"
    )
}

fn included(path: &Path) -> String {
    let path = path
        .canonicalize()
        .unwrap_or_else(|error| panic!("find {}: {error}", path.display()));
    println!("cargo::rerun-if-changed={}", path.display());
    format!("Some(include_bytes!({path:?}))")
}
