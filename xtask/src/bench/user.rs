//! Instructions that the user side takes for an event, counted by Valgrind, and those that are committed for comparison.
//!
//! A program does the same N times and 2N times; the difference is what N take, whatever else it does. Unlike time, it is the same on every
//! host, but for what the compiler and the C library make of the same source, hence the bound. The program is the one that is built for
//! virtual machines: linked statically, and with a profile that no setting of the caller's changes.

use super::figure::{Figure, Line};
use crate::tally::Tally;
use crate::vm::programs;
use crate::{apt, setup, shell};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is done for each event, as `sensor-bench events` calls it.
const STAGES: [&str; 7] = [
    "decode-connection",
    "decode-execution",
    "encode-connection",
    "encode-execution",
    "facts-connection",
    "facts-execution",
    "correlate",
];
/// Events of the shorter run.
const EVENTS: u64 = 500;
/// How far a figure may be from the committed one, in percent, up or down: another version of the compiler or of the C library moves them by a few.
const BOUND: f64 = 10.0;

/// Figures by stage.
type Figures = BTreeMap<String, f64>;

/// Counts, and says how far each figure is from the committed one.
pub(super) fn measure(root: &Path, record: bool) -> Result<Vec<Line>> {
    let figures = count(root)?;
    if record {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        let path = committed(root);
        std::fs::create_dir_all(path.parent().context("no directory")?)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    let known = read(root)?;
    let line = |(stage, value): (&String, &f64)| {
        let known = known.as_ref().and_then(|known| known.get(stage));
        let note = known.map_or_else(|| "none committed".to_owned(), |known| format!("{known:.0} committed"));
        let unit = "instructions an event".to_owned();
        Line::Measured(Figure { subject: "user side".to_owned(), quantity: stage.clone(), value: *value, unit, note })
    };
    Ok(figures.iter().map(line).collect())
}

/// Counts, and compares: a test for each figure. Skipped where none are committed for this processor, or Valgrind cannot be had.
pub(crate) fn check(root: &Path) -> Result<Tally> {
    let Some(known) = read(root)? else {
        println!("skipped instructions of the user side: none are committed for {}", std::env::consts::ARCH);
        return Ok(Tally::SKIPPED);
    };
    if shell::find(VALGRIND).is_none() && !apt::is_debian() {
        println!("skipped instructions of the user side: {VALGRIND} is not installed");
        return Ok(Tally::SKIPPED);
    }
    let mut sum = Tally::default();
    for (stage, figure) in &count(root)? {
        match compare(stage, *figure, known.get(stage).copied()) {
            Ok(()) => {
                println!("ok      {stage}: {figure:.0} instructions an event");
                sum += Tally::PASSED;
            }
            Err(error) => {
                println!("FAILED  {error:#}");
                sum += Tally::FAILED;
            }
        }
    }
    Ok(sum)
}

const VALGRIND: &str = "valgrind";
const ADVICE: &str = "if that is meant to be: cargo xtask bench user --record";

fn compare(stage: &str, figure: f64, known: Option<f64>) -> Result<()> {
    let known =
        known.with_context(|| format!("{stage}: {figure:.0} instructions an event, none committed; {ADVICE}"))?;
    let percent = (figure / known - 1.0) * 100.0;
    ensure!(
        percent.abs() <= BOUND,
        "{stage}: {figure:.0} instructions an event, {known:.0} committed: {percent:+.1} %, more than {BOUND} %; {ADVICE}"
    );
    Ok(())
}

fn committed(root: &Path) -> PathBuf {
    root.join(format!("tests/user-cost/{}.json", std::env::consts::ARCH))
}

fn read(root: &Path) -> Result<Option<Figures>> {
    let path = committed(root);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(Some(serde_json::from_slice(&text).with_context(|| path.display().to_string())?))
}

/// Builds the program, and counts.
fn count(root: &Path) -> Result<Figures> {
    setup::for_program(VALGRIND, VALGRIND)?;
    let program = programs::build(root, std::env::consts::ARCH)?.bench;
    let one = |stage: &&str| {
        let [short, long] = [EVENTS, 2 * EVENTS].map(|events| total(root, &program, stage, events));
        let (short, long) = (short?, long?);
        let more = long.checked_sub(short).with_context(|| format!("{stage}: twice as many take less"))?;
        Ok(((*stage).to_owned(), as_figure(more) / as_figure(EVENTS)))
    };
    STAGES.iter().map(one).collect()
}

#[expect(clippy::cast_precision_loss, reason = "instructions of a short run, far below 2^52")]
fn as_figure(number: u64) -> f64 {
    number as f64
}

/// Instructions of a whole run.
fn total(root: &Path, program: &Path, stage: &str, events: u64) -> Result<u64> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(VALGRIND);
    command.current_dir(root).args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--log-file={}", log.path().display()));
    shell::output(command.arg(program).args(["events", stage, &events.to_string()]))?;
    let log = std::fs::read_to_string(log.path())?;
    collected(&log).with_context(|| format!("{VALGRIND} does not say how many instructions it has counted:\n{log}"))
}

/// The number in its line `==PID== Collected : 1234`.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_off_is_told_with_both() {
        compare("decode", 109.0, Some(100.0)).unwrap();
        compare("decode", 91.0, Some(100.0)).unwrap();
        let more = compare("decode", 112.0, Some(100.0)).unwrap_err().to_string();
        assert!(more.contains("112 instructions") && more.contains("100 committed: +12.0 %"), "{more}");
        assert!(compare("decode", 88.0, Some(100.0)).is_err());
        assert!(compare("decode", 88.0, None).is_err());
    }

    #[test]
    fn the_sum_is_found() {
        let log = "==7== Events    : Ir\n==7== Collected : 508504\n==7== \n";
        assert_eq!(collected(log), Some(508_504));
        assert_eq!(collected("==7== Collected nothing"), None);
    }
}
