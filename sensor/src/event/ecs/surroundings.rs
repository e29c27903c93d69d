//! What a document says of an execution beyond what rules ask for.

use super::Origin;
use super::process::path;
use crate::event::document::Document;
use crate::event::surroundings::{File, Surroundings};
use crate::event::{Exec, PathState};
use serde_json::{Map, Value, json};

impl Origin {
    /// Adds it to the process and to what stands below `sensor`.
    pub(super) fn surroundings(&self, document: &mut Document, process: &mut Map<String, Value>, event: &Exec) {
        let Surroundings {
            file: _,
            removed: _,
            directory,
            session,
            terminal,
            ancestors: _,
            environment,
            environment_cut,
        } = &event.surroundings;
        if let Some(path) = directory.as_ref().and_then(path).filter(|_| document.is_whole()) {
            let path = document.text("process.working_directory", &path);
            process.insert("working_directory".to_owned(), path.into());
        }
        if let Some(session) = session {
            let leader = if document.is_whole() {
                self.session_leader(*session, event)
            } else {
                json!({"same_as_process": event.process.tgid == *session})
            };
            process.insert("session_leader".to_owned(), leader);
        }
        if let Some(Some(terminal)) = terminal {
            let numbers = json!({"major": terminal.major, "minor": terminal.minor});
            process.insert("tty".to_owned(), json!({"char_device": numbers}));
        }
        if !document.is_whole() {
            return;
        }
        if !environment.is_empty() {
            let variables: Vec<String> =
                environment.iter().map(|variable| document.text("process.env_vars", variable)).collect();
            process.insert("env_vars".to_owned(), variables.into());
        }
        if *environment_cut {
            document.own("environment_truncated", true);
        }
        let file = file(event);
        if !file.is_empty() {
            document.own("file", file);
        }
    }

    /// The leader by its number, which no other process has as long as there is a process of the session; by its identity, where that
    /// is known.
    fn session_leader(&self, number: u32, event: &Exec) -> Value {
        let ancestor = event.lineage.ancestors.iter().map(|ancestor| ancestor.key).find(|key| key.tgid == number);
        let key = if event.process.tgid == number { Some(event.process) } else { ancestor };
        match key {
            Some(key) => json!({
                "pid": number,
                "entity_id": self.entity_id(key),
                "start": self.offset.wall(key.start).to_string(),
                "same_as_process": key == event.process,
            }),
            None => json!({"pid": number, "same_as_process": false}),
        }
    }
}

/// The executed file.
fn file(event: &Exec) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(File { inode, device, uid, gid, mode }) = event.surroundings.file {
        body.insert("inode".to_owned(), inode.to_string().into());
        body.insert("device".to_owned(), device.to_string().into());
        body.insert("uid".to_owned(), uid.to_string().into());
        body.insert("gid".to_owned(), gid.to_string().into());
        body.insert("mode".to_owned(), format!("{mode:04o}").into());
    }
    let in_memory = event.executable.state == PathState::Detached && event.executable.name.starts_with(b"memfd:");
    if in_memory {
        body.insert("memfd".to_owned(), true.into());
    }
    if event.surroundings.removed == Some(true) {
        body.insert("removed".to_owned(), true.into());
    }
    body
}
