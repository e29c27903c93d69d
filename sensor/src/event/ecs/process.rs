//! Other processes in a document: the parent and further ancestors; and what is said alike of each process: its path and its arguments.

use super::{Known, Origin, ParentProgram, ParentSource};
use crate::event::decode::ELLIPSIS;
use crate::event::document::{Document, Extent};
use crate::event::{Ancestor, Args, Exec, Executable, Lineage, PathState};
use serde_json::{Map, Value, json};

impl ParentSource {
    const fn word(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Proc => "proc",
        }
    }
}

impl Origin {
    pub(super) fn parent(
        &self,
        document: &mut Document,
        parent: &Ancestor,
        executable: Option<&Executable>,
        program: Option<&ParentProgram>,
    ) -> Value {
        let mut body = Map::new();
        body.insert("pid".to_owned(), parent.key.tgid.into());
        body.insert("entity_id".to_owned(), self.entity_id(parent.key).into());
        if !parent.exe.is_empty() {
            body.insert("name".to_owned(), document.text("process.parent.name", &parent.exe).into());
        }
        let comm = document.text("process.parent.thread.name", &parent.comm);
        body.insert("thread".to_owned(), json!({"id": parent.key.tgid, "name": comm}));
        if document.is_whole() {
            body.insert("start".to_owned(), self.offset.wall(parent.key.start).to_string().into());
            if let Some(path) = executable.and_then(path) {
                body.insert("executable".to_owned(), document.text("process.parent.executable", &path).into());
            }
        }
        if let Some(ParentProgram { args, source }) = program {
            arguments(document, &mut body, args, "process.parent.args");
            document.own(
                "parent",
                json!({"args_source": source.word(), "args_truncated": args.truncated, "args_unsearched": args.unsearched}),
            );
        }
        Value::Object(body)
    }

    /// What an alert says of its process's ancestors: a document of which only `sensor` is there. `known` is in the order of the
    /// ancestors, and may end sooner.
    #[must_use]
    pub fn ancestry(&self, exec: &Exec, known: &[Known]) -> Value {
        let mut document = Document::new(Extent::Whole);
        self.ancestors(&mut document, &exec.lineage, &executables(exec), known);
        document.finish()
    }

    /// The ancestors, the parent first; `executables` are the files that the first of them run.
    pub(super) fn ancestors(
        &self,
        document: &mut Document,
        lineage: &Lineage,
        executables: &[&Executable],
        known: &[Known],
    ) {
        let known = known.iter().map(Some).chain(std::iter::repeat(None));
        let executables = executables.iter().map(|file| Some(*file)).chain(std::iter::repeat(None));
        let all = lineage.ancestors.iter().zip(executables).zip(known);
        let ancestors: Vec<Value> =
            all.map(|((one, executable), known)| self.ancestor(document, one, executable, known)).collect();
        if !ancestors.is_empty() {
            document.own("ancestors", ancestors);
            if lineage.more {
                document.own("more_ancestors", true);
            }
        }
    }

    fn ancestor(
        &self,
        document: &mut Document,
        ancestor: &Ancestor,
        executable: Option<&Executable>,
        known: Option<&Known>,
    ) -> Value {
        let Ancestor { key, uid, comm, exe } = ancestor;
        let mut body = Map::new();
        body.insert("pid".to_owned(), key.tgid.into());
        body.insert("entity_id".to_owned(), self.entity_id(*key).into());
        let name = document.text("sensor.ancestors.name", if exe.is_empty() { comm } else { exe });
        body.insert("name".to_owned(), name.into());
        body.insert("comm".to_owned(), document.text("sensor.ancestors.comm", comm).into());
        if let Some(path) = executable.and_then(path) {
            body.insert("executable".to_owned(), document.text("sensor.ancestors.executable", &path).into());
        }
        let mut user = json!({"id": uid.to_string()});
        if let Some(Known { user: name, program }) = known {
            body.insert("start".to_owned(), self.offset.wall(key.start).to_string().into());
            if let (Some(name), Value::Object(user)) = (name, &mut user) {
                user.insert("name".to_owned(), name.as_str().into());
            }
            if let Some(ParentProgram { args, source }) = program {
                arguments(document, &mut body, args, "sensor.ancestors.args");
                body.insert("args_source".to_owned(), source.word().into());
                if args.truncated {
                    body.insert("args_truncated".to_owned(), true.into());
                }
            }
        }
        body.insert("user".to_owned(), user);
        Value::Object(body)
    }
}

/// The files that the ancestors run, the parent's first; as many as are carried.
pub(super) fn executables(exec: &Exec) -> Vec<&Executable> {
    std::iter::once(&exec.parent_executable).chain(&exec.surroundings.ancestors).collect()
}

/// The path as the document shows it; `None` if nothing is known of it.
pub(super) fn path(executable: &Executable) -> Option<Vec<u8>> {
    match executable.state {
        PathState::Whole | PathState::Detached => Some(executable.path.clone()),
        PathState::Cut => Some([ELLIPSIS.as_bytes(), b"/", &executable.path].concat()),
        PathState::Unknown => None,
    }
}

pub(super) fn arguments(document: &mut Document, body: &mut Map<String, Value>, args: &Args, field: &'static str) {
    let mut texts: Vec<String> = args.copied.iter().map(|arg| document.text(field, arg)).collect();
    if args.redacted {
        document.redacted(field);
    }
    let command_line = texts.join(" ");
    if !args.found_beyond.is_empty() {
        texts.push(ELLIPSIS.to_owned());
        texts.extend(args.found_beyond.iter().map(|flag| (*flag).to_owned()));
    }
    body.insert("args".to_owned(), texts.into());
    body.insert("args_count".to_owned(), args.count.into());
    body.insert("command_line".to_owned(), command_line.into());
}
