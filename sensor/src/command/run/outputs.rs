//! The outputs of a run, by its options and its configuration.

use super::{Format, Options};
use crate::config::{self, Config, Life, Output, Place};
use crate::output::Outputs;
use crate::output::document::{Document, is_life};
use crate::output::elasticsearch::{Elasticsearch, Login, Timeouts};
use crate::output::journal::{self, Journal};
use crate::output::queue::Queue;
use crate::output::remote::{Remote, Transport};
use crate::output::secret::SecretFile;
use crate::output::spool::{self, Spool};
use crate::output::stream::{Render, Stream, Target, json_line};
use crate::output::switch::Switch;
use crate::output::syslog::Syslog;
use crate::render;
use crate::render::block::block;
use crate::render::look::Look;
use crate::terminal::{self, above};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What an output is to be; two that are equal need nothing done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Lines, or what a person reads.
    Stdout,
    /// Lines in this file.
    File(PathBuf),
    /// Entries.
    Journal,
    /// Documents to a server, from a spool.
    Elasticsearch(config::Elasticsearch),
    /// Messages to a server, from a spool.
    Syslog(config::Syslog),
}

/// Outputs at work, and where other ways to their far ends are put.
pub(super) struct Opened {
    pub(super) outputs: Outputs,
    pub(super) switches: BTreeMap<&'static str, Switch>,
}

/// What a configuration wants of an output; nothing if it wants none.
pub(super) fn wanted(options: &Options, config: &Output, place: Place) -> Option<Wanted> {
    let Output { stdout, file, journal: _, elasticsearch, syslog, spool: _ } = config;
    match place {
        // Where standard output is the journal, alerts go there whole and with their fields, and once.
        Place::Stdout => {
            (*stdout && !(to_journal(options, config) && journal::takes_stdout())).then_some(Wanted::Stdout)
        }
        Place::File => file.clone().map(Wanted::File),
        Place::Journal => to_journal(options, config).then_some(Wanted::Journal),
        Place::Elasticsearch => elasticsearch.clone().map(Wanted::Elasticsearch),
        Place::Syslog => syslog.clone().map(Wanted::Syslog),
    }
}

/// Opens all outputs, and starts a thread for each.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn open(options: &Options, config: &Config) -> Result<Opened> {
    let mut alerts = Vec::new();
    let mut switches = BTreeMap::new();
    for place in Place::ALL {
        let Some(wanted) = wanted(options, &config.output, place) else { continue };
        let name = place.name();
        alerts.push(match local(options, &wanted)? {
            Some(queue) => queue,
            None => {
                let (transport, switch) = Switch::new(transport(&wanted)?);
                switches.insert(name, switch);
                Queue::start(name, remote(name, &config.output.spool, transport)?)?
            }
        });
    }
    if alerts.is_empty() {
        tracing::warn!("no output is configured: alerts are only counted");
    }
    let events = match &options.events {
        Some(path) => Some(Queue::start("events", lines(path)?)?),
        None => None,
    };
    let mut outputs = Outputs::new(alerts, events);
    outputs.set_life(life(&config.life));
    Ok(Opened { outputs, switches })
}

/// Opens an output of this host, and starts its thread; nothing for one with a far end.
///
/// # Errors
/// It cannot be used.
pub(super) fn local(options: &Options, wanted: &Wanted) -> Result<Option<Queue>> {
    let queue = match wanted {
        Wanted::Stdout => {
            let stream = Stream::open(Target::Stdout, render(options));
            Queue::start(Place::Stdout.name(), stream.context("standard output cannot be used for alerts")?)
        }
        Wanted::File(path) => Queue::start(Place::File.name(), lines(path)?),
        Wanted::Journal => {
            let sink = Journal::open(Path::new(journal::SOCKET));
            let sink = sink.with_context(|| format!("the journal cannot be used: {}", journal::SOCKET))?;
            Queue::start(Place::Journal.name(), sink)
        }
        Wanted::Elasticsearch(_) | Wanted::Syslog(_) => return Ok(None),
    };
    Ok(Some(queue?))
}

/// The way to a far end; nothing is sent yet.
///
/// # Errors
/// A file with credentials or authorities cannot be used, or there is no far end.
pub(super) fn transport(wanted: &Wanted) -> Result<Box<dyn Transport>> {
    match wanted {
        Wanted::Elasticsearch(config) => Ok(Box::new(elastic(config)?)),
        Wanted::Syslog(config::Syslog { to, ca_file }) => {
            let transport = Syslog::new(to.clone(), ca_file.as_deref());
            Ok(Box::new(transport.with_context(|| format!("the output to {to} cannot be used"))?))
        }
        Wanted::Stdout | Wanted::File(_) | Wanted::Journal => bail!("this output has no far end"),
    }
}

fn render(options: &Options) -> Render {
    if is_text(options) { for_a_person } else { json_line }
}

/// The names of the outputs that are told of the sensor itself.
pub(super) fn life(config: &Life) -> Vec<&'static str> {
    config.outputs.iter().map(|place| place.name()).collect()
}

/// Whether standard output gets text for people.
pub(super) fn is_text(options: &Options) -> bool {
    options.format.map_or_else(terminal::is_stdout, |format| format == Format::Text)
}

/// An alert as a block of lines, or what the sensor tells of itself.
fn for_a_person(document: &Document) -> Vec<u8> {
    let Document { value, .. } = document;
    // A terminal may have another width than it had for the last one.
    let look = if terminal::is_stdout() { Look::of(&io::stdout()) } else { Look::plain() };
    let text = if is_life(value) { render::life::life(value, look) } else { block(value, look) }.into_bytes();
    if terminal::is_stdout() { above(&text) } else { text }
}

fn elastic(config: &config::Elasticsearch) -> Result<Elasticsearch> {
    let config::Elasticsearch { url, data_stream, api_key_file, password_file, ca_file } = config;
    let key = api_key_file.as_deref().map(|path| Login::ApiKey(SecretFile::new(path)));
    let login = key.or_else(|| password_file.as_deref().map(|path| Login::Password(SecretFile::new(path))));
    let transport = Elasticsearch::new(url, data_stream, login, ca_file.as_deref(), Timeouts::default());
    transport.with_context(|| format!("the output to {url} cannot be used"))
}

/// An output behind a spool of its own.
fn remote(name: &'static str, config: &config::Spool, transport: impl Transport) -> Result<Remote> {
    let directory = spool_directory(config, name);
    let spool = Spool::open(&directory, spool::Limits::of(config.bytes));
    let spool = spool.with_context(|| format!("the spool {} cannot be used", directory.display()))?;
    Ok(Remote::start(name, spool, transport)?)
}

pub(super) fn spool_directory(config: &config::Spool, name: &str) -> PathBuf {
    config.directory.join(name)
}

/// By the configuration, or since standard output leads there and no form was asked for.
pub(super) fn to_journal(options: &Options, config: &Output) -> bool {
    config.journal || config.stdout && options.format.is_none() && journal::takes_stdout()
}

/// A file of lines of JSON.
fn lines(path: &Path) -> Result<Stream> {
    let stream = Stream::open(Target::File(path.to_owned()), json_line);
    stream.with_context(|| format!("{} cannot be opened for writing", path.display()))
}
