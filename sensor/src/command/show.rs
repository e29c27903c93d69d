//! `sensor show`: stored alerts and events for a person.
//!
//! Alerts and what the sensor tells of itself are shown in the order of the files, as they are read; what processes did is shown
//! behind them, process by process. What is shown comes from files that anybody may have written.

mod documents;

use super::exit::Exit;
use super::replay::input::Stop;
use crate::alert::text::printable;
use crate::life;
use crate::render::block::block;
use crate::render::look::Look;
use crate::render::sheet::Sheet;
use crate::render::timeline::Timelines;
use clap::Args;
use documents::{Document, Documents};
use std::io::{self, Write};
use std::path::PathBuf;

/// What `sensor show` is asked to do.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Files of alerts and events, one JSON document a line; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Connections and executions that are shown at most; of more, the number is told
    #[arg(long, value_name = "EVENTS", default_value_t = 100_000)]
    pub most: u32,
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
    let mut timelines = Timelines::new(options.most as usize);
    let mut documents = Documents::new(&options.files, err);
    let shown = text(&mut documents, &mut timelines, look, out);
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

fn text(documents: &mut Documents<'_>, timelines: &mut Timelines, look: Look, out: &mut dyn Write) -> Result<(), Stop> {
    let mut write = |text: &str| out.write_all(text.as_bytes()).map_err(Stop::from_output);
    while let Some(document) = documents.next() {
        match document {
            Document::Alert(alert) => write(&block(&alert, look))?,
            Document::Life(life) => write(&life::line(&life))?,
            Document::Other(event) => {
                if let Err(error) = timelines.add(&event) {
                    documents.refuse(&error);
                }
            }
        }
    }
    let passed = timelines.passed();
    for timeline in std::mem::replace(timelines, Timelines::new(0)).finish() {
        let mut sheet = Sheet::new(look);
        timeline.write(&mut sheet);
        write(&sheet.finish())?;
    }
    if passed > 0 {
        write(&format!("{passed} more events are not shown (--most)\n"))?;
    }
    out.flush().map_err(Stop::from_output)
}

/// The name of a file as it can be shown.
fn name(path: &std::path::Path) -> String {
    printable(&path.display().to_string())
}
