//! What a benchmark measures and tells: one JSON object a line on its standard output.
//!
//! `xtask` and the program that measures both include this file, so that they cannot disagree.

use serde::{Deserialize, Serialize};

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// Something was measured.
    Measured(Figure),
    /// Something was not, and why.
    NotMeasured {
        /// What it is about.
        subject: String,
        /// Why.
        reason: String,
    },
}

/// A figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What it is about, such as a situation or a tool.
    pub(crate) subject: String,
    /// What was measured of it.
    pub(crate) quantity: String,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: String,
    /// How it came about: number of runs, spread, resolution; empty if there is nothing to say.
    pub(crate) note: String,
}
