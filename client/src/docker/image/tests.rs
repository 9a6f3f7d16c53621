use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const MANIFEST: &str =
    r#"[{"Config":"c.json","RepoTags":["dtap/server:1","dtap/server:latest"],"Layers":["l.tar"]}]"#;
const CONFIG: &str = r#"{"config":{"Labels":{"dtap.server":"1"}},"rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

fn image(layer: &str, label: &str) -> ImageInspect {
    serde_json::from_str(&format!(
        r#"{{"Id":"sha256:1","RootFS":{{"Type":"layers","Layers":["{layer}"]}},"Config":{{"Labels":{{"dtap.server":"{label}"}}}}}}"#
    ))
    .unwrap()
}

#[test]
fn an_image_is_the_same_by_its_layers_and_labels() {
    let contents = Contents::read(&archive(&[("manifest.json", MANIFEST), ("c.json", CONFIG)]));
    let contents = contents.unwrap();

    assert_eq!(contents.tag, "dtap/server:1");
    assert!(contents.equals(&image("sha256:aa", "1")));
    assert!(!contents.equals(&image("sha256:bb", "1")));
    assert!(!contents.equals(&image("sha256:aa", "2")));
}

#[test]
fn what_is_no_image_says_what_it_lacks() {
    let untagged = MANIFEST.replace(r#""dtap/server:1","dtap/server:latest""#, "");
    let cases = [
        (b"this is no gzip file".to_vec(), "gzip"),
        (archive(&[]), "it has no manifest.json"),
        (archive(&[("manifest.json", "[]")]), "exactly one image"),
        (
            archive(&[("manifest.json", MANIFEST)]),
            "it has no configuration",
        ),
        (
            archive(&[("manifest.json", &untagged), ("c.json", CONFIG)]),
            "it has no tag",
        ),
        (
            archive(&[("manifest.json", MANIFEST), ("c.json", "{")]),
            "read its configuration",
        ),
    ];

    for (archive, lack) in cases {
        let error = format!("{:#}", Contents::read(&archive).unwrap_err());
        assert!(error.contains(lack), "{lack}: {error}");
    }
}
