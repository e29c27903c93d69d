//! Capabilities of the calling thread; every thread has its own.

use rustix::io;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// Those that the thread has or can have.
pub(super) fn permitted() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.permitted)
}

/// Gives up all but these for good. Two system calls and nothing else, so that a signal handler may do it.
pub(super) fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let kept = permitted()? & wanted;
    // Ambient capabilities go with the inheritable ones.
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

/// As capabilities(7) spells them; `none` if there are none.
pub(super) fn names(set: CapabilitySet) -> String {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(names(CapabilitySet::SYS_PTRACE | CapabilitySet::BPF), "CAP_SYS_PTRACE CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()), "none");
    }

    /// Only this test's thread changes.
    #[test]
    fn what_is_given_up_does_not_come_back() {
        let before = permitted().unwrap();
        let (kept, again) = std::thread::spawn(|| {
            keep(CapabilitySet::SYS_PTRACE).unwrap();
            let kept = capabilities(None).unwrap();
            (kept, set_capabilities(None, CapabilitySets { permitted: CapabilitySet::all(), ..kept }))
        })
        .join()
        .unwrap();
        let expected = before & CapabilitySet::SYS_PTRACE;
        assert_eq!((kept.effective, kept.permitted), (expected, expected));
        assert_eq!(kept.inheritable, CapabilitySet::empty());
        assert_eq!(again, Err(io::Errno::PERM));
        assert_eq!(permitted().unwrap(), before);
    }
}
