//! What a document says of the container that a process runs in.

use super::ContainerNames;
use crate::event::document::Document;
use serde_json::{Map, Value, json};

/// Puts the container, and the pod where it is in one.
pub(super) fn put(document: &mut Document, id: &str, names: &ContainerNames) {
    let ContainerNames { image, name, pod, namespace } = names;
    let mut container = Map::new();
    container.insert("id".to_owned(), id.into());
    if let Some(name) = name {
        container.insert("name".to_owned(), name.as_str().into());
    }
    if let Some(image) = image {
        container.insert("image".to_owned(), json!({"name": image}));
    }
    document.put("container", container);
    if let Some(pod) = pod {
        let mut orchestrator = json!({"type": "kubernetes", "resource": {"type": "pod", "name": pod}});
        if let (Some(namespace), Value::Object(members)) = (namespace, &mut orchestrator) {
            members.insert("namespace".to_owned(), namespace.as_str().into());
        }
        document.put("orchestrator", orchestrator);
    }
}
