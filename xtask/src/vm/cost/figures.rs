//! The figures of a kernel: measured, and as they are committed in `tests/kernels/cost`.

use crate::vm::series::Series;
use anyhow::{Context, Result};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Percent by which a figure may differ from the committed one. The same programs on the same kernel cost the same to the
/// instruction; a later kernel of a series may do something a little differently.
const BOUND: u64 = 3;

/// Instructions by situation and program, in the order in which they were measured.
pub(super) type Instructions = IndexMap<String, IndexMap<String, u64>>;

/// What programs cost on a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figures {
    /// Version of the kernel's package.
    pub(super) version: String,
    pub(super) instructions: Instructions,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Figures that are as they should be.
    pub(super) within: u64,
    /// Each of the others, in words.
    pub(super) faults: Vec<String>,
}

fn directory(root: &Path, arch: &str) -> PathBuf {
    root.join("tests/kernels/cost").join(arch)
}

fn path(root: &Path, arch: &str, series: Series) -> PathBuf {
    directory(root, arch).join(format!("{series}.json"))
}

/// The series about which something is committed, the oldest first.
pub(super) fn series(root: &Path, arch: &str) -> Result<Vec<Series>> {
    let directory = directory(root, arch);
    let mut series = Vec::new();
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(series),
        entries => entries.with_context(|| directory.display().to_string())?,
    };
    for entry in entries {
        let name = entry?.file_name();
        series.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<Series>().ok()));
    }
    series.sort_unstable();
    Ok(series)
}

/// The newest of them.
pub(super) fn newest(root: &Path, arch: &str) -> Result<Option<Series>> {
    Ok(series(root, arch)?.pop())
}

impl Figures {
    /// Those that a guest has told.
    pub(super) fn new(version: &str, told: &[(String, String, u64)]) -> Self {
        let mut instructions = Instructions::new();
        for (situation, program, figure) in told {
            instructions.entry(situation.clone()).or_default().insert(program.clone(), *figure);
        }
        Self { version: version.to_owned(), instructions }
    }

    /// Those that are committed; none if there is no file.
    pub(super) fn read(root: &Path, arch: &str, series: Series) -> Result<Option<Self>> {
        let path = path(root, arch, series);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes them down.
    pub(super) fn write(&self, root: &Path, arch: &str, series: Series) -> Result<()> {
        std::fs::create_dir_all(directory(root, arch))?;
        let path = path(root, arch, series);
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Compares what was measured with what is committed.
    pub(super) fn compare(&self, committed: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        let pairs = |figures: &Self| {
            let all = figures.instructions.iter();
            all.flat_map(|(situation, programs)| programs.keys().map(|program| (situation.clone(), program.clone())))
                .collect::<Vec<_>>()
        };
        let mut names = pairs(committed);
        names.extend(pairs(self).into_iter().filter(|(situation, program)| committed.of(situation, program).is_none()));
        for (situation, program) in names {
            let fault = match (self.of(&situation, &program), committed.of(&situation, &program)) {
                (Some(found), Some(expected)) if is_within(found, expected) => {
                    comparison.within += 1;
                    continue;
                }
                (Some(found), Some(expected)) => {
                    let change = if found > expected { "more" } else { "less" };
                    format!(
                        "{found} instructions, {expected} are committed ({}): {change} by more than {BOUND} %; if that is meant, \
                         write the figures down with --record and commit them",
                        committed.version
                    )
                }
                (Some(found), None) => {
                    format!("{found} instructions, none are committed; write them down with --record")
                }
                (None, expected) => format!("not measured, {} instructions are committed", expected.unwrap_or(0)),
            };
            comparison.faults.push(format!("{program}, {situation}: {fault}"));
        }
        comparison
    }

    fn of(&self, situation: &str, program: &str) -> Option<u64> {
        self.instructions.get(situation)?.get(program).copied()
    }
}

fn is_within(found: u64, expected: u64) -> bool {
    u128::from(found.abs_diff(expected)) * 100 <= u128::from(expected) * u128::from(BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(figures: &[(&str, &str, u64)]) -> Figures {
        let told: Vec<_> = figures
            .iter()
            .map(|(situation, program, n)| ((*situation).to_owned(), (*program).to_owned(), *n))
            .collect();
        Figures::new("1-1", &told)
    }

    fn fault(found: &[(&str, &str, u64)], committed: &[(&str, &str, u64)]) -> String {
        let Comparison { within, faults } = figures(found).compare(&figures(committed));
        assert_eq!((within, faults.len()), (1, 1), "{faults:?}");
        faults.concat()
    }

    #[test]
    fn three_percent_either_way_are_allowed() {
        for (found, within) in [(970, true), (1000, true), (1030, true), (969, false), (1031, false), (0, false)] {
            assert_eq!(is_within(found, 1000), within, "{found}");
        }
        assert!(is_within(0, 0) && !is_within(1, 0) && is_within(16, 16) && !is_within(17, 16) && !is_within(15, 16));
    }

    #[test]
    fn what_costs_more_or_less_is_named_with_both_figures() {
        let same = ("exec", "b", 7);
        let text = fault(&[("exec", "a", 120), same], &[("exec", "a", 100), same]);
        assert!(text.contains("a, exec: 120") && text.contains("100 are") && text.contains("more by"), "{text}");
        let text = fault(&[("exec", "a", 80), same], &[("exec", "a", 100), same]);
        assert!(text.contains("80") && text.contains("100") && text.contains("less by"), "{text}");
    }

    #[test]
    fn a_figure_that_is_missing_on_either_side_is_a_fault() {
        let same = ("exec", "b", 7);
        let text = fault(&[("exec", "a", 120), same], &[same]);
        assert!(text.contains("120") && text.contains("none are committed"), "{text}");
        let text = fault(&[same], &[("connect", "a", 100), same]);
        assert!(text.contains("a, connect: not measured") && text.contains("100"), "{text}");
    }

    #[test]
    fn what_is_written_is_read_in_the_same_order() {
        let root = tempfile::tempdir().unwrap();
        let written = figures(&[("z", "b", 1), ("a", "z", 2), ("a", "b", 3)]);
        for name in ["6.12", "5.10"] {
            written.write(root.path(), "x", name.parse().unwrap()).unwrap();
        }
        let read = Figures::read(root.path(), "x", "6.12".parse().unwrap()).unwrap().unwrap();
        assert_eq!(read, written);
        assert_eq!(read.instructions.keys().collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(newest(root.path(), "x").unwrap(), Some("6.12".parse().unwrap()));
        assert_eq!(newest(root.path(), "y").unwrap(), None);
        assert_eq!(Figures::read(root.path(), "x", "6.1".parse().unwrap()).unwrap(), None);
    }
}
