//! `sensor show`: stored alerts and events for a person.
//!
//! Alerts and what the sensor tells of itself are shown in the order of the files, as they are read; what processes did is shown
//! behind them, process by process. What is shown, as text or as a page, comes from files that anybody may have written.

mod documents;

use super::exit::Exit;
use super::replay::input::Stop;
use crate::alert::text::printable;
use crate::render::block::block;
use crate::render::life::life;
use crate::render::look::Look;
use crate::render::page::Page;
use crate::render::sheet::{Sheet, elided};
use crate::render::timeline::{Timeline, Timelines};
use clap::Args;
use documents::{Document, Documents};
use serde_json::Value;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What `sensor show` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Files of alerts and events, one JSON document a line; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Connections and executions that are shown at most; of more, the number is told
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000)]
    pub most: u32,
    /// Write a page for a browser to this file instead, which needs no other file and no network
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
}

/// Runs `sensor show` on the process's own streams.
#[must_use]
pub fn run(options: &Options) -> Exit {
    let look = Look::of(&io::stdout());
    let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    show(options, look, &mut out, &mut io::stderr().lock())
}

/// Shows the files on `out`; what is wrong with them is told on `err`. Gives [`Exit::Failed`] if something was.
pub fn show(options: &Options, look: Look, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let mut documents = Documents::new(&options.files, err);
    let most = options.most as usize;
    let shown = match &options.html {
        Some(path) => page(&mut documents, most, &options.files, path),
        None => text(&mut documents, most, look, out),
    };
    let (err, bad) = documents.finish();
    if bad > 0 {
        let _ = writeln!(err, "sensor show: {bad} could not be shown");
    }
    match shown {
        Ok(()) | Err(Stop::NoReader) if bad == 0 => Exit::Ok,
        Ok(()) | Err(Stop::NoReader) => Exit::Failed,
        Err(Stop::Output(error) | Stop::Spill(error)) => {
            let _ = writeln!(err, "sensor show: cannot write: {error}");
            Exit::Failed
        }
    }
}

/// Something that documents are shown on.
trait Shows {
    fn alert(&mut self, alert: &Value) -> io::Result<()>;
    fn life(&mut self, life: &Value) -> io::Result<()>;
    fn timeline(&mut self, timeline: &Timeline) -> io::Result<()>;
}

/// Shows all documents, the timelines last; what there is to remark.
fn all(documents: &mut Documents<'_>, most: usize, on: &mut dyn Shows) -> io::Result<Option<String>> {
    let mut timelines = Timelines::new(most);
    while let Some(document) = documents.next() {
        match document {
            Document::Alert(alert) => on.alert(&alert)?,
            Document::Life(life) => on.life(&life)?,
            Document::Other(event) => {
                if let Err(error) = timelines.add(&event) {
                    documents.refuse(&error);
                }
            }
        }
    }
    let passed = timelines.passed();
    timelines.finish().iter().try_for_each(|timeline| on.timeline(timeline))?;
    Ok((passed > 0).then(|| format!("{passed} more events are not shown (--most)")))
}

/// Lines of text.
struct Text<'t> {
    out: &'t mut dyn Write,
    look: Look,
}

impl Shows for Text<'_> {
    fn alert(&mut self, alert: &Value) -> io::Result<()> {
        self.out.write_all(block(alert, self.look).as_bytes())
    }

    fn life(&mut self, document: &Value) -> io::Result<()> {
        self.out.write_all(life(document, self.look).as_bytes())
    }

    fn timeline(&mut self, timeline: &Timeline) -> io::Result<()> {
        let mut sheet = Sheet::new(self.look);
        timeline.write(&mut sheet);
        self.out.write_all(sheet.finish().as_bytes())
    }
}

fn text(documents: &mut Documents<'_>, most: usize, look: Look, out: &mut dyn Write) -> Result<(), Stop> {
    let remark = all(documents, most, &mut Text { out, look }).map_err(Stop::from_output)?;
    let remark = remark.map(|remark| remark + "\n").unwrap_or_default();
    out.write_all(remark.as_bytes()).and_then(|()| out.flush()).map_err(Stop::from_output)
}

impl<W: Write> Shows for Page<W> {
    fn alert(&mut self, alert: &Value) -> io::Result<()> {
        Page::alert(self, alert)
    }

    fn life(&mut self, life: &Value) -> io::Result<()> {
        Page::life(self, life)
    }

    fn timeline(&mut self, timeline: &Timeline) -> io::Result<()> {
        Page::timeline(self, timeline)
    }
}

/// Writes the page beside its place first, so that what stands there is always a whole one.
fn page(documents: &mut Documents<'_>, most: usize, files: &[PathBuf], path: &Path) -> Result<(), Stop> {
    let here = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(here).map_err(Stop::Output)?;
    let names: Vec<String> = files.iter().map(|file| name(file)).collect();
    let title = format!("sensor: {}", elided(&names.join(", "), 100));
    let write = || {
        let mut page = Page::begin(io::BufWriter::with_capacity(256 << 10, file), &title)?;
        let remark = all(documents, most, &mut page)?;
        let file = page.finish(remark.as_deref())?.into_inner()?;
        file.persist(path).map_err(|failed| failed.error)
    };
    write().map(drop).map_err(Stop::Output)
}

/// The name of a file as it can be shown.
fn name(path: &Path) -> String {
    printable(&path.display().to_string())
}
