//! `docs/kernels.md`: which hook does what on which kernel, written from what was seen.
//!
//! A run for some kernels changes their rows and leaves the others.

use super::expected::{Expected, FACTS, Hook, KINDS};
use super::kernels::Kernel;
use super::series::Series;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

const FILE: &str = "docs/kernels.md";

const TEXT: &str = "\
# Kernels

Written by `cargo xtask vm`, which boots each kernel in a virtual machine and runs the end-to-end tests there with
the hooks that the sensor chooses by itself, and again with each other kind of hook forced.

- \"works\": all tests passed with this hook; what was seen was compared field by field.
- \"works, one at a time\": the same, with one test after another. This kernel can take the processor from a task inside of the
  hook, and then skips what another task does there. The sensor says so at its start, counts what was skipped, and chooses
  another hook by itself.
- \"refused\": the sensor said so at its start and ended with exit status 4.

What is expected of each kernel stands in `tests/kernels/expected.toml`. The hooks:

- connect, fentry: at the exit of `tcp_connect`; kprobe: at its entry; tracepoint: `inet_sock_set_state`.
- accept, fentry: at the exit of `inet_csk_accept` and at the entry of `security_sock_graft`; kprobe: at the entry of
  `security_sock_graft`; tracepoint: `sys_exit_accept` and `sys_exit_accept4`.

";

/// Rows by processor and series; a row is the rest of its cells.
type Rows = BTreeMap<(String, Series), Vec<String>>;

/// Writes the rows of kernels on which everything was as expected, and returns the table.
pub(crate) fn write(root: &Path, arch: &str, seen: &[(&Kernel, &Expected)]) -> Result<String> {
    let path = root.join(FILE);
    let mut rows = match std::fs::read_to_string(&path) {
        Ok(text) => rows(&text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Rows::new(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    for (kernel, expected) in seen {
        rows.insert((arch.to_owned(), kernel.series), cells(kernel, expected));
    }
    let table = table(&rows);
    std::fs::write(&path, TEXT.to_owned() + &table).with_context(|| path.display().to_string())?;
    Ok(table)
}

fn cells(kernel: &Kernel, expected: &Expected) -> Vec<String> {
    let mut cells = vec![kernel.version.clone()];
    for fact in FACTS {
        cells.extend(KINDS.map(|kind| match expected.hook(fact, kind) {
            Some(Hook::Works) if expected.interrupted(kind) => "works, one at a time".to_owned(),
            Some(Hook::Works) => "works".to_owned(),
            Some(Hook::Refused(_)) => "refused".to_owned(),
            None => "not tried".to_owned(),
        }));
    }
    cells.push(FACTS.map(|fact| expected.chosen(fact)).join(", "));
    cells
}

/// The table as Markdown.
fn table(rows: &Rows) -> String {
    let mut header: Vec<String> = ["processor", "series", "version"].map(str::to_owned).to_vec();
    for fact in FACTS {
        header.extend(KINDS.map(|kind| format!("{fact}, {kind}")));
    }
    header.push("chosen".to_owned());
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&header) + &line(&header.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    for ((arch, series), rest) in rows {
        let cells: Vec<String> = [arch.clone(), series.to_string()].into_iter().chain(rest.iter().cloned()).collect();
        text += &line(&cells);
    }
    text
}

/// The rows of a table that was written before; what is no such row is left out.
fn rows(text: &str) -> Rows {
    let rows = text.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let mut cells = cells.split(" | ").map(str::to_owned);
        let (arch, series) = (cells.next()?, cells.next()?.parse().ok()?);
        Some(((arch, series), cells.collect()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::super::expected::tests::of;
    use super::*;

    fn kernel(series: &str, version: &str) -> Kernel {
        Kernel { series: series.parse().unwrap(), version: version.to_owned(), image: "vmlinuz".into() }
    }

    #[test]
    fn rows_of_other_kernels_stay() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        let read = || std::fs::read_to_string(root.path().join(FILE)).unwrap();
        write(root.path(), "x86_64", &[(&kernel("6.1", "6.1.1-1"), &of("6.1"))]).unwrap();
        write(root.path(), "x86_64", &[(&kernel("6.12", "6.12.1-1"), &of("6.12"))]).unwrap();
        write(root.path(), "x86_64", &[(&kernel("6.12", "6.12.2-1"), &of("6.12"))]).unwrap();
        let text = read();
        assert!(
            text.contains(
                "| x86_64 | 6.1 | 6.1.1-1 | works | works | works | refused | works | works | fentry, kprobe |\n\
             | x86_64 | 6.12 | 6.12.2-1 | works | works | works | works | works | works | fentry, fentry |\n"
            ),
            "{text}"
        );
        assert!(!text.contains("6.12.1-1"));
        assert_eq!(table(&rows(&text)), text[text.find("| processor").unwrap()..]);
    }
}
