//! Runs the table of tests.

use crate::cases::{CONTAINERS, Case, TABLE, Tag};
use crate::lab::{Lab, Setting};
use crate::report::{Outcome, Sums, note};
use crate::sensor::Sensor;
use crate::skip::{Skip, skip};
use crate::soak;
use crate::supervise::PROGRAM;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What to run, and on what.
pub(crate) struct Plan {
    /// The sensor's binary.
    pub(crate) binary: PathBuf,
    /// Hook configurations, each a `[hooks]` section's text; the whole table is run for each.
    pub(crate) hooks: Vec<String>,
    /// Tests at a time.
    pub(crate) jobs: usize,
    /// Whether a skipped test is a failure.
    pub(crate) no_skip: bool,
    /// Which tests.
    pub(crate) filter: Filter,
    /// Whether results are printed as JSON.
    pub(crate) json: bool,
    /// Whether this system was made for the tests.
    pub(crate) disposable: bool,
    /// Whether storms are skipped.
    pub(crate) no_storms: bool,
    /// Instead of the table: a mixed load for so long.
    pub(crate) soak: Option<Duration>,
    /// Instead of the table: the one of containers; the binary is the archive of an image then.
    pub(crate) containers: bool,
}

/// Which tests to run: those whose name holds the text, or that have (`tag:NAME`) or do not have (`not:NAME`) a tag.
#[derive(Clone, Debug)]
pub(crate) struct Filter(pub(crate) Vec<String>);

impl Filter {
    /// Whether all parts of the filter take the test.
    pub(crate) fn takes(&self, case: &Case) -> bool {
        let tagged = |name: &str| case.tags.iter().any(|tag| tag.name() == name);
        self.0.iter().all(|part| match part.split_once(':') {
            Some(("tag", name)) => tagged(name),
            Some(("not", name)) => !tagged(name),
            _ => case.name.contains(part.as_str()),
        })
    }
}

/// The tests to run, each with a number that no other has, also none of the other table's.
pub(crate) fn chosen(containers: bool, filter: &Filter) -> Vec<(usize, &'static Case)> {
    let all = TABLE.iter().flat_map(|cases| cases.iter().map(|case| (false, case)));
    let all = all.chain(CONTAINERS.iter().map(|case| (true, case))).enumerate();
    let taken = all.filter(|(_, (in_container, case))| *in_container == containers && filter.takes(case));
    taken.map(|(number, (_, case))| (number, case)).collect()
}

/// Runs everything; whether it was a success.
pub(crate) fn run(plan: &Plan, directory: &Path) -> Result<bool> {
    // Actors are hard links to it, which is why it is on the same file system.
    let program = directory.join(PROGRAM);
    // A copy, which other users can execute, and which stays the same while somebody builds a new one.
    let binary = directory.join("sensor");
    std::fs::copy(&plan.binary, &binary).context("the sensor")?;
    let mut sums = Sums::new(plan.json);
    for (number, hooks) in plan.hooks.iter().enumerate() {
        let place = directory.join(format!("run-{number}"));
        std::fs::create_dir(&place)?;
        let setting =
            Setting { directory: &place, program: &program, binary: &binary, hooks, disposable: plan.disposable };
        let run = Run { plan, setting, label: label(hooks) };
        match plan.soak {
            Some(duration) => run.soak(duration, &mut sums),
            None => run.all(&mut sums)?,
        }
    }
    Ok(sums.finish(!plan.no_skip))
}

fn label(hooks: &str) -> String {
    let text = hooks.replace('"', "").replace('\n', " ").replace("[hooks]", "");
    let words: String = text.split_whitespace().collect();
    if words.is_empty() { String::new() } else { format!(" [{}]", words.replace("accept=", ",accept=")) }
}

struct Run<'a> {
    plan: &'a Plan,
    setting: Setting<'a>,
    label: String,
}

impl Run<'_> {
    fn all(&self, sums: &mut Sums) -> Result<()> {
        let chosen = chosen(self.plan.containers, &self.plan.filter);
        let (alone, together): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(_, case)| case.has(Tag::Alone));
        let mut sensor = None;
        if together.iter().any(|(_, case)| !case.has(Tag::Own)) {
            let start = Instant::now();
            match Sensor::start(self.setting.binary, &self.setting.directory.join("sensor"), self.setting.hooks) {
                Ok(started) => {
                    sums.hooks(&self.label, started.hooks());
                    sensor = Some(Arc::new(started));
                }
                Err(error) => {
                    let failed = Outcome::Failed(format!("{error:#}"));
                    sums.add("the shared sensor starts", &self.label, start.elapsed(), &failed);
                    return Ok(());
                }
            }
        }
        let sums = Mutex::new(sums);
        let queue = Mutex::new(VecDeque::from(together));
        std::thread::scope(|scope| {
            for _ in 0..self.plan.jobs {
                scope.spawn(|| {
                    while let Some((number, case)) = take(&queue) {
                        self.one(number, case, sensor.clone(), &sums);
                    }
                });
            }
        });
        if let Some(sensor) = sensor {
            let start = Instant::now();
            let outcome = match sensor.stop_cleanly() {
                Ok(_) => Outcome::Passed,
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            self.add(&sums, "the shared sensor ends cleanly and its counters agree", start.elapsed(), &outcome);
        }
        for (number, case) in alone {
            self.one(number, case, None, &sums);
        }
        Ok(())
    }

    fn soak(&self, duration: Duration, sums: &mut Sums) {
        let start = Instant::now();
        let soaked = Lab::new(1, &self.setting, None).context("lab").and_then(|lab| soak::run(&lab, duration));
        let outcome = match soaked {
            Ok(seen) => {
                note(&seen);
                Outcome::Passed
            }
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let name = "soak: under a mixed load it takes no more and more, and each shell is alerted once";
        sums.add(name, &self.label, start.elapsed(), &outcome);
    }

    fn one(&self, number: usize, case: &Case, sensor: Option<Arc<Sensor>>, sums: &Mutex<&mut Sums>) {
        let start = Instant::now();
        let result = self.in_lab(number, case, sensor);
        let outcome = match result {
            Ok(()) => Outcome::Passed,
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(Skip(reason)) => Outcome::Skipped(reason.clone()),
                None => Outcome::Failed(format!("{error:#}")),
            },
        };
        self.add(sums, case.name, start.elapsed(), &outcome);
    }

    fn in_lab(&self, number: usize, case: &Case, sensor: Option<Arc<Sensor>>) -> Result<()> {
        if self.plan.no_storms && case.has(Tag::Storm) {
            return skip("a storm takes minutes on an emulated processor: run on hosts");
        }
        let number = u16::try_from(number + 1)?;
        let sensor = sensor.filter(|_| !case.has(Tag::Own));
        let lab = Lab::new(number, &self.setting, sensor).context("lab")?;
        case.run(&lab)
    }

    fn add(&self, sums: &Mutex<&mut Sums>, name: &str, took: Duration, outcome: &Outcome) {
        sums.lock().unwrap_or_else(PoisonError::into_inner).add(name, &self.label, took, outcome);
    }
}

fn take<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
