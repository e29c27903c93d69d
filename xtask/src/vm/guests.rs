//! Guests, two at a time.

use super::expected::{Expected, Table};
use super::fixture::Fixture;
use super::initramfs::Initramfs;
use super::kernels::Kernel;
use super::machine::{Accelerator, Guest, Limits, Processor, Ran};
use super::programs::Programs;
use super::protocol::{INSTALLED, PLAN, Plan};
use super::suite::Tests;
use super::transcript::Transcript;
use super::verdict::{Case, Verdict, fixture};
use crate::install;
use crate::tally::Tally;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Guests at a time.
const AT_A_TIME: usize = 2;
/// A guest that tests may take to its end, and one that must not be silent for longer than any single test.
const LIMITS: Limits = Limits { total: Duration::from_secs(2400), silence: Duration::from_secs(400) };

/// What all guests have in common.
pub(crate) struct Guests<'a> {
    pub(crate) root: &'a Path,
    pub(crate) processor: Processor,
    pub(crate) accelerator: Accelerator,
    pub(crate) programs: &'a Programs,
}

/// What came of a kernel.
pub(crate) struct Outcome {
    pub(crate) kernel: Kernel,
    pub(crate) expected: Expected,
    pub(crate) tally: Tally,
}

/// What was heard of a guest.
pub(crate) struct Heard {
    pub(crate) transcript: Transcript,
    pub(crate) ran: Ran,
    /// The file with everything that was on the console.
    pub(crate) log: PathBuf,
}

impl Guests<'_> {
    /// Runs a suite on each kernel and tells what came of it.
    pub(crate) fn all(
        &self,
        tests: &Tests,
        kernels: &[Kernel],
        filter: Option<&str>,
        record: bool,
    ) -> Result<Vec<Outcome>> {
        let table = Table::read(self.root)?;
        let mut outcomes = side_by_side(kernels, |kernel| self.kernel(tests, &table, kernel, filter, record))?;
        outcomes.sort_by_key(|outcome| outcome.kernel.series);
        Ok(outcomes)
    }

    fn kernel(
        &self,
        tests: &Tests,
        table: &Table,
        kernel: &Kernel,
        filter: Option<&str>,
        record: bool,
    ) -> Result<Outcome> {
        let Kernel { series, version, .. } = kernel;
        let expected = table.of(self.processor.arch, *series)?;
        let plan = tests.plan(&expected, filter);
        let start = Instant::now();
        let heard = self.run(kernel, tests, &plan, LIMITS)?;
        let took = start.elapsed().as_secs();
        if record && let Some(found) = fixture(version, &heard.transcript) {
            found.write(self.root, self.processor.arch, *series)?;
        }
        let committed = Fixture::read(self.root, self.processor.arch, *series)?;
        let whole = filter.is_none();
        let case = Case { version, plan: &plan, expected: &expected, fixture: committed.as_ref(), whole };
        let Verdict { tally, faults, notes } = case.judge(&heard.transcript, &heard.ran);
        let mut text = String::new();
        for note in notes {
            text += &format!("note    {series} ({version}): {note}\n");
        }
        for fault in &faults {
            text += &format!("FAILED  {series} ({version}): {}\n", fault.replace('\n', "\n        "));
        }
        if !faults.is_empty() {
            text += &format!("        the last lines of {}:\n", heard.log.display());
            text += &heard.transcript.tail().map(|line| format!("        | {line}\n")).collect::<String>();
        }
        let word = if faults.is_empty() { "ok    " } else { "FAILED" };
        println!("{text}{word}  {} {series} ({version}), {}: {tally} in {took} s", self.processor.arch, tests.name);
        Ok(Outcome { kernel: kernel.clone(), expected, tally })
    }

    /// Boots a kernel with what a suite needs and a plan, and listens to the end. If QEMU itself went wrong, this is told, and
    /// everything begins anew in a way in which it does not.
    pub(crate) fn run(&self, kernel: &Kernel, tests: &Tests, plan: &Plan, limits: Limits) -> Result<Heard> {
        let directory = self.root.join("target/vm/log");
        std::fs::create_dir_all(&directory)?;
        let log = directory.join(format!("{}-{}-{}.log", self.processor.arch, kernel.series, tests.name));
        let heard = self.hear(self.accelerator, kernel, tests, plan, limits, log)?;
        if self.accelerator != Accelerator::Tcg || !heard.transcript.emulator_failed() {
            return Ok(heard);
        }
        let kept = heard.log.with_extension("broken.log");
        std::fs::rename(&heard.log, &kept).with_context(|| kept.display().to_string())?;
        println!(
            "note    {} ({}): QEMU ran a breakpoint that was no longer there, which it does before version 8.1 with several \
             threads (see {}); again, with one thread",
            kernel.series,
            kernel.version,
            kept.display()
        );
        self.hear(Accelerator::Single, kernel, tests, plan, limits, heard.log)
    }

    fn hear(
        &self,
        accelerator: Accelerator,
        kernel: &Kernel,
        tests: &Tests,
        plan: &Plan,
        limits: Limits,
        log: PathBuf,
    ) -> Result<Heard> {
        let mut file = BufWriter::new(File::create(&log).with_context(|| log.display().to_string())?);
        let initramfs = self.initramfs(plan).context("initramfs")?;
        let guest = Guest {
            processor: self.processor,
            accelerator,
            kernel: &kernel.image,
            initramfs: Some(initramfs.path()),
            disk: tests.disk.as_deref(),
            memory_mib: tests.memory_mib,
            cpus: tests.cpus,
        };
        let mut transcript = Transcript::default();
        let mut written = Ok(());
        let ran = guest.run(limits, |line| {
            transcript.line(line);
            if written.is_ok() {
                written = writeln!(file, "{line}");
            }
        })?;
        written.and_then(|()| file.flush()).with_context(|| log.display().to_string())?;
        Ok(Heard { transcript, ran, log })
    }

    /// Everything that a guest has. Gone when dropped.
    fn initramfs(&self, plan: &Plan) -> Result<tempfile::NamedTempFile> {
        let file = tempfile::Builder::new().prefix("initramfs-").tempfile_in(self.root.join("target/vm"))?;
        let mut initramfs = Initramfs::new(BufWriter::new(file));
        for directory in ["dev", "root"] {
            initramfs.directory(directory)?;
        }
        initramfs.device("dev/console", 0o600, (5, 1))?;
        let Programs { guest, suite, service, sensor, bench: _ } = self.programs;
        let read = |program: &PathBuf| std::fs::read(program).with_context(|| program.display().to_string());
        initramfs.file("init", 0o755, &read(guest)?)?;
        let tests = if plan.service { ("sensor-service", service) } else { ("sensor-tests", suite) };
        for (name, program) in [tests, ("sensor", sensor)] {
            initramfs.file(name, 0o755, &read(program)?)?;
        }
        if plan.service {
            let mut directories = BTreeSet::new();
            for (path, content, _) in install::contents(self.root)? {
                let path = format!("{}/{path}", INSTALLED.trim_start_matches('/'));
                for (place, _) in path.match_indices('/') {
                    let directory = path.get(..place).unwrap_or_default();
                    if directories.insert(directory.to_owned()) {
                        initramfs.directory(directory)?;
                    }
                }
                initramfs.file(&path, 0o644, &content)?;
            }
        }
        initramfs.file(PLAN.trim_start_matches('/'), 0o644, &serde_json::to_vec(plan)?)?;
        Ok(initramfs.finish()?.into_inner()?)
    }
}

/// Does something with each kernel, two at a time. The results come in any order.
pub(crate) fn side_by_side<T: Send>(kernels: &[Kernel], each: impl Fn(&Kernel) -> Result<T> + Sync) -> Result<Vec<T>> {
    let queue = Mutex::new(kernels.iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    // A statement of its own, behind which the queue is free for the other thread.
                    let next = lock(&queue).next();
                    let Some(kernel) = next else { break };
                    let result = each(kernel);
                    lock(&results).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
