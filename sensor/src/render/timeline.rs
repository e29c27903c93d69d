//! Events as timelines: what each process did, one behind the other.

use super::block::facts;
use super::fields::Fields;
use super::picture::{Arrow, Part};
use super::program::{Program, family};
use super::sheet::{Sheet, elided, whole, words};
use super::stdio;
use crate::event::facts::{Facts, Millis, NotAnEvent};
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::collections::HashMap;

/// Characters that are kept of a text.
const MOST_CHARACTERS: usize = 1000;

/// What processes did.
#[derive(Debug)]
pub struct Timelines {
    /// Those of the processes, in the order in which they were first heard of.
    processes: Vec<Timeline>,
    places: HashMap<String, usize>,
    left: usize,
    /// Events that were not taken.
    passed: u64,
}

/// What one process did.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The process, as its latest event has it.
    pub program: Program,
    /// Its parent.
    pub parent: Option<Program>,
    /// The host on which it ran.
    pub host: Option<String>,
    /// What it did.
    pub entries: Vec<Entry>,
}

/// One thing that a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in nanoseconds since 1970 or, if the document has that, since the boot.
    at: i128,
    /// When, as the document writes it.
    pub time: String,
    /// What.
    pub deed: Deed,
}

/// What a process did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It connected, or accepted a connection.
    Connection(Arrow),
    /// It executed a program: its path, its arguments, what stands on its descriptors.
    Execution(String, String, String),
    /// Something else, by the name that the document has for it.
    Other(String),
}

impl Timelines {
    /// None so far, of at most so many events.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { processes: Vec::new(), places: HashMap::new(), left: most, passed: 0 }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// When the document is none.
    pub fn add(&mut self, event: &Value) -> Result<(), NotAnEvent> {
        let Millis(millis) = Facts::from_value(event)?.time;
        if self.left == 0 {
            self.passed += 1;
            return Ok(());
        }
        self.left -= 1;
        let part = |name| Fields::of(event, name);
        let (host, own) = (part("host"), part("sensor"));
        let (mut family, _) = family(&part("process"), &part("user"), &own);
        let (program, parent) = (shortened(family.pop().unwrap_or_default()), family.pop().map(shortened));
        let host = host.text("name").or_else(|| host.text("id"));
        let key = match (&program.entity, &program.pid) {
            (Some(entity), _) => format!("{host:?} {entity}"),
            (None, Some(pid)) => format!("{host:?} pid {pid}"),
            (None, None) => format!("{host:?} {}", program.title()),
        };
        let boot = own.text("boot_id").and_then(|_| own.number("boot_ns")).map(i128::from);
        let entry = Entry {
            at: boot.unwrap_or(i128::from(millis) * 1_000_000),
            time: stamp(event, millis),
            deed: deed(event, &program),
        };
        let place = *self.places.entry(key).or_insert_with(|| {
            self.processes.push(Timeline {
                program: Program::default(),
                parent: None,
                host: host.clone(),
                entries: Vec::new(),
            });
            self.processes.len() - 1
        });
        if let Some(timeline) = self.processes.get_mut(place) {
            timeline.entries.push(entry);
            timeline.program = program.or(std::mem::take(&mut timeline.program));
            timeline.parent = parent.or(timeline.parent.take());
        }
        Ok(())
    }

    /// How many events were not taken, since there were more than wanted.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The timelines, each in the order of time.
    #[must_use]
    pub fn finish(self) -> Vec<Timeline> {
        let mut processes = self.processes;
        processes.iter_mut().for_each(|process| process.entries.sort_by_key(|entry| entry.at));
        processes
    }
}

impl Timeline {
    /// The time from the first thing that the process did to this one, in milliseconds, each cut to the millisecond.
    #[must_use]
    pub fn millis_to(&self, entry: &Entry) -> i128 {
        let millis = |entry: &Entry| entry.at.div_euclid(1_000_000);
        self.entries.first().map_or(0, |first| millis(entry) - millis(first))
    }

    /// What it is called, with what else is known of it.
    #[must_use]
    pub fn facts(&self) -> String {
        let host = self.host.as_ref().map(|host| format!("on {}", elided(host, 60)));
        let parent = self.parent.as_ref().map(|parent| match (elided(parent.title(), 40), facts(parent)) {
            (name, known) if known.is_empty() => format!("child of {name}"),
            (name, known) => format!("child of {name} ({known})"),
        });
        let all: Vec<String> =
            [Some(facts(&self.program)), host, parent].into_iter().flatten().filter(|one| !one.is_empty()).collect();
        all.join(", ")
    }

    /// Writes it as text, which an empty line ends.
    pub fn write(&self, sheet: &mut Sheet) {
        let (plain, quiet, strong) = (Style::new(), Style::new().dimmed(), Style::new().bold());
        sheet.flow(("", "  "), &[whole(strong, &elided(self.program.title(), 40)), words(plain, &self.facts())]);
        let last = self.entries.len().saturating_sub(1);
        for (place, entry) in self.entries.iter().enumerate() {
            let margins =
                if place == last { ("  \u{2514}\u{2500} ", "     ") } else { ("  \u{251c}\u{2500} ", "  \u{2502}  ") };
            let when = if place == 0 { elided(&entry.time, 40) } else { format!("+{} ms", self.millis_to(entry)) };
            let when = whole(quiet, &when);
            match &entry.deed {
                Deed::Connection(arrow) => {
                    let remote = AnsiColor::Magenta.on_default().bold();
                    let [local, far] = [&arrow.local, &arrow.remote].map(|end| elided(end, 60));
                    let ends = [
                        whole(plain, &local),
                        whole(remote, arrow.sign()),
                        whole(remote, &far),
                        whole(plain, arrow.way()),
                    ];
                    let under = arrow.under.as_ref().map(|maker| elided(maker, 60)).unwrap_or_default();
                    sheet.flow(margins, &[&[when, whole(plain, &under)], &ends[..]].concat());
                }
                Deed::Execution(path, command, streams) => {
                    let [path, command, streams] = [path, command, streams].map(|text| elided(text, sheet.width() * 3));
                    let streams = words(quiet, &streams);
                    sheet.flow(margins, &[when, words(plain, &path), words(strong, &command), streams]);
                }
                Deed::Other(action) => sheet.flow(margins, &[when, words(plain, &elided(action, sheet.width()))]),
            }
        }
        sheet.blank();
    }
}

fn deed(event: &Value, program: &Program) -> Deed {
    let event_fields = Fields::of(event, "event");
    let of = |category: &str| event_fields.texts("category").iter().any(|one| one == category);
    if of("network")
        && let Some(arrow) = Arrow::of(&Part::of(event), std::slice::from_ref(program))
    {
        return Deed::Connection(arrow);
    }
    if of("process") && event_fields.texts("action").iter().any(|action| action == "exec") {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let streams = Fields::of(event, "sensor").at("stdio").and_then(|streams| stdio::text(streams, None));
        return Deed::Execution(
            text(&program.executable),
            text(&program.command),
            elided(&text(&streams), MOST_CHARACTERS),
        );
    }
    let words = [event_fields.texts("category"), event_fields.texts("action")].concat();
    Deed::Other(elided(&words.join(" "), MOST_CHARACTERS))
}

/// The time as the document writes it, if that is a date.
fn stamp(event: &Value, millis: i64) -> String {
    let own = event.get("@timestamp").and_then(Value::as_str).filter(|own| own.contains('T'));
    own.map_or_else(|| crate::event::WallTime(millis.saturating_mul(1_000_000)).to_string(), |own| elided(own, 60))
}

/// A process of which no text is kept that is endless.
fn shortened(program: Program) -> Program {
    let short = |text: Option<String>| text.map(|text| elided(&text, MOST_CHARACTERS));
    let Program { pid, entity, name, comm, user, executable, command } = program;
    Program {
        pid: short(pid),
        entity: short(entity),
        name: short(name),
        comm: short(comm),
        user: short(user),
        executable: short(executable),
        command: short(command),
    }
}
