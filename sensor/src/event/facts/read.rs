//! The serde visitor behind [`Facts`]: walks a document along the known paths and keeps what stands at their ends.
//!
//! A path is followed segment by segment, so that `{"process": {"parent.name": …}}` and `{"process.parent": {"name": …}}`
//! are the same field. Arrays are transparent, also arrays of objects. Everything else is read and forgotten: a number
//! out of range or a broken escape makes the document malformed wherever it stands, as it does for a full parse.

use super::{Boot, BootTime, Descriptor, Facts, Field, Millis, NotAnEvent, Values};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A node of the tree of known paths.
#[derive(Clone, Copy)]
enum Place {
    Root,
    Event,
    Host,
    Process,
    Thread,
    Parent,
    ParentThread,
    SessionLeader,
    Tty,
    CharDevice,
    Destination,
    Sensor,
    SensorArgs,
    SensorParent,
    Stdio,
    StdioFd,
    StdioKind,
    StdioRemote,
    StdioRemoteIp,
    StdioFamily,
    StdioDevice,
    Inherited,
    Value(Field),
    Timestamp,
    EventId,
    Sequence,
    BootId,
    BootNs,
    Arm,
    InheritedArm,
    LeadsSession,
    TtyMajor,
    TtyMinor,
    ArgsUnsearched,
    ParentArgsUnsearched,
    Unknown,
}

impl Place {
    fn segment(self, segment: &str) -> Self {
        match (self, segment) {
            (Self::Root, "@timestamp") => Self::Timestamp,
            (Self::Root, "event") => Self::Event,
            (Self::Root, "host") => Self::Host,
            (Self::Root, "process") => Self::Process,
            (Self::Root, "destination") => Self::Destination,
            (Self::Root, "sensor") => Self::Sensor,
            (Self::Event, "category") => Self::Value(Field::EventCategory),
            (Self::Event, "type") => Self::Value(Field::EventType),
            (Self::Event, "action") => Self::Value(Field::EventAction),
            (Self::Event, "id") => Self::EventId,
            (Self::Event, "sequence") => Self::Sequence,
            (Self::Host, "id") => Self::Value(Field::HostId),
            (Self::Process, "entity_id") => Self::Value(Field::EntityId),
            (Self::Process, "args") => Self::Value(Field::Args),
            (Self::Process, "parent") => Self::Parent,
            (Self::Process, "thread") => Self::Thread,
            (Self::Process, "session_leader") => Self::SessionLeader,
            (Self::SessionLeader, "same_as_process") => Self::LeadsSession,
            (Self::Process, "tty") => Self::Tty,
            (Self::Tty, "char_device") => Self::CharDevice,
            (Self::CharDevice, "major") => Self::TtyMajor,
            (Self::CharDevice, "minor") => Self::TtyMinor,
            (Self::Parent, "entity_id") => Self::Value(Field::ParentEntityId),
            (Self::Process | Self::Thread, "name") => Self::Value(Field::ProcessName),
            (Self::Parent, "args") => Self::Value(Field::ParentArgs),
            (Self::Parent, "thread") => Self::ParentThread,
            (Self::Parent | Self::ParentThread, "name") => Self::Value(Field::ParentName),
            (Self::Destination, "ip") => Self::Value(Field::DestinationIp),
            (Self::Sensor, "boot_id") => Self::BootId,
            (Self::Sensor, "boot_ns") => Self::BootNs,
            (Self::Sensor, "arm") => Self::Arm,
            (Self::Sensor, "args") => Self::SensorArgs,
            (Self::Sensor, "parent") => Self::SensorParent,
            (Self::Sensor, "stdio") => Self::Stdio,
            (Self::Stdio, "fd") => Self::StdioFd,
            (Self::Stdio, "kind") => Self::StdioKind,
            (Self::Stdio, "remote") => Self::StdioRemote,
            (Self::StdioRemote, "ip") => Self::StdioRemoteIp,
            (Self::Stdio, "family") => Self::StdioFamily,
            (Self::Stdio, "device") => Self::StdioDevice,
            (Self::Sensor, "inherited") => Self::Inherited,
            (Self::Inherited, "arm") => Self::InheritedArm,
            (Self::Inherited, "entity_id") => Self::Value(Field::InheritedFrom),
            (Self::SensorArgs, "unsearched") => Self::ArgsUnsearched,
            (Self::SensorParent, "args_unsearched") => Self::ParentArgsUnsearched,
            _ => Self::Unknown,
        }
    }

    fn key(self, key: &str) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            known if key.as_bytes().contains(&b'.') => key.split('.').fold(known, Self::segment),
            known => known.segment(key),
        }
    }
}

/// Values that a document holds at most, objects and arrays included: more than the arguments that fit into what Linux
/// allows a command line by default (2 MiB, of which each takes at least ten bytes), and few enough to be held.
pub(super) const MOST_VALUES: u32 = 250_000;

/// Descriptors that are taken at most; the sensor tells of three.
const MOST_DESCRIPTORS: usize = 16;

/// What has been found so far.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// Values walked over.
    count: u32,
    time: Option<Millis>,
    boot_id: Option<Cow<'a, str>>,
    boot_ns: Option<u64>,
    sequence: Option<u64>,
    event_id: Option<Cow<'a, str>>,
    arm: Option<u64>,
    inherited: Option<u64>,
    leads_session: Option<bool>,
    tty_major: Option<u32>,
    tty_minor: Option<u32>,
    args_unsearched: bool,
    parent_args_unsearched: bool,
    stdio: Vec<Descriptor<'a>>,
    values: [Values<'a>; Field::COUNT],
}

impl<'a> Draft<'a> {
    pub(super) fn finish(self) -> Result<Facts<'a>, NotAnEvent> {
        let Self { time, boot_id, boot_ns, sequence, event_id, arm, inherited, .. } = self;
        let Self { leads_session, tty_major, tty_minor, .. } = self;
        let Self { args_unsearched, parent_args_unsearched, stdio, values, .. } = self;
        let time = time.ok_or_else(|| NotAnEvent("no @timestamp".to_owned()))?;
        let boot = boot_id.zip(boot_ns).map(|(id, ns)| Boot { id, at: BootTime(ns), sequence });
        let terminal = tty_major.zip(tty_minor);
        Ok(Facts {
            time,
            boot,
            event_id,
            arm,
            inherited,
            leads_session,
            terminal,
            args_unsearched,
            parent_args_unsearched,
            stdio,
            values,
        })
    }

    fn text<E: Error>(&mut self, place: Place, text: Cow<'a, str>) -> Result<(), E> {
        match place {
            Place::Root => return Err(not_an_object()),
            Place::Value(field) => {
                if let Some(values) = self.values.get_mut(field as usize) {
                    values.push(text);
                }
            }
            Place::Timestamp => {
                let time = Millis::from_text(&text);
                return self.time(time, || {
                    let start: String = text.chars().take(40).collect();
                    format!("{start:?}")
                });
            }
            Place::EventId => set(&mut self.event_id, Some(text)),
            Place::BootId => set(&mut self.boot_id, Some(text)),
            Place::Sequence => set(&mut self.sequence, text.parse().ok()),
            Place::BootNs => set(&mut self.boot_ns, text.parse().ok()),
            Place::Arm => set(&mut self.arm, text.parse().ok()),
            Place::InheritedArm => set(&mut self.inherited, text.parse().ok()),
            Place::LeadsSession => set(&mut self.leads_session, text.parse().ok()),
            Place::TtyMajor => set(&mut self.tty_major, text.parse().ok()),
            Place::TtyMinor => set(&mut self.tty_minor, text.parse().ok()),
            Place::ArgsUnsearched => self.args_unsearched |= text == "true",
            Place::ParentArgsUnsearched => self.parent_args_unsearched |= text == "true",
            Place::StdioFd => self.descriptor(|one| set(&mut one.number, text.parse().ok())),
            Place::StdioKind => self.descriptor(|one| set(&mut one.kind, Some(text))),
            Place::StdioRemoteIp => self.descriptor(|one| set(&mut one.remote, Some(text))),
            Place::StdioFamily => self.descriptor(|one| set(&mut one.family, Some(text))),
            Place::StdioDevice => self.descriptor(|one| set(&mut one.device, Some(text))),
            Place::Event
            | Place::Host
            | Place::Process
            | Place::Thread
            | Place::Parent
            | Place::ParentThread
            | Place::SessionLeader
            | Place::Tty
            | Place::CharDevice
            | Place::Destination
            | Place::Sensor
            | Place::SensorArgs
            | Place::SensorParent
            | Place::Stdio
            | Place::StdioRemote
            | Place::Inherited
            | Place::Unknown => {}
        }
        Ok(())
    }

    /// Takes what belongs to the entry of a descriptor that is being read; outside of an entry it belongs to none.
    fn descriptor(&mut self, take: impl FnOnce(&mut Descriptor<'a>)) {
        if let Some(last) = self.stdio.last_mut() {
            take(last);
        }
    }

    fn time<E: Error>(&mut self, time: Option<Millis>, text: impl FnOnce() -> String) -> Result<(), E> {
        let time = time.ok_or_else(|| E::custom(format_args!("@timestamp {} is not a time", text())))?;
        self.time = Some(self.time.map_or(time, |earlier| earlier.min(time)));
        Ok(())
    }

    /// A number or a boolean: a time, or the value that its text is.
    fn scalar<E: Error>(&mut self, place: Place, value: &dyn fmt::Display, number: Option<f64>) -> Result<(), E> {
        match place {
            Place::Unknown => Ok(()),
            Place::Timestamp => self.time(number.and_then(Millis::from_number), || value.to_string()),
            known => self.text(known, Cow::Owned(value.to_string())),
        }
    }
}

/// The first of several values counts.
fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn not_an_object<E: Error>() -> E {
    E::custom("not a JSON object")
}

/// Reads one document.
pub(super) fn document<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Draft<'de>, D::Error> {
    let mut draft = Draft::default();
    Walk { place: Place::Root, draft: &mut draft }.deserialize(deserializer)?;
    Ok(draft)
}

struct Walk<'d, 'a> {
    place: Place,
    draft: &'d mut Draft<'a>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.draft.count == MOST_VALUES {
            return Err(D::Error::custom(format_args!("more than {MOST_VALUES} values")));
        }
        self.draft.count += 1;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an ECS document")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if matches!(self.place, Place::Root) { Err(not_an_object()) } else { Ok(()) }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.draft.scalar(self.place, &value, None)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        #[expect(clippy::cast_precision_loss, reason = "a time beyond 2^53 is refused")]
        self.draft.scalar(self.place, &value, Some(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        #[expect(clippy::cast_precision_loss, reason = "a time beyond 2^53 is refused")]
        self.draft.scalar(self.place, &value, Some(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.draft.scalar(self.place, &value, Some(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<(), E> {
        self.draft.text(self.place, Cow::Borrowed(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.place {
            Place::Unknown => Ok(()),
            known => self.draft.text(known, Cow::Owned(value.to_owned())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { place, draft } = self;
        if matches!(place, Place::Root) {
            return Err(not_an_object());
        }
        while elements.next_element_seed(Walk { place, draft })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { place, draft } = self;
        if matches!(place, Place::Stdio) {
            if draft.stdio.len() == MOST_DESCRIPTORS {
                return Err(A::Error::custom(format_args!("more than {MOST_DESCRIPTORS} entries in sensor.stdio")));
            }
            draft.stdio.push(Descriptor::default());
        }
        while let Some(place) = members.next_key_seed(Key(place))? {
            members.next_value_seed(Walk { place, draft })?;
        }
        Ok(())
    }
}

/// The key of a member of the object at a place; gives the member's place.
struct Key(Place);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Place, E> {
        Ok(self.0.key(key))
    }
}
