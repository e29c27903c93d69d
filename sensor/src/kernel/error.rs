//! Why the kernel side could not be set up, in one line each.

use super::btf::BtfError;
use super::hook::{Fact, Refusal};
use super::layout::LayoutError;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Why the kernel side could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No privilege to load eBPF programs.
    #[error(
        "not permitted to load eBPF programs: {0}; run as root, or with CAP_BPF and CAP_PERFMON, in the host's user namespace"
    )]
    NotPermitted(String),
    /// No type information.
    #[error("the kernel's type information {} cannot be used: {reason}; the sensor needs a kernel built with CONFIG_DEBUG_INFO_BTF", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: BtfError,
    },
    /// aya cannot use the type information.
    #[error("the kernel's type information cannot be used: {0}")]
    AyaBtf(String),
    /// A member that the sensor needs is not there.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The object could not be loaded.
    #[error("the eBPF maps cannot be created: {0}")]
    Object(String),
    /// The object lacks something that this program expects in it.
    #[error("the eBPF object has no {0}; build it anew with `cargo xtask ebpf`")]
    Missing(&'static str),
    /// A map is of another kind than expected.
    #[error("the map {name} is of an unexpected kind")]
    MapKind {
        /// Name of the map.
        name: &'static str,
    },
    /// A map cannot be used from user space.
    #[error("the map {name} cannot be used: {reason}")]
    MapMemory {
        /// Name of the map.
        name: &'static str,
        /// The kernel's reason.
        reason: io::Error,
    },
    /// No candidate for a fact.
    #[error("this kernel has no usable hook for {fact}: {}", reasons(refusals))]
    NoHook {
        /// The fact.
        fact: Fact,
        /// What was tried, and why it was refused.
        refusals: Vec<Refusal>,
    },
}

pub(super) fn reasons(refusals: &[Refusal]) -> String {
    refusals.iter().map(|refusal| format!("{}: {}", refusal.mechanism, refusal.reason)).collect::<Vec<_>>().join("; ")
}

/// An error with its causes, on one line; of the verifier's log only what it objects to.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        // A program may be refused before the verifier has looked at it.
        let part = part.trim_end().trim_end_matches(". Verifier output:");
        let mut lines = part.lines().filter(|line| !line.trim().is_empty() && !is_summary(line));
        for part in lines.next().into_iter().chain(lines.next_back()) {
            if !text.contains(part) {
                if !text.is_empty() {
                    text.push_str(": ");
                }
                text.push_str(part);
            }
        }
        next = error.source();
    }
    text
}

/// Lines with which the verifier ends every log.
fn is_summary(line: &str) -> bool {
    ["processed ", "stack depth ", "verification time "].iter().any(|start| line.starts_with(start))
}

pub(super) fn is_permission(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        next = error.source();
    }
    false
}

pub(super) fn refused(error: &(dyn Error + 'static), otherwise: impl FnOnce(String) -> LoadError) -> LoadError {
    let text = chain(error);
    if is_permission(error) && !may_load() { LoadError::NotPermitted(text) } else { otherwise(text) }
}

/// Whether this process has what loading eBPF programs needs: `CAP_BPF` and `CAP_PERFMON` (5.8), or `CAP_SYS_ADMIN`, which includes
/// both. Root in a container mostly has neither, and in a user namespace they are not the host's.
pub(super) fn may_load() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const BOTH: u64 = 1 << 38 | 1 << 39;
    /// The kernel's first user namespace; its number is fixed (`PROC_USER_INIT_INO`).
    const FIRST: &str = "user:[4026531837]";
    let of_the_host = std::fs::read_link("/proc/self/ns/user").map_or(true, |namespace| namespace.as_os_str() == FIRST);
    of_the_host && effective_capabilities().is_none_or(|bits| bits & CAP_SYS_ADMIN != 0 || bits & BOTH == BOTH)
}

/// The effective capabilities of this process as /proc shows them, bit N being capability N of capabilities(7); `None` if they cannot
/// be read.
#[must_use]
pub fn effective_capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16).ok()
}
