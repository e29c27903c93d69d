//! The kernel side of an earlier sensor, which goes on while that one is being replaced: what it records meanwhile, the connections
//! that it remembers, and what it loses.
//!
//! Once the next sensor is attached both sides record each execution. Which of the two comes first in the kernel is not defined, so
//! none is left out by its time alone: the newer side's record of an execution is known by the process, what that executes, their
//! order, and about the same time.

use super::counters::Counters;
use super::error::LoadError;
use super::ring::{Fill, Ring};
use crate::event::BootTime;
use crate::health::losses::Losses;
use aya::maps::{HashMap, Map, MapData};
use sensor_common::counter::TOLD_ROWS;
use sensor_common::record::{Arm, ExecRecord, Inherited};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// So far apart are the times at most that two programs behind each other take in an execution: between the two the task may be
/// interrupted, and a virtual machine be given no processor (25 ms were seen).
const APART_NS: u64 = 1_000_000_000;
/// More entries than a table of connections holds: as many are looked at, also if those that are looked at keep being replaced.
const MOST_ENTRIES: usize = 1 << 20;

/// The kernel side of an earlier sensor.
pub struct Earlier {
    connections: Buffer,
    executions: Buffer,
    pending: HashMap<MapData, u32, [u8; size_of::<Arm>()]>,
    inherited: Option<HashMap<MapData, u32, [u8; size_of::<Inherited>()]>>,
    counters: Counters,
    attachments: Vec<OwnedFd>,
}

/// A ring buffer, and how full it is.
pub type Buffer = (Ring, Fill);

/// Why descriptors are no kernel side.
#[derive(Debug, thiserror::Error)]
pub enum NoKernelSide {
    /// One is neither a map nor what keeps a program attached.
    #[error("a descriptor is no part of one")]
    Foreign,
    /// A map is not among them.
    #[error("there is no map {0}")]
    Missing(&'static str),
    /// A map is not what the sensor makes.
    #[error(transparent)]
    Map(#[from] LoadError),
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A map.
    Map,
    /// Keeps a program attached.
    Attachment,
}

impl Kind {
    /// By what /proc calls it; none if it is no part of a kernel side.
    fn of(descriptor: BorrowedFd<'_>) -> Option<Self> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).ok()?;
        let name = link.to_str()?.strip_prefix("anon_inode:")?;
        match name.trim_matches(['[', ']']) {
            "bpf-map" => Some(Self::Map),
            "bpf_link" | "perf_event" => Some(Self::Attachment),
            _ => None,
        }
    }
}

impl Earlier {
    /// From the descriptors of its maps and of what keeps its programs attached, in any order. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// They are not what they are taken for.
    pub fn new(descriptors: Vec<OwnedFd>) -> Result<Self, NoKernelSide> {
        let mut maps = BTreeMap::new();
        let mut attachments = Vec::new();
        for descriptor in descriptors {
            match Kind::of(descriptor.as_fd()) {
                Some(Kind::Map) => {
                    let data = MapData::from_fd(descriptor).map_err(unusable("map"))?;
                    let info = data.info().map_err(unusable("map"))?;
                    maps.insert(info.name_as_str().unwrap_or_default().to_owned(), (data, info.max_entries()));
                }
                Some(Kind::Attachment) => attachments.push(descriptor),
                None => return Err(NoKernelSide::Foreign),
            }
        }
        let mut map = |name: &'static str| {
            let (data, entries) = maps.remove(name).ok_or(NoKernelSide::Missing(name))?;
            Ok::<_, NoKernelSide>((Map::from_map_data(data).map_err(|_| LoadError::MapKind { name })?, entries))
        };
        let buffer = |(map, _), name| {
            let ring = Ring::new(map, name)?;
            let fill = ring.fill();
            Ok::<_, LoadError>((ring, fill))
        };
        let (pending, _) = map("PENDING")?;
        // Older sensors do not keep it.
        let inherited = map("INHERITED").ok();
        let (counters, rows) = map("COUNTS")?;
        Ok(Self {
            connections: buffer(map("CONNECTIONS")?, "CONNECTIONS")?,
            executions: buffer(map("EXECUTIONS")?, "EXECUTIONS")?,
            pending: HashMap::try_from(pending).map_err(|_| LoadError::MapKind { name: "PENDING" })?,
            inherited: inherited
                .map(|(map, _)| HashMap::try_from(map))
                .transpose()
                .map_err(|_| LoadError::MapKind { name: "INHERITED" })?,
            counters: Counters::new(&counters, usize::try_from(rows.saturating_sub(TOLD_ROWS)).unwrap_or(usize::MAX))?,
            attachments,
        })
    }

    /// The connections that it remembers and that were made since then.
    #[must_use]
    pub fn pending(&self, since: BootTime) -> Vec<Arm> {
        values(&self.pending).map(bytemuck::cast::<_, Arm>).filter(|arm| arm.boot_ns >= since.0).collect()
    }

    /// What processes have inherited, of connections made since then.
    #[must_use]
    pub fn inherited(&self, since: BootTime) -> Vec<Inherited> {
        let inherited = self.inherited.iter().flat_map(values).map(bytemuck::cast::<_, Inherited>);
        inherited.filter(|inherited| inherited.arm.boot_ns >= since.0).collect()
    }

    /// What it has lost and nobody has told, and since when.
    #[must_use]
    pub fn lost(&self) -> (Losses, BootTime) {
        self.counters.untold()
    }

    /// Detaches it, as far as this process keeps it attached; its buffers of connections and of executions.
    #[must_use]
    pub fn end(self) -> (Buffer, Buffer) {
        drop(self.attachments);
        (self.connections, self.executions)
    }
}

/// What a table holds. An entry that is replaced while it is walked is not seen; the newer side has its successor.
fn values<const LEN: usize>(table: &HashMap<MapData, u32, [u8; LEN]>) -> impl Iterator<Item = [u8; LEN]> {
    table.iter().take(MOST_ENTRIES).filter_map(Result::ok).map(|(_, value)| value)
}

fn unusable<E: std::error::Error + Send + Sync + 'static>(name: &'static str) -> impl Fn(E) -> LoadError {
    move |error| LoadError::MapMemory { name, reason: io::Error::other(error) }
}

/// Executions that both sides may have recorded.
#[derive(Debug, Default)]
pub struct Overlap {
    executed: Vec<(Execution, u64)>,
}

/// What of an execution both sides see alike: the process and its start, and what it executes.
#[derive(Debug, PartialEq, Eq)]
struct Execution {
    process: (u32, u64),
    /// Path and argv.
    what: (Vec<u8>, Vec<u8>),
}

impl Execution {
    /// With when it happened.
    fn of(record: &[u8]) -> Option<(Self, u64)> {
        let (header, tail) = record.split_at_checked(size_of::<ExecRecord>())?;
        let header: ExecRecord = bytemuck::try_pod_read_unaligned(header).ok()?;
        // Not what stands between the two and behind them: ancestors may end meanwhile, and each side carries the environment if it is told to.
        let part = |start: u32, len: u32| tail.get(start as usize..start.saturating_add(len) as usize);
        let (path, argv) = (part(0, header.path.len)?, part(header.argv_start(), header.argv_len)?);
        let what = (path.to_vec(), argv.to_vec());
        Some((Self { process: (header.tgid, header.start_ns), what }, header.boot_ns))
    }
}

impl Overlap {
    /// Takes note of the earlier side's record of an execution, if the newer one was being attached by then.
    pub fn note(&mut self, record: &[u8], since: BootTime) {
        let late = |(_, at): &(Execution, u64)| at.saturating_add(APART_NS) >= since.0;
        self.executed.extend(Execution::of(record).filter(late));
    }

    /// Whether this record of the newer side is about an execution that the earlier one had recorded too; says so once for each.
    pub fn had(&mut self, record: &[u8]) -> bool {
        if self.executed.is_empty() {
            return false;
        }
        let Some((execution, at)) = Execution::of(record) else { return false };
        let apart = |(other, then): &(Execution, u64)| (*other == execution).then(|| then.abs_diff(at));
        let places = self.executed.iter().enumerate().filter_map(|(place, one)| Some((apart(one)?, place)));
        let Some((_, place)) = places.filter(|(apart, _)| *apart <= APART_NS).min() else { return false };
        let (_, matched) = self.executed.swap_remove(place);
        // Both sides have the executions of a process in the same order.
        self.executed.retain(|(other, then)| *then > matched || *other != execution);
        true
    }
}

/// The descriptors of this process that keep its programs attached.
///
/// # Errors
/// /proc cannot be read.
pub fn attachments() -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // SAFETY: it was open a moment ago, and nothing closes attachments while the sensor starts; one of another kind, which may
        // be closed by now, is only asked for its name.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if Kind::of(descriptor) == Some(Kind::Attachment) {
            found.push(descriptor.try_clone_to_owned()?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    const ALWAYS: BootTime = BootTime(0);

    fn record(tgid: u32, boot_ns: u64, argv: &str) -> Vec<u8> {
        with_parent(b"", ExecRecord { tgid, start_ns: 7, boot_ns, ..ExecRecord::zeroed() }, argv)
    }

    fn with_parent(parent: &[u8], mut header: ExecRecord, argv: &str) -> Vec<u8> {
        header.parent_path.len = u32::try_from(parent.len()).unwrap();
        header.argv_len = u32::try_from(argv.len()).unwrap();
        [bytemuck::bytes_of(&header), parent, argv.as_bytes()].concat()
    }

    fn overlap(records: &[Vec<u8>]) -> Overlap {
        let mut overlap = Overlap::default();
        records.iter().for_each(|record| overlap.note(record, ALWAYS));
        overlap
    }

    #[test]
    fn an_execution_that_both_have_recorded_is_known_once() {
        let mut both = overlap(&[record(1, 1_000, "a"), record(1, 2_000, "a"), record(1, 2_000, "b")]);
        assert!(
            both.had(&record(1, 1_010, "a")) && both.had(&record(1, 2_010, "a")) && both.had(&record(1, 1_990, "b"))
        );
        assert!(!both.had(&record(1, 2_020, "a")), "a third one");
    }

    #[test]
    fn a_processor_may_be_taken_away_between_the_two() {
        let mut both = overlap(&[record(1, 1_000_000, "a")]);
        assert!(both.had(&record(1, 26_000_000, "a")));
    }

    #[test]
    fn a_process_that_executes_the_same_again_does_so_in_one_order() {
        let [before, during, later] = [0, 100_000_000, 200_000_000].map(|at| record(1, at, "a"));
        let mut both = overlap(&[before, during.clone(), record(2, 0, "a")]);
        assert!(both.had(&during), "recorded by both");
        assert!(!both.had(&later), "recorded by the newer one alone");
        assert!(both.had(&record(2, 0, "a")), "another process");
    }

    #[test]
    fn what_else_a_side_has_recorded_makes_no_difference() {
        let header = ExecRecord { tgid: 1, start_ns: 7, boot_ns: 1_000, ..ExecRecord::zeroed() };
        let mut both = overlap(&[with_parent(b"sh\0", header, "a")]);
        let mut carrying = with_parent(b"", header, "a");
        carrying.extend(b"A=b\0");
        assert!(both.had(&carrying));
    }

    #[test]
    fn another_execution_is_not_taken_for_it() {
        let mut both = overlap(&[record(1, 1_000, "a")]);
        assert!(!both.had(&record(2, 1_000, "a")), "another process");
        assert!(!both.had(&record(1, 1_000, "b")), "another program");
        assert!(!both.had(&record(1, 1_001 + APART_NS, "a")), "a later execution");
        assert!(!both.had(&[0; 3]), "no record");
        assert!(both.had(&record(1, 1_000, "a")));
    }

    #[test]
    fn what_was_recorded_before_the_other_was_attached_is_not_remembered() {
        let mut both = Overlap::default();
        both.note(&record(1, 1_000, "a"), BootTime(1_001 + APART_NS));
        both.note(&[0; 3], ALWAYS);
        assert!(both.executed.is_empty());
        both.note(&record(1, 1_001, "a"), BootTime(1_001 + APART_NS));
        assert!(both.had(&record(1, 1_001, "a")));
    }

    #[test]
    fn what_is_no_kernel_side_is_refused() {
        let pipe = || OwnedFd::from(io::pipe().unwrap().0);
        assert_eq!(Kind::of(pipe().as_fd()), None);
        assert!(matches!(Earlier::new(vec![pipe()]), Err(NoKernelSide::Foreign)));
        assert!(matches!(Earlier::new(Vec::new()), Err(NoKernelSide::Missing("PENDING"))));
        assert!(attachments().unwrap().is_empty());
    }
}
