//! Figures as tables: for the terminal, and of all that are committed in `docs/cost.md`.

use super::figures::{Figures, Instructions, series};
use anyhow::{Context, Result};
use indexmap::IndexSet;
use std::fmt::Write;
use std::path::Path;

const FILE: &str = "docs/cost.md";

const TEXT: &str = "\
# Cost

Written by `cargo xtask vm --suite cost --record`.

How many instructions each program of the kernel side takes for one event, what it calls in the kernel included. It is
measured in virtual machines whose clock goes on by one nanosecond with each instruction (`-icount` of QEMU), where the
kernel adds up how long each program runs (`kernel.bpf_stats_enabled`). So the figures are the same on every host,
whatever else it does. What an empty program of the same kind takes at the same place is subtracted. Each figure is the
median of 200 events.

`cargo xtask vm --suite cost` measures anew, and fails if a figure differs from the committed one (`tests/kernels/cost`)
by more than 3 %, be it more or less, or is missing. A change that costs something thus changes the figures too.

- Each column is a program. `exec_btf` is at the BTF tracepoint, `exec_raw` at the raw one, `exec_trace` at the classic one.
  Which of the others are in use on which kernel stands in [kernels.md](kernels.md).
- `connect_state` runs whenever a connection's state changes, here ten times with both ends on one host: all of it counts.
- What `accept_exit` costs every other system call, because it is at a tracepoint of those, is not in its figures.
- \"Recorded\" ends with the record in its buffer. Nobody waits there, so waking the sensor is not in the figures.
- The shells have two ancestors and a path of three parts. Each more costs some hundred instructions when it is recorded.
- Instructions are not time: one access to memory that is in no cache takes as long as hundreds of them.
";

/// Tables in Markdown: one for the programs that see the same situations, a row for each situation.
pub(super) fn of(instructions: &Instructions) -> String {
    let mut groups: Vec<(IndexSet<&str>, Vec<&str>)> = Vec::new();
    for (situation, programs) in instructions {
        let programs: IndexSet<&str> = programs.keys().map(String::as_str).collect();
        match groups.iter_mut().find(|(columns, _)| *columns == programs) {
            Some((_, rows)) => rows.push(situation),
            None => groups.push((programs, vec![situation])),
        }
    }
    let mut tables = Vec::new();
    for (columns, rows) in groups {
        let mut lines = vec![std::iter::once("").chain(columns.iter().copied()).map(str::to_owned).collect::<Vec<_>>()];
        for row in rows {
            let figure = |program: &&str| instructions.get(row)?.get(*program).map(u64::to_string);
            let figures = columns.iter().map(|program| figure(program).unwrap_or_default());
            lines.push(std::iter::once(row.to_owned()).chain(figures).collect());
        }
        tables.push(aligned(&lines));
    }
    tables.join("\n")
}

/// Lines of a table, the first its head; the first column to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text += "|\n";
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(*width);
                let _ = if column == 0 { write!(text, "| {dashes} ") } else { write!(text, "| {dashes}:") };
            }
            text += "|\n";
        }
    }
    text
}

/// Writes the document anew from all figures that are committed.
pub(super) fn write(root: &Path, arch: &str) -> Result<()> {
    let path = root.join(FILE);
    std::fs::write(&path, document(root, arch)?).with_context(|| path.display().to_string())
}

fn document(root: &Path, arch: &str) -> Result<String> {
    let mut text = TEXT.to_owned();
    for series in series(root, arch)? {
        let Some(Figures { version, instructions }) = Figures::read(root, arch, series)? else { continue };
        let _ = write!(text, "\n## {series} ({version}, {arch})\n\n{}", of(&instructions));
    }
    Ok(text)
}
