//! What the sensor finds in each kernel's type information, compared with what is committed in `tests/kernels`.
//!
//! One file a series: offsets of the members that the sensor reads, and declarations of the functions at which it attaches
//! programs. Of the very kernel that the file is of, everything must be the same. A later kernel of the series may have
//! moved a member, which is told, as is a series without a file. A function declared in a way that no program is made for
//! is a fault on any kernel.

use super::series::Series;
use anyhow::{Context, Result};
use sensor_common::layout::FIELDS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Declarations that there are programs for.
const DECLARATIONS: [(&str, &[&str]); 3] = [
    ("tcp_connect", &["int (struct sock *)"]),
    (
        "inet_csk_accept",
        &[
            // Up to 6.9, and from 6.10 on.
            "struct sock * (struct sock *, int, int *, bool)",
            "struct sock * (struct sock *, struct proto_accept_arg *)",
        ],
    ),
    ("security_sock_graft", &["void (struct sock *, struct socket *)"]),
];

/// What is known of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    /// Version of the package.
    pub(crate) version: String,
    /// Declarations of functions; null for one that the kernel does not have.
    pub(crate) prototypes: BTreeMap<String, Option<String>>,
    /// Offsets of members in bytes; null for one that the kernel does not have.
    pub(crate) offsets: BTreeMap<String, Option<u16>>,
}

/// What a comparison has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Each of these is a failure.
    pub(crate) faults: Vec<String>,
    /// Differences that a newer kernel of the series may have.
    pub(crate) notes: Vec<String>,
}

fn path(root: &Path, arch: &str, series: Series) -> PathBuf {
    root.join("tests/kernels").join(arch).join(format!("{series}.json"))
}

impl Fixture {
    /// Reads the file of a series; none if there is none.
    pub(crate) fn read(root: &Path, arch: &str, series: Series) -> Result<Option<Self>> {
        let path = path(root, arch, series);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes the file of a series.
    pub(crate) fn write(&self, root: &Path, arch: &str, series: Series) -> Result<()> {
        let path = path(root, arch, series);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// Compares what a kernel has told with what is expected of it.
    pub(crate) fn compare(&self, committed: Option<&Self>) -> Comparison {
        let mut comparison = Comparison::default();
        for (function, known) in DECLARATIONS {
            match self.prototypes.get(function).cloned().flatten() {
                Some(declared) if known.contains(&declared.as_str()) => {}
                Some(declared) => comparison.faults.push(format!(
                    "{function} is declared as `{declared}`, and programs are made for `{}`",
                    known.join("` and `")
                )),
                None => comparison.faults.push(format!("this kernel has no function {function}")),
            }
        }
        let Some(committed) = committed else {
            // Debian has a new series every few months.
            let advice = "nothing is committed about this series; write it down with --record";
            comparison.notes.push(advice.to_owned());
            return comparison;
        };
        let mut differences = Vec::new();
        for field in &FIELDS {
            let [found, expected] = [self, committed].map(|of| of.offsets.get(field.path).copied());
            match (found, expected) {
                (_, None) => comparison.faults.push(format!("{} is new; write it down with --record", field.path)),
                (None, _) => comparison.faults.push(format!("the guest has told nothing of {}", field.path)),
                (Some(found), Some(expected)) if found == expected => {}
                (Some(found), Some(expected)) => differences.push(format!(
                    "{} was found at {}, in {} it is at {}",
                    field.path,
                    offset(found),
                    committed.version,
                    offset(expected)
                )),
            }
        }
        let same_kernel = committed.version == self.version;
        if same_kernel { &mut comparison.faults } else { &mut comparison.notes }.extend(differences);
        comparison
    }
}

fn offset(offset: Option<u16>) -> String {
    offset.map_or("no place".to_owned(), |offset| offset.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(version: &str) -> Fixture {
        let prototypes = DECLARATIONS
            .iter()
            .map(|(function, known)| ((*function).to_owned(), known.first().map(|declared| (*declared).to_owned())));
        let offsets = FIELDS.iter().zip(0..).map(|(field, place)| (field.path.to_owned(), Some(place * 8)));
        Fixture { version: version.to_owned(), prototypes: prototypes.collect(), offsets: offsets.collect() }
    }

    #[test]
    fn the_same_is_no_fault() {
        assert_eq!(fixture("1").compare(Some(&fixture("1"))), Comparison::default());
    }

    #[test]
    fn an_offset_wrong_by_eight_is_named() {
        let committed = fixture("1");
        let mut found = committed.clone();
        let place = found.offsets.get_mut("task_struct.mm").unwrap();
        let right = place.unwrap();
        *place = Some(right + 8);
        let comparison = found.compare(Some(&committed));
        let expected = format!("task_struct.mm was found at {}, in 1 it is at {right}", right + 8);
        assert_eq!(comparison, Comparison { faults: vec![expected.clone()], notes: vec![] });
        // Another kernel may have another layout.
        found.version = "2".to_owned();
        assert_eq!(found.compare(Some(&committed)), Comparison { faults: vec![], notes: vec![expected] });
    }

    #[test]
    fn a_declaration_without_a_program_is_named_on_any_kernel() {
        let mut found = fixture("2");
        let declared = "struct sock * (struct sock *, int)".to_owned();
        found.prototypes.insert("inet_csk_accept".to_owned(), Some(declared.clone()));
        found.prototypes.insert("tcp_connect".to_owned(), None);
        let faults = found.compare(Some(&fixture("1"))).faults.join("\n");
        assert!(faults.contains(&declared) && faults.contains("no function tcp_connect"), "{faults}");
    }

    #[test]
    fn gaps_are_faults() {
        let mut committed = fixture("1");
        committed.offsets.remove("task_struct.pid");
        let mut found = fixture("2");
        found.offsets.remove("task_struct.tgid");
        let faults = found.compare(Some(&committed)).faults;
        assert_eq!(faults.len(), 2);
        assert!(faults[0].contains("task_struct.pid") && faults[0].contains("--record"), "{faults:?}");
        assert!(faults[1].contains("task_struct.tgid"), "{faults:?}");
        let comparison = found.compare(None);
        assert_eq!((comparison.faults.len(), comparison.notes.len()), (0, 1));
    }
}
