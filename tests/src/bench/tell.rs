//! Telling the figures, each at once.

#![expect(clippy::print_stderr, reason = "what is no figure goes to standard error")]

use crate::figure::{Figure, Line};
use anyhow::Result;
use std::io::Write as _;

/// Tells a figure.
pub(crate) fn figure(subject: &str, quantity: &str, value: f64, unit: &str, note: String) -> Result<()> {
    let [subject, quantity, unit] = [subject, quantity, unit].map(str::to_owned);
    line(&Line::Measured(Figure { subject, quantity, value, unit, note }))
}

/// Tells that there is none.
pub(crate) fn not_measured(subject: &str, reason: &str) -> Result<()> {
    line(&Line::NotMeasured { subject: subject.to_owned(), reason: reason.to_owned() })
}

fn line(line: &Line) -> Result<()> {
    answer(&serde_json::to_string(line)?)
}

/// Writes a line, as a worker does too.
pub(crate) fn answer(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Says something that is no figure.
pub(crate) fn log(text: &str) {
    eprintln!("{text}");
}
