//! What the suite prints: one line a test, details below a failed one, and the sums alone on the last line.

#![expect(clippy::print_stdout, reason = "the results are this program's output")]

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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Sums {
    /// Prints and counts a result.
    pub(crate) fn add(&mut self, name: &str, took: Duration, outcome: &Outcome) {
        let seconds = took.as_secs_f64();
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                println!("ok      {name} ({seconds:.2} s)");
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                println!("skipped {name}: {reason}");
            }
            Outcome::Failed(details) => {
                self.failed += 1;
                println!("FAILED  {name} ({seconds:.2} s)");
                for line in details.lines() {
                    println!("        {line}");
                }
            }
        }
    }

    /// Prints the last line; whether the run counts as a success.
    pub(crate) fn finish(self, skips_allowed: bool) -> bool {
        let Self { passed, failed, skipped } = self;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        failed == 0 && passed > 0 && (skips_allowed || skipped == 0)
    }
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
