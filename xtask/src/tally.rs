//! Counts of tests, how single checks are told, and how counts are read from what test programs print.

use anyhow::Result;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

impl Tally {
    /// One check that passed.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    /// One check that failed.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    /// One check that could not be made.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// What a program's tests come to: a program that fails without a failed test counts as one.
    pub(crate) fn with_status(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    /// How many tests ran.
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

/// Tells how a check of this name ended; what is wrong stands below, indented, so that it is seen where it ends.
pub(crate) fn told(name: &str, result: Result<()>) -> Tally {
    match result {
        Ok(()) => {
            println!("ok      {name}");
            Tally::PASSED
        }
        Err(error) => {
            println!("FAILED  {name}\n        {}", format!("{error:#}").replace('\n', "\n        "));
            Tally::FAILED
        }
    }
}

/// Tells why a check of this name could not be made.
pub(crate) fn skipped(name: &str, why: &str) -> Tally {
    println!("skipped {name}: {why}");
    Tally::SKIPPED
}

/// The closing line of one of Cargo's test programs, such as
/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`.
pub(crate) fn of_cargo(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    Some(Tally {
        passed: counted(counts.next()?, "passed")?,
        failed: counted(counts.next()?, "failed")?,
        skipped: counted(counts.next()?, "ignored")?,
    })
}

/// The closing line of the end-to-end tests: `5 passed, 0 failed, 1 skipped`.
pub(crate) fn of_suite(line: &str) -> Option<Tally> {
    let mut counts = line.trim_end().split(", ");
    let tally = Tally {
        passed: counted(counts.next()?, "passed")?,
        failed: counted(counts.next()?, "failed")?,
        skipped: counted(counts.next()?, "skipped")?,
    };
    counts.next().is_none().then_some(tally)
}

fn counted(text: &str, what: &str) -> Option<u64> {
    let (number, word) = text.split_once(' ')?;
    (word == what).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_cargo_test() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.02s";
        assert_eq!(of_cargo(line), Some(Tally { passed: 5, failed: 2, skipped: 1 }));
        assert_eq!(of_cargo("test result: ok. many passed"), None);
        assert_eq!(of_cargo("test tally::closing ... ok"), None);
    }

    #[test]
    fn closing_lines_of_the_suite() {
        assert_eq!(of_suite("5 passed, 0 failed, 1 skipped\n"), Some(Tally { passed: 5, failed: 0, skipped: 1 }));
        for other in
            ["5 passed, 0 failed", "5 passed, 0 failed, 1 skipped, 2 lost", "ok: 5 passed, 0 failed, 1 skipped", ""]
        {
            assert_eq!(of_suite(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let tally = Tally { passed: 3, failed: 4, skipped: 5 };
        assert_eq!(of_suite(&tally.to_string()), Some(tally));
    }

    #[test]
    fn a_failing_program_without_a_failed_test_counts() {
        assert_eq!(Tally::PASSED.with_status(false), Tally { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(Tally::FAILED.with_status(false), Tally::FAILED);
        assert_eq!(Tally::PASSED.with_status(true), Tally::PASSED);
    }
}
