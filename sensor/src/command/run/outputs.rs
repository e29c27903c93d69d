//! The outputs of a run, by its options and its configuration.

use super::{Format, Options};
use crate::alert::text;
use crate::config::{self, Config, Life, Output};
use crate::life;
use crate::output::Outputs;
use crate::output::document::{Document, is_life};
use crate::output::elasticsearch::{Elasticsearch, Login, Timeouts};
use crate::output::journal::{self, Journal};
use crate::output::queue::Queue;
use crate::output::remote::{Remote, Transport};
use crate::output::secret::SecretFile;
use crate::output::spool::{self, Spool};
use crate::output::stream::{Render, Stream, Target, json_line};
use crate::output::syslog::Syslog;
use anyhow::{Context, Result};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

pub(super) const ELASTICSEARCH: &str = "elasticsearch";
pub(super) const SYSLOG: &str = "syslog";

/// Opens all outputs, and starts a thread for each.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn open(options: &Options, config: &Config) -> Result<Outputs> {
    let render: Render = match options.format {
        Some(Format::Json) => json_line,
        None if !io::stdout().is_terminal() => json_line,
        Some(Format::Text) | None => for_a_person,
    };
    let Output { stdout, file, journal: _, elasticsearch, syslog, spool } = &config.output;
    let journal = to_journal(options, &config.output);
    let mut alerts = Vec::new();
    // Where standard output is the journal, alerts go there whole and with their fields, and once.
    if *stdout && !(journal && journal::takes_stdout()) {
        let stream = Stream::open(Target::Stdout, render).context("standard output cannot be used for alerts")?;
        alerts.push(Queue::start("stdout", stream)?);
    }
    if let Some(path) = file {
        alerts.push(Queue::start("file", lines(path)?)?);
    }
    if journal {
        let sink = Journal::open(Path::new(journal::SOCKET));
        let sink = sink.with_context(|| format!("the journal cannot be used: {}", journal::SOCKET))?;
        alerts.push(Queue::start("journal", sink)?);
    }
    if let Some(elasticsearch) = elasticsearch {
        let remote = remote(ELASTICSEARCH, spool, elastic(elasticsearch)?)?;
        alerts.push(Queue::start(ELASTICSEARCH, remote)?);
    }
    if let Some(config::Syslog { to, ca_file }) = syslog {
        let transport = Syslog::new(to.clone(), ca_file.as_deref());
        let transport = transport.with_context(|| format!("the output to {to} cannot be used"))?;
        alerts.push(Queue::start(SYSLOG, remote(SYSLOG, spool, transport)?)?);
    }
    if alerts.is_empty() {
        tracing::warn!("no output is configured: alerts are only counted");
    }
    let events = match &options.events {
        Some(path) => Some(Queue::start("events", lines(path)?)?),
        None => None,
    };
    Ok(Outputs { alerts, life: life(&config.life), events })
}

/// The names of the outputs that are told of the sensor itself.
pub(super) fn life(config: &Life) -> Vec<&'static str> {
    config.outputs.iter().map(|place| place.name()).collect()
}

/// An alert as a block of lines, anything else on one.
fn for_a_person(document: &Document) -> Vec<u8> {
    if is_life(&document.value) { life::line(&document.value) } else { text::block(&document.value) }.into_bytes()
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
