//! What container runtimes call a container: its image, its name, its pod. From the files that they keep for themselves, never by their
//! interfaces.
//!
//! Three forms, told apart by what a directory holds: containerd's bundles (`NAMESPACE/ID/config.json` below its task directory, with the
//! annotations of its Kubernetes plugin), docker's containers (`ID/config.v2.json`), and the containers of podman and CRI-O
//! (`containers.json` and `volatile-containers.json` of containers/storage, in which the metadata is JSON of its own). The files are root's: a sensor that
//! may not read them knows a container by its id alone. What stands in them was partly written by whoever started the container, so each
//! text is checked and bounded.

use crate::event::ecs::ContainerNames as Names;
use lru::LruCache;
use rustix::fs::{Mode, OFlags, open};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Most bytes of a file; one that is longer is not read.
const MAX_BYTES: u64 = 4 << 20;
/// Most bytes of a text.
const MAX_TEXT: usize = 255;
/// Containers that are remembered.
const CONTAINERS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Where containers/storage has containers, and those that are removed when they end.
const STORAGE: [&str; 2] = ["containers.json", "volatile-containers.json"];
/// Namespaces of containerd: Kubernetes', nerdctl's, docker's.
const NAMESPACES: [&str; 3] = ["k8s.io", "default", "moby"];

/// Looks names up.
#[derive(Debug)]
pub struct Runtimes {
    directories: Vec<PathBuf>,
    known: LruCache<String, Names>,
}

impl Runtimes {
    /// In these directories of runtimes.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, known: LruCache::new(CONTAINERS) }
    }

    /// What the container with this id is called; nothing is known where no file can be read. An id is used for one container
    /// for good, so a name that was found is remembered.
    pub fn names(&mut self, id: &str) -> Names {
        // It becomes a part of a path.
        if id.is_empty() || id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Names::default();
        }
        if let Some(names) = self.known.get(id) {
            return names.clone();
        }
        let names = self.directories.iter().find_map(|directory| look(directory, id)).unwrap_or_default();
        if names != Names::default() {
            self.known.put(id.to_owned(), names.clone());
        }
        names
    }
}

fn look(directory: &Path, id: &str) -> Option<Names> {
    let containerd =
        || NAMESPACES.iter().find_map(|namespace| read(&directory.join(namespace).join(id).join("config.json")));
    containerd()
        .and_then(|text| from_bundle(&text))
        .or_else(|| from_docker(&read(&directory.join(id).join("config.v2.json"))?))
        .or_else(|| STORAGE.iter().find_map(|file| from_storage(&read(&directory.join(file))?, id)))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A text that a name or an image can be.
fn checked(text: Option<String>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@+".contains(&byte);
    text.filter(|text| (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(allowed))
}

/// `config.json` of the runtime specification, with the annotations of containerd or CRI-O.
fn from_bundle(text: &[u8]) -> Option<Names> {
    #[derive(Deserialize)]
    struct Bundle {
        #[serde(default)]
        annotations: HashMap<String, String>,
    }
    let Bundle { mut annotations } = serde_json::from_slice(text).ok()?;
    let mut take = |name: &str| checked(annotations.remove(name));
    Some(Names {
        image: take("io.kubernetes.cri.image-name"),
        name: take("io.kubernetes.cri.container-name"),
        pod: take("io.kubernetes.cri.sandbox-name"),
        namespace: take("io.kubernetes.cri.sandbox-namespace"),
    })
}

/// `config.v2.json` of docker.
fn from_docker(text: &[u8]) -> Option<Names> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: Option<String>,
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<HashMap<String, String>>,
    }
    let Container { name, config } = serde_json::from_slice(text).ok()?;
    let Config { image, labels } = config.unwrap_or(Config { image: None, labels: None });
    let mut labels = labels.unwrap_or_default();
    // As cri-dockerd and the compose plugin label them.
    let mut label = |name: &str| checked(labels.remove(name));
    let (pod, namespace) = (label("io.kubernetes.pod.name"), label("io.kubernetes.pod.namespace"));
    let name =
        label("io.kubernetes.container.name").or_else(|| checked(Some(name?.trim_start_matches('/').to_owned())));
    Some(Names { image: checked(image), name, pod, namespace })
}

/// `containers.json` of containers/storage, which podman and CRI-O use.
fn from_storage(text: &[u8], id: &str) -> Option<Names> {
    #[derive(Deserialize)]
    struct Container {
        id: String,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        metadata: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "kebab-case", default)]
    struct Metadata {
        image_name: Option<String>,
        container_name: Option<String>,
        /// CRI-O has the pod's name and namespace as `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`.
        name: Option<String>,
    }
    let all: Vec<Container> = serde_json::from_slice(text).ok()?;
    let Container { names, metadata, .. } = all.into_iter().find(|container| container.id == id)?;
    let Metadata { image_name, container_name, name } = serde_json::from_str(&metadata).unwrap_or_default();
    let parts: Vec<&str> = name.as_deref().unwrap_or_default().split('_').collect();
    let (container, pod, namespace) = match parts.as_slice() {
        ["k8s", container, pod, namespace, _, _] => (Some(*container), Some(*pod), Some(*namespace)),
        _ => (None, None, None),
    };
    let text = |part: Option<&str>| checked(part.map(str::to_owned));
    Some(Names {
        image: checked(image_name),
        name: text(container).or_else(|| checked(container_name)).or_else(|| checked(names.into_iter().next())),
        pod: text(pod),
        namespace: text(namespace),
    })
}

#[cfg(test)]
mod tests;
