//! What a rule can ask of an ECS document, and nothing else of it.
//!
//! The same reader serves a live document ([`Facts::from_value`]) and a line of a file ([`Facts::from_slice`], without
//! building the document). Fields may be nested objects, dotted keys or a mix of both, scalars or arrays; what is not
//! listed in [`Field`] or as a member of [`Facts`] is checked to be JSON and passed over.

mod read;
mod time;

use super::BootTime;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

pub use time::Millis;

/// A field that conditions and join keys can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `event.category`
    EventCategory,
    /// `event.type`
    EventType,
    /// `event.action`
    EventAction,
    /// `host.id`
    HostId,
    /// `process.entity_id`
    EntityId,
    /// `process.parent.entity_id`
    ParentEntityId,
    /// `sensor.inherited.entity_id`: the process whose connection an executing one has inherited.
    InheritedFrom,
    /// `process.name` and `process.thread.name`: the executable's and the task's name are both names of the process.
    ProcessName,
    /// `process.parent.name` and `process.parent.thread.name`, likewise.
    ParentName,
    /// `process.args`
    Args,
    /// `process.parent.args`
    ParentArgs,
    /// `destination.ip`
    DestinationIp,
}

impl Field {
    const COUNT: usize = Self::DestinationIp as usize + 1;

    /// The name of the field in ECS.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventCategory => "event.category",
            Self::EventType => "event.type",
            Self::EventAction => "event.action",
            Self::HostId => "host.id",
            Self::EntityId => "process.entity_id",
            Self::ParentEntityId => "process.parent.entity_id",
            Self::InheritedFrom => "sensor.inherited.entity_id",
            Self::ProcessName => "process.name",
            Self::ParentName => "process.parent.name",
            Self::Args => "process.args",
            Self::ParentArgs => "process.parent.args",
            Self::DestinationIp => "destination.ip",
        }
    }
}

/// The values of a field: none if it is absent or null, one, or the elements of an array. Numbers and booleans are held
/// as their text, as a keyword field holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Values<'a> {
    #[default]
    None,
    One(Cow<'a, str>),
    Many(Vec<Cow<'a, str>>),
}

impl<'a> Values<'a> {
    fn push(&mut self, value: Cow<'a, str>) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(value),
            Self::One(first) => Self::Many(vec![first, value]),
            Self::Many(mut all) => {
                all.push(value);
                Self::Many(all)
            }
        };
    }

    fn as_slice(&self) -> &[Cow<'a, str>] {
        match self {
            Self::None => &[],
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(all) => all,
        }
    }
}

/// The place of a document on the boot clock of its host, as this sensor writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot<'a> {
    /// `sensor.boot_id`: which boot.
    pub id: Cow<'a, str>,
    /// `sensor.boot_ns`: when, since that boot.
    pub at: BootTime,
    /// `event.sequence`: the order in which the sensor saw what happened.
    pub sequence: Option<u64>,
}

/// An entry of `sensor.stdio`: what stands on a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// `fd`
    number: Option<u64>,
    /// `kind`
    kind: Option<Cow<'a, str>>,
    /// `remote.ip`
    remote: Option<Cow<'a, str>>,
    /// `family`
    family: Option<Cow<'a, str>>,
    /// `device`
    device: Option<Cow<'a, str>>,
}

impl Descriptor<'_> {
    /// Whether it is a TCP socket.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.kind.as_deref() == Some("tcp")
    }

    /// The address of the far end, if there is one.
    #[must_use]
    pub fn remote(&self) -> Option<IpAddr> {
        self.remote.as_deref()?.parse().ok()
    }

    /// Whether it is a UNIX socket.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.kind.as_deref() == Some("socket") && self.family.as_deref() == Some("unix")
    }

    /// The path of the device, if it is one.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// What stands there, in a word.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }
}

/// The facts of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// `@timestamp`, cut to the millisecond; of several the earliest.
    pub time: Millis,
    /// The place on the boot clock; absent unless both `sensor.boot_id` and `sensor.boot_ns` are there.
    pub boot: Option<Boot<'a>>,
    /// `event.id`
    pub event_id: Option<Cow<'a, str>>,
    /// `sensor.arm`: the identity of a connection within one run of the sensor.
    pub arm: Option<u64>,
    /// `sensor.inherited.arm`: that of the connection which an executing process has inherited.
    pub inherited: Option<u64>,
    /// `process.session_leader.same_as_process`: whether the process leads its session.
    pub leads_session: Option<bool>,
    /// `process.tty.char_device`: major and minor number of the session's terminal.
    pub terminal: Option<(u32, u32)>,
    /// `sensor.args.unsearched`: some of `process.args` could not be searched.
    pub args_unsearched: bool,
    /// `sensor.parent.args_unsearched`: some of `process.parent.args` could not be searched.
    pub parent_args_unsearched: bool,
    /// `sensor.stdio`
    stdio: Vec<Descriptor<'a>>,
    values: [Values<'a>; Field::COUNT],
}

impl<'a> Facts<'a> {
    /// The facts of the document that `text` spells.
    ///
    /// # Errors
    /// When the text is not one JSON object (in UTF-8, nested at most 127 deep, of at most 250,000 values, numbers within the
    /// range of a double), or the document has no usable `@timestamp`.
    pub fn from_slice(text: &'a [u8]) -> Result<Self, NotAnEvent> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let draft = read::document(&mut deserializer)?;
        deserializer.end()?;
        draft.finish()
    }

    /// The facts of a document.
    ///
    /// # Errors
    /// When it is not an object or has no usable `@timestamp`.
    pub fn from_value(document: &'a Value) -> Result<Self, NotAnEvent> {
        read::document(document)?.finish()
    }

    /// The values of a field in the order of the document.
    pub fn values(&self, field: Field) -> impl Iterator<Item = &str> {
        self.values.get(field as usize).map_or(&[][..], Values::as_slice).iter().map(Cow::as_ref)
    }

    /// The first value of a field.
    #[must_use]
    pub fn first(&self, field: Field) -> Option<&str> {
        self.values(field).next()
    }

    /// What the document says of a descriptor: nothing, one thing or, if it contradicts itself, several.
    pub fn descriptors(&self, number: u64) -> impl Iterator<Item = &Descriptor<'a>> {
        self.stdio.iter().filter(move |one| one.number == Some(number))
    }

    /// Whether a part of the field's values is missing and could not be searched when the event was recorded.
    #[must_use]
    pub fn unsearched(&self, field: Field) -> bool {
        match field {
            Field::Args => self.args_unsearched,
            Field::ParentArgs => self.parent_args_unsearched,
            _ => false,
        }
    }
}

/// Why a text is not an event.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAnEvent(String);

impl fmt::Display for NotAnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnEvent {}

impl From<serde_json::Error> for NotAnEvent {
    /// Names the column, not the line: the text is a line of a file, and the caller knows which.
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        Self(match text.rsplit_once(" at line ") {
            Some((reason, _)) if error.line() > 0 => format!("{reason} (column {})", error.column()),
            _ => text,
        })
    }
}

#[cfg(test)]
mod tests;
