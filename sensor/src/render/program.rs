//! The processes of an alert: what is known of each, from the oldest known ancestor to the one that executed the shell.

use super::fields::{Fields, scalar};
use serde_json::Value;

/// Ancestors that are shown at most; a document may hold any number.
const MOST_ANCESTORS: usize = 16;

/// A process as far as the document tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `process.pid`.
    pub pid: Option<String>,
    /// `process.entity_id`.
    pub entity: Option<String>,
    /// The executable's name.
    pub name: Option<String>,
    /// The name of the process's first thread, if it is another one.
    pub comm: Option<String>,
    /// Who runs it, as words.
    pub user: Option<String>,
    /// The executable's path.
    pub executable: Option<String>,
    /// The arguments as one text.
    pub command: Option<String>,
}

impl Program {
    /// What a document says of its own process, with the user.
    pub(super) fn of(process: &Fields, user: &Fields) -> Self {
        Self { user: who(user), ..Self::from_fields(process) }
    }

    fn from_fields(fields: &Fields) -> Self {
        let name = fields.text("name");
        let comm = fields.text("comm").or_else(|| fields.texts("thread.name").pop());
        let user = fields.at("user").map(Fields::from_object).and_then(|user| who(&user));
        Self {
            pid: fields.text("pid"),
            entity: fields.text("entity_id"),
            comm: comm.filter(|comm| name.as_ref() != Some(comm)),
            name,
            user,
            executable: fields.text("executable"),
            command: fields.at("args").and_then(joined).or_else(|| fields.text("command_line")),
        }
    }

    /// Whether both are the same process; whoever has no identity is nobody else.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (&self.entity, &other.entity) {
            (Some(one), Some(another)) => one == another,
            _ => self.pid.is_some() && self.pid == other.pid,
        }
    }

    /// With what another source knows and this one does not.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            pid: self.pid.or(other.pid),
            entity: self.entity.or(other.entity),
            name: self.name.or(other.name),
            comm: self.comm.or(other.comm),
            user: self.user.or(other.user),
            executable: self.executable.or(other.executable),
            command: self.command.or(other.command),
        }
    }

    fn is_known(&self) -> bool {
        *self != Self::default()
    }

    /// What it is called.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().or(self.comm.as_deref()).unwrap_or("a process")
    }
}

/// The processes of a document, the oldest first and its own last, and whether there are older ones that it does not hold.
pub(super) fn family(process: &Fields, user: &Fields, own: &Fields) -> (Vec<Program>, bool) {
    let ancestors = own.objects("ancestors");
    let more = ancestors.len() > MOST_ANCESTORS || own.at("more_ancestors") == Some(&Value::Bool(true));
    let mut family: Vec<Program> =
        ancestors.iter().take(MOST_ANCESTORS).map(Program::from_fields).filter(Program::is_known).collect();
    let parent = process.at("parent").map(|parent| Program::from_fields(&Fields::from_object(parent)));
    if let Some(parent) = parent.filter(Program::is_known) {
        match family.first_mut() {
            Some(first) if first.is(&parent) => *first = parent.or(std::mem::take(first)),
            _ => family.insert(0, parent),
        }
    }
    family.reverse();
    family.push(Program::of(process, user));
    (family, more)
}

/// A user as words: `www-data (33), effective 0`.
fn who(user: &Fields) -> Option<String> {
    let (id, name) = (user.text("id"), user.text("name"));
    let real = match (name, id) {
        (Some(name), Some(id)) if name != id => Some(format!("{name} ({id})")),
        (Some(name), _) => Some(name),
        (None, id) => id.map(|id| format!("uid {id}")),
    };
    let effective = user.text("effective.name").or_else(|| user.text("effective.id"));
    match (real, effective) {
        (Some(real), Some(effective)) => Some(format!("{real}, effective {effective}")),
        (real, effective) => real.or(effective),
    }
}

/// Arguments as one text: one with a space in it, or with nothing in it, stands in quotes.
pub(super) fn joined(args: &Value) -> Option<String> {
    let Value::Array(args) = args else { return scalar(args) };
    let quoted = |arg: &str| {
        if arg.is_empty() || arg.contains(char::is_whitespace) { format!("'{arg}'") } else { arg.to_owned() }
    };
    let words: Vec<String> = args.iter().filter_map(Value::as_str).map(quoted).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
