//! What the suite prints: one line a test, details below a failed one, and the sums alone on the last line. With `--json`
//! every line is an object instead, with the same content.

#![expect(clippy::print_stdout, reason = "the results are this program's output")]

use crate::sensor::Hooks;
use serde_json::json;
use std::time::Duration;

/// How a test ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Everything was as expected.
    Passed,
    /// Something was not, with what was seen.
    Failed(String),
    /// It could not be run here, and why.
    Skipped(String),
}

/// The sums of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sums {
    json: bool,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Sums {
    /// None so far.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, passed: 0, failed: 0, skipped: 0 }
    }

    /// Prints what the sensor of a run has attached.
    pub(crate) fn hooks(&self, run: &str, hooks: &Hooks) {
        let Hooks { connect, accept } = hooks;
        if self.json {
            println!("{}", json!({"hooks": {"connect": connect, "accept": accept}}));
        } else {
            println!("hooks   connect={connect}, accept={accept}{run}");
        }
    }

    /// Prints and counts a result.
    pub(crate) fn add(&mut self, name: &str, run: &str, took: Duration, outcome: &Outcome) {
        let seconds = took.as_secs_f64();
        let (word, details) = match outcome {
            Outcome::Passed => {
                self.passed += 1;
                ("passed", "")
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                ("skipped", reason.as_str())
            }
            Outcome::Failed(details) => {
                self.failed += 1;
                ("failed", details.as_str())
            }
        };
        if self.json {
            println!("{}", json!({"test": {"name": name, "outcome": word, "seconds": seconds, "details": details}}));
            return;
        }
        match outcome {
            Outcome::Passed => println!("ok      {name}{run} ({seconds:.2} s)"),
            Outcome::Skipped(reason) => println!("skipped {name}{run}: {reason}"),
            Outcome::Failed(details) => {
                println!("FAILED  {name}{run} ({seconds:.2} s)");
                for line in details.lines() {
                    println!("        {line}");
                }
            }
        }
    }

    /// Prints the last line; whether the run counts as a success.
    pub(crate) fn finish(self, skips_allowed: bool) -> bool {
        let Self { json, passed, failed, skipped } = self;
        if json {
            println!("{}", json!({"sums": {"passed": passed, "failed": failed, "skipped": skipped}}));
        } else {
            println!("{passed} passed, {failed} failed, {skipped} skipped");
        }
        failed == 0 && passed > 0 && (skips_allowed || skipped == 0)
    }
}

/// Prints a text.
pub(crate) fn text(text: &str) {
    print!("{text}");
}

/// Prints something that is no result.
pub(crate) fn note(text: &str) {
    println!("{text}");
}

/// Prints a name for `--list`.
pub(crate) fn list(name: &str, tags: &str) {
    println!("{name}{tags}");
}

/// Ends the suite where going on would give wrong results. Its temporary files are removed by the program around it.
pub(crate) fn fatal(message: &str) -> ! {
    println!("fatal: {message}");
    std::process::exit(1)
}
