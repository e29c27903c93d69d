//! The licences of the libraries that the program is linked with, nearly all of which ask that their text goes along.

use super::tree::{File, LICENSE_DIRECTORY, file};
use crate::{ebpf, shell};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const HEAD: &str = "\
The program is linked with the libraries below, with the standard library of Rust (MIT or Apache-2.0) and with the C library of the
system that it was built on (the GNU C Library: LGPL-2.1-or-later). The texts that the numbers stand for follow the list.

";
/// How names of files with licences begin.
const TEXTS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// What `cargo metadata` tells, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Clone, Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<PathBuf>,
    manifest_path: PathBuf,
    /// None for those of the workspace.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Clone, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// None for what is linked; `build` or `dev`.
    kind: Option<String>,
}

/// The file with all of them, for a target as Rust calls it.
pub(super) fn file_for(root: &Path, target: &str) -> Result<File> {
    let mut command = shell::cargo(root);
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", target]);
    let metadata = serde_json::from_str(&shell::output(&mut command)?).context("cargo metadata")?;
    let crates = linked(&metadata, &["sensor", ebpf::PACKAGE]);
    Ok(file(&format!("{LICENSE_DIRECTORY}/THIRD-PARTY"), 0o644, notices(&crates)?.into_bytes()))
}

/// The crates that end up in programs of these packages, in order. Macros run in the compiler, and what they need does too.
fn linked(metadata: &Metadata, programs: &[&str]) -> Vec<Crate> {
    let crates: BTreeMap<&str, &Crate> = metadata.packages.iter().map(|it| (&*it.id, it)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|it| (&*it.id, it)).collect();
    let ours = |it: &&Crate| it.source.is_none() && programs.contains(&&*it.name);
    let mut pending: Vec<&str> = metadata.packages.iter().filter(ours).map(|it| &*it.id).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = pending.pop() {
        let is_macro = crates
            .get(id)
            .is_some_and(|it| it.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro")));
        if is_macro || !seen.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        let linked = dependencies.filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        pending.extend(linked.map(|dependency| &*dependency.pkg));
    }
    let mut found: Vec<Crate> = seen.into_iter().filter_map(|id| crates.get(id).copied().cloned()).collect();
    found.retain(|it| it.source.is_some());
    found.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    found
}

/// The list, and each text once.
fn notices(crates: &[Crate]) -> Result<String> {
    let mut list = HEAD.to_owned();
    let mut texts: Vec<String> = Vec::new();
    for Crate { name, version, license, license_file, manifest_path, .. } in crates {
        let terms = license.as_deref().or(license_file.as_ref().map(|_| "terms of its own"));
        let terms = terms.with_context(|| format!("{name} {version} has no licence"))?;
        let mut numbers = Vec::new();
        for text in texts_of(manifest_path.parent().context("no directory")?)? {
            let known = texts.iter().position(|one| *one == text).unwrap_or_else(|| {
                texts.push(text);
                texts.len() - 1
            });
            numbers.push((known + 1).to_string());
        }
        numbers.dedup();
        let place = if numbers.is_empty() { "no text comes with it".to_owned() } else { numbers.join(", ") };
        writeln!(list, "{name} {version}, {terms}: {place}")?;
    }
    for (number, text) in texts.iter().enumerate() {
        write!(list, "\n{:=<79}\n{}\n\n{}\n", "", number + 1, text.trim_end())?;
    }
    Ok(list)
}

/// The texts in a crate's directory, by the names of their files.
fn texts_of(directory: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if TEXTS.iter().any(|start| name.starts_with(start)) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    let read = |path: &PathBuf| {
        let content = std::fs::read(path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&content).replace("\r\n", "\n"))
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(directory: &Path) -> Metadata {
        let package = |name: &str, kind: &str| {
            let path = directory.join(name);
            json!({
                "id": name, "name": name, "version": "1.0.0", "license": "MIT", "license_file": null,
                "manifest_path": path.join("Cargo.toml"), "targets": [{ "kind": [kind] }],
                "source": if name == "sensor" { None } else { Some("registry") },
            })
        };
        let needs = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        serde_json::from_value(json!({
            "packages": [
                package("sensor", "bin"), package("zlib", "lib"), package("linked", "lib"), package("macro", "proc-macro"),
                package("parser", "lib"), package("builder", "lib"), package("tester", "lib"),
            ],
            "resolve": { "nodes": [
                { "id": "sensor", "deps": [needs("zlib", None), needs("macro", None), needs("builder", Some("build")), needs("tester", Some("dev"))] },
                { "id": "zlib", "deps": [needs("linked", None)] },
                { "id": "linked", "deps": [] },
                { "id": "macro", "deps": [needs("parser", None)] },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_linked_is_named_with_its_licence() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in
            [("zlib/LICENSE", "Be kind.\r\n"), ("linked/license-mit", "Be kind.\n"), ("linked/NOTICE", "Ours.\n")]
        {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let crates = linked(&metadata(directory.path()), &["sensor"]);
        let names: Vec<_> = crates.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["linked", "zlib"]);
        let text = notices(&crates).unwrap();
        assert!(text.contains("\nlinked 1.0.0, MIT: 1, 2\nzlib 1.0.0, MIT: 2\n"), "{text}");
        assert_eq!(text.matches("Be kind.").count(), 1);
        assert_eq!(text.matches("Ours.").count(), 1);
    }

    #[test]
    fn a_crate_without_a_licence_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut crates = linked(&metadata(directory.path()), &["sensor"]);
        crates.iter_mut().for_each(|it| it.license = None);
        assert!(notices(&crates).unwrap_err().to_string().contains("linked 1.0.0"));
    }

    #[test]
    fn this_program_is_linked_with_what_it_uses() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let File { path, content, .. } = file_for(root, "aarch64-unknown-linux-gnu").unwrap();
        let text = String::from_utf8(content).unwrap();
        assert_eq!(path, "usr/share/licenses/sensor/THIRD-PARTY");
        for (name, linked) in [("aya", true), ("aya-ebpf", true), ("tokio", true), ("syn", false), ("proptest", false)]
        {
            assert_eq!(text.contains(&format!("\n{name} ")), linked, "{name}");
        }
    }
}
