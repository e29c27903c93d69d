//! Checks one by one: each has a name, and passes, fails or is skipped.

use crate::tally::{self, Tally};
use anyhow::Result;

/// What came of the checks so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) tally: Tally,
}

impl Report {
    /// A check; what is wrong is told below its name.
    pub(super) fn check(&mut self, name: &str, result: Result<()>) {
        self.tally += tally::told(name, result);
    }

    /// What these checks need, if it can be had; they are skipped otherwise.
    pub(super) fn has<T>(&mut self, what: &str, needs: Result<T>) -> Option<T> {
        needs.map_err(|error| self.tally += tally::skipped(what, &format!("{error:#}"))).ok()
    }
}
