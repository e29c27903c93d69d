//! What a process uses, by /proc.

use crate::field;
use anyhow::{Context, Result};
use std::fs;

/// Memory in KiB and descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// `VmRSS` of proc_pid_status(5).
    pub(crate) resident: u64,
    /// `RssAnon` and `VmSwap`: what the process itself has taken. Pages of files, its program's too, the kernel takes away where they
    /// lie unused, and brings back when they are needed.
    pub(crate) anonymous: u64,
    /// `VmHWM`: the most that it ever was, or since it was last forgotten.
    pub(crate) peak: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: usize,
}

/// What a process uses now.
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let number = |name| field::number(&status, name).with_context(|| format!("{path} has no {name}"));
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Usage {
        resident: number("VmRSS")?,
        anonymous: number("RssAnon")? + number("VmSwap")?,
        peak: number("VmHWM")?,
        descriptors,
        threads: usize::try_from(number("Threads")?)?,
    })
}

/// Has the peak count from now on (`clear_refs` of proc_pid_clear_refs(5)).
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").context(path)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_something() {
        let usage = super::of(std::process::id()).unwrap();
        assert!(usage.anonymous > 10 && usage.resident > usage.anonymous);
        assert!(usage.peak >= usage.resident && usage.descriptors > 2 && usage.threads > 0);
        assert!(super::of(u32::MAX).is_err());
    }
}
