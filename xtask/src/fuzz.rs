//! Fuzzes what reads untrusted bytes: builds the programs of `sensor-fuzz` with coverage counters, and runs each for a time.
//!
//! Stable compilers can do this: counters are a pass of LLVM, and libFuzzer brings its own driver. What is learnt is
//! kept below `fuzz/` in the target directory, where the next run goes on from; what is found lies there too, and is told
//! with the command that shows it again.

use crate::tally::Tally;
use crate::{ebpf, host, setup, shell};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const PACKAGE: &str = "sensor-fuzz";

/// Counters for branches, and comparisons that libFuzzer learns from. The last one keeps LLVM from joining branches before
/// they are counted.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Bounds on one input: bytes (a record with the longest path and argv has 13,048), and seconds; and on the program's
/// memory.
const BOUNDS: [&str; 3] = ["-max_len=16384", "-timeout=20", "-rss_limit_mb=1024"];

/// What to fuzz.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Only these, by their names in tests/fuzz/corpus
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// Fuzzes, and prints the sums.
pub(crate) fn fuzz(root: &Path, options: &Options) -> Result<ExitCode> {
    let sum = run(root, options.seconds, &options.targets)?;
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes each of the targets, or all, for some seconds.
pub(crate) fn run(root: &Path, seconds: u32, targets: &[String]) -> Result<Tally> {
    let crate_directory = root.join("tests/fuzz");
    let known = names(&crate_directory.join("corpus"))?;
    for target in targets {
        ensure!(known.contains(target), "there is no target {target:?}; there are {}", known.join(", "));
    }
    setup::for_fuzzing()?;
    ebpf::build(root, std::env::consts::ARCH, false)?;
    let directory = host::profile_directory("fuzz")?;
    let programs = build(root, &directory)?;
    let mut sum = Tally::default();
    for target in if targets.is_empty() { &known } else { targets } {
        let place = Place { target, programs: &programs, committed: &crate_directory, learnt: &directory };
        sum += match one(&place, seconds) {
            Ok(report) => {
                println!("ok      {target:<8} {report}");
                Tally::PASSED
            }
            Err(error) => {
                println!("FAILED  {target}: {error:#}");
                Tally::FAILED
            }
        };
    }
    Ok(sum)
}

/// Builds the programs and returns where they lie. Naming the processor keeps the flags from the build's own programs.
fn build(root: &Path, directory: &Path) -> Result<PathBuf> {
    let version = shell::output(Command::new("rustc").arg("-vV").current_dir(root))?;
    let triple = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut cargo = shell::cargo(root);
    cargo.args(["build", "--package", PACKAGE, "--features", "libfuzzer", "--bins", "--profile", "fuzz"]);
    cargo.args(["--target", triple, "--target-dir"]).arg(directory);
    shell::run(cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", FLAGS))?;
    Ok(directory.join(triple).join("fuzz"))
}

/// Where things of one target lie.
struct Place<'a> {
    target: &'a str,
    programs: &'a Path,
    committed: &'a Path,
    learnt: &'a Path,
}

/// Runs one program. Everything it says goes to a file; of that the figures are returned, or the error shows the end.
fn one(place: &Place<'_>, seconds: u32) -> Result<Report> {
    let Place { target, programs, committed, learnt } = *place;
    let program = programs.join(format!("fuzz-{target}"));
    let findings = learnt.join("findings").join(target);
    let corpus = learnt.join("corpus").join(target);
    for directory in [&findings, &corpus] {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let log = learnt.join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| log.display().to_string())?;

    let mut command = Command::new(&program);
    command.args(BOUNDS).args(["-print_final_stats=1", &format!("-max_total_time={seconds}")]);
    command.arg(format!("-artifact_prefix={}/", findings.display())).arg(corpus);
    // Only the first directory is written to.
    let inputs = ["corpus", "regressions"].map(|kind| committed.join(kind).join(target));
    command.args(inputs.iter().filter(|directory| directory.is_dir()));
    command.stdout(output.try_clone()?).stderr(output);
    let status = command.status().with_context(|| format!("cannot run `{}`", shell::describe(&command)))?;

    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if let Some(input) = found(&said) {
        println!("{}", end_of(&said));
        println!("again:  {} {input}", program.display());
        println!("keep:   cp {input} {}/", committed.join("regressions").join(target).display());
    }
    ensure!(status.success(), "{status}; all it said is in {}", log.display());
    let report = Report::of(&said).with_context(|| format!("no figures in {}", log.display()))?;
    ensure!(report.edges > 0, "nothing was counted: the program was built without counters");
    Ok(report)
}

/// The file that holds the input of a finding.
fn found(said: &str) -> Option<&str> {
    said.lines().find_map(|line| Some(line.split_once("Test unit written to ")?.1.trim_end()))
}

/// The last lines without libFuzzer's progress: the panic, its place, the input.
fn end_of(said: &str) -> String {
    const MOST: usize = 60;
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
    lines.get(lines.len().saturating_sub(MOST)..).unwrap_or_default().join("\n")
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    runs: u64,
    per_second: u64,
    new_inputs: u64,
    /// Branches seen, of all in the program.
    edges: u64,
    /// Branches told apart by how often they were taken.
    features: u64,
    memory_mb: u64,
}

impl Report {
    /// From what libFuzzer says at the end.
    fn of(said: &str) -> Option<Self> {
        let figure = |name: &str| {
            said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.trim().parse().ok())
        };
        let (_, done) = said.lines().rev().find_map(|line| line.strip_prefix('#')?.split_once("DONE"))?;
        let counter = |name: &str| {
            done.split_ascii_whitespace().skip_while(|word| *word != name).nth(1).and_then(|number| number.parse().ok())
        };
        Some(Self {
            runs: figure("number_of_executed_units:")?,
            per_second: figure("average_exec_per_sec:")?,
            new_inputs: figure("new_units_added:")?,
            edges: counter("cov:")?,
            features: counter("ft:")?,
            memory_mb: figure("peak_rss_mb:")?,
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { runs, per_second, new_inputs, edges, features, memory_mb } = self;
        write!(
            f,
            "{runs} runs, {per_second}/s, {edges} branches, {features} features, {new_inputs} new inputs, {memory_mb} MB"
        )
    }
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Result<Vec<String>> {
    let context = || directory.display().to_string();
    let entries =
        fs::read_dir(directory).with_context(context)?.collect::<Result<Vec<_>, _>>().with_context(context)?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#2\tINITED cov: 12 ft: 13 corp: 2/5b exec/s: 0 rss: 30Mb\n\
        #36607\tDONE   cov: 1234 ft: 5678 corp: 385/40Kb lim: 993 exec/s: 3327 rss: 29Mb\n\
        Done 36607 runs in 11 second(s)\n\
        stat::number_of_executed_units: 36607\n\
        stat::average_exec_per_sec:     3327\n\
        stat::new_units_added:          385\n\
        stat::slowest_unit_time_sec:    0\n\
        stat::peak_rss_mb:              29\n";

    #[test]
    fn figures_are_read_from_the_end() {
        let report = Report::of(GOOD).unwrap();
        let expected =
            Report { runs: 36607, per_second: 3327, new_inputs: 385, edges: 1234, features: 5678, memory_mb: 29 };
        assert_eq!(report, expected);
        assert_eq!(Report::of("#2\tINITED cov: 12 ft: 13\n"), None);
        assert_eq!(found(GOOD), None);
    }

    #[test]
    fn a_finding_is_read_with_what_was_said_of_it() {
        let said = "#7\tNEW    cov: 3\nthread '<unnamed>' panicked at src/x.rs:1:2:\nboom\n#8 0x55 in x\n\
            artifact_prefix='/t/findings/btf/'; Test unit written to /t/findings/btf/crash-0a\nBase64: AA==\n";
        assert_eq!(found(said), Some("/t/findings/btf/crash-0a"));
        let end = end_of(said);
        assert!(end.contains("boom") && end.contains("Base64") && !end.contains("NEW"), "{end}");
    }
}
