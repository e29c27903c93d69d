//! The image of a container: the program and the licences, as an archive of the layout of the Open Container Initiative
//! (image-spec 1.1), which needs no daemon to be made.

use super::tarball::{add, archive};
use super::tree::Tree;
use super::{NAME, Package, SUMMARY, hex};
use crate::install;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Paths of what is in the image begin with these.
const PARTS: [&str; 2] = [install::PROGRAM, "usr/share/licenses/"];

/// Builds the image.
pub(super) fn build(package: &Package<'_>, directory: &Path) -> Result<PathBuf> {
    let Package { arch, version, time, .. } = package;
    let path = directory.join(format!("{NAME}-{version}-{arch}.oci.tar"));
    let layer = archive(&parts(package.tree), *time)?;
    std::fs::write(&path, image(package, &layer)?).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Of all files, those that a container needs.
fn parts(tree: &Tree) -> Tree {
    let wanted = tree.0.iter().filter(|file| PARTS.iter().any(|part| file.path.starts_with(part)));
    Tree(wanted.cloned().collect())
}

fn image(package: &Package<'_>, layer: &[u8]) -> Result<Vec<u8>> {
    let Package { debian_arch, version, time, .. } = package;
    let created = Timestamp::from_second(i64::try_from(*time)?)?.to_string();
    let name = format!("localhost/{NAME}:{version}");
    let config = serde_json::to_vec(&json!({
        "created": created,
        // The specification has Debian's names of both processors.
        "architecture": debian_arch,
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{}", install::PROGRAM)],
            "Cmd": ["run"],
            "Labels": {
                "org.opencontainers.image.title": NAME,
                "org.opencontainers.image.description": SUMMARY,
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(layer)] },
        "history": [{ "created": created, "created_by": "cargo xtask package" }],
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config),
        "layers": [descriptor(LAYER, layer)],
    }))?;
    let mut entry = descriptor(MANIFEST, &manifest);
    if let Some(entry) = entry.as_object_mut() {
        // What the image is called once it is loaded: the one for podman, the other for docker.
        let names = json!({ "org.opencontainers.image.ref.name": name, "io.containerd.image.name": name });
        entry.insert("annotations".to_owned(), names);
    }
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }))?;
    let mut archive = Builder::new(Vec::new());
    let mut put = |path: &str, content: &[u8]| add(&mut archive, EntryType::Regular, path, 0o644, content, *time);
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put("index.json", &index)?;
    for blob in [&manifest, &config, layer] {
        put(&format!("blobs/sha256/{}", hex(&Sha256::digest(blob))), blob)?;
    }
    Ok(archive.into_inner()?)
}

fn descriptor(kind: &str, content: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(content), "size": content.len() })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{package, small};
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    /// The README's command loads what is built, and the scripts start what is called so then.
    #[test]
    fn what_is_published_names_this_version() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let tree = small();
        let directory = tempfile::tempdir().unwrap();
        let package = Package { arch: "x86_64", version: env!("CARGO_PKG_VERSION"), ..package(&tree) };
        let path = build(&package, directory.path()).unwrap();
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        let line = format!("\npodman load -i target/package/{} ", path.file_name().unwrap().display());
        assert!(readme.contains(&line), "{line}");
        for script in ["privileged.sh", "least-capabilities.sh"] {
            let script = format!("deploy/container/{script}");
            assert!(readme.contains(&script), "{script}");
            let text = std::fs::read_to_string(root.join(script)).unwrap();
            assert!(text.contains(&format!("\"${{SENSOR_IMAGE:-localhost/{NAME}:{}}}\"", package.version)), "{text}");
        }
    }

    /// Each part is where its digest says, down to the layer.
    #[test]
    fn everything_is_found_from_the_index() {
        let tree = small();
        let package = package(&tree);
        let layer = archive(&parts(&tree), 7).unwrap();
        let image = image(&package, &layer).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(image.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
            let content = files[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!((hex(&Sha256::digest(&content)), json!(content.len())), (digest, descriptor["size"].clone()));
            content
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let found = blob(&manifest["layers"][0]);
        assert_eq!(found, layer);
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        assert_eq!(config["created"], "1970-01-01T00:00:07Z");
        assert_eq!((&config["architecture"], &config["os"]), (&json!("arm64"), &json!("linux")));
        let mut names = tar::Archive::new(found.as_slice());
        let names: Vec<_> =
            names.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["usr/", "usr/bin/", "usr/bin/sensor"]);
    }
}
