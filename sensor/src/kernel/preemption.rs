//! Where the kernel can preempt a task inside one of the sensor's programs, and then skips the same event of the next task on that CPU.

/// On which kernels a program can be preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preempted {
    /// On none.
    Never,
    /// On preemptible ones from 7.0.
    Since7,
    /// On preemptible ones.
    WhereverTasksAre,
}

/// What decides about preemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// First number of its version.
    pub major: u32,
    /// Whether tasks can be preempted in the kernel, as far as that can be told.
    pub preemptible: bool,
}

impl Kernel {
    /// The running kernel's.
    #[must_use]
    pub fn running() -> Self {
        let system = rustix::system::uname();
        let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        Self::new(&system.release().to_string_lossy(), &system.version().to_string_lossy(), &command_line)
    }

    /// From the release (`7.3.4-cloud`), the version (`#1 SMP PREEMPT_DYNAMIC …`) and the command line of the kernel. Which mode a
    /// kernel with several is in by default is not shown, so that counts as preemptible.
    #[must_use]
    pub fn new(release: &str, version: &str, command_line: &str) -> Self {
        let major = release.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
        let switched_off = ["preempt=none", "preempt=voluntary"];
        let switched_off = command_line.split_ascii_whitespace().any(|word| switched_off.contains(&word));
        Self { major, preemptible: version.contains("PREEMPT") && !switched_off }
    }

    /// Whether programs of such a candidate can be preempted here.
    #[must_use]
    pub const fn preempts(self, preempted: Preempted) -> bool {
        self.preemptible
            && match preempted {
                Preempted::Never => false,
                Preempted::Since7 => self.major >= 7,
                Preempted::WhereverTasksAre => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_counts_as_a_new_one() {
        assert_eq!(Kernel::new("next", "PREEMPT", ""), Kernel { major: u32::MAX, preemptible: true });
    }
}
