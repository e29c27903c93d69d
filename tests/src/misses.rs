//! What the kernel has left out for a sensor: runs of programs, because one was running already, and hits of probes.

use crate::field;
use crate::programs::held_by;
use anyhow::{Context, Result, ensure};
use aya::programs::loaded_programs;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// How many there were; `None` if the kernel does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misses {
    /// Runs of programs; told since 5.12.
    pub(crate) runs: Option<u64>,
    /// Hits of kprobes; told since 6.7, and not where there is no kprobe.
    pub(crate) hits: Option<u64>,
}

impl Misses {
    /// Those of all programs and probes that a process holds.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let programs = held_by(pid)?;
        ensure!(!programs.is_empty(), "process {pid} holds no program");
        Ok(Self { runs: runs(&programs)?, hits: hits(pid)? })
    }
}

fn runs(programs: &BTreeSet<u32>) -> Result<Option<u64>> {
    let mut sum = Some(0);
    for info in loaded_programs() {
        // One of somebody else may go away while the list is read.
        let Ok(info) = info else { continue };
        if programs.contains(&info.id()) {
            let descriptor = info.fd().context("a program of the sensor")?;
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_fd().as_raw_fd()))?;
            sum = sum.zip(field::number(&text, "recursion_misses")).map(|(sum, missed)| sum + missed);
        }
    }
    Ok(sum)
}

fn hits(pid: u32) -> Result<Option<u64>> {
    let mut sum = None;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        let Some(link) = field::number(&text, "link_id") else { continue };
        if let Some(missed) = probe_misses(u32::try_from(link)?).with_context(|| format!("link {link}"))? {
            sum = Some(sum.unwrap_or(0) + missed);
        }
    }
    Ok(sum)
}

/// What two commands of bpf(2) take: a descriptor and the room for what is told of it, or a number.
#[repr(C)]
struct Attributes {
    object: u32,
    length: u32,
    address: u64,
}

const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;

/// `struct bpf_link_info` as far as it tells of a kprobe.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    event: u32,
    padding_2: u32,
    name: u64,
    name_length: u32,
    offset: u32,
    address: u64,
    missed: u64,
}

/// `BPF_LINK_TYPE_PERF_EVENT`, and among those `BPF_PERF_EVENT_KPROBE`.
const PERF_EVENT: u32 = 7;
const KPROBE: u32 = 3;

/// Hits that a link's probe has missed; none if it has no probe, or the kernel does not tell.
fn probe_misses(link: u32) -> Result<Option<u64>> {
    let descriptor = bpf(LINK_GET_FD_BY_ID, &mut Attributes { object: link, length: 0, address: 0 })?;
    // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut info = LinkInfo::default();
    let room = u32::try_from(size_of::<LinkInfo>())?;
    let address = u64::try_from((&raw mut info).expose_provenance())?;
    let object = u32::try_from(descriptor.as_raw_fd())?;
    let mut attributes = Attributes { object, length: room, address };
    bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    // A kernel that knows less fills less.
    let told = attributes.length >= room && info.kind == PERF_EVENT && info.event == KPROBE;
    Ok(told.then_some(info.missed))
}

fn bpf(command: libc::c_long, attributes: &mut Attributes) -> Result<i32> {
    // SAFETY: both commands take these attributes, and write only where the caller has said that there is room.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<Attributes>()) };
    ensure!(result >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
    Ok(i32::try_from(result)?)
}
