//! Whether /proc shows the host's processes.
//!
//! The kernel names processes by their numbers in its first namespace. In a namespace of its own, as a container usually has it,
//! the sensor would look those numbers up among other processes.

use std::io;
use std::path::Path;

/// The kernel's first namespace of processes; its number is fixed (`PID_NS_INIT_INO`, before `PROC_PID_INIT_INO`).
const FIRST: &str = "pid:[4026531836]";

/// The numbers that the kernel gives mean nothing here.
#[derive(Debug, thiserror::Error)]
pub enum NotTheHosts {
    /// This process lives in another namespace.
    #[error(
        "/proc shows the processes of {0}, not the host's: containers, arguments of parents and earlier connections stay unknown; \
         run the sensor in the host's namespace of processes (podman and docker: --pid=host, Kubernetes: hostPID: true)"
    )]
    Other(String),
    /// /proc does not say where this process lives.
    #[error("cannot read /proc/self/ns/pid: {0}; the sensor needs a whole /proc")]
    Unknown(io::Error),
}

/// Whether the process that /proc below `root` (usually `/`) calls `self` is known to it by the number that the kernel uses.
///
/// # Errors
/// It is not, or that cannot be told.
pub fn check(root: &Path) -> Result<(), NotTheHosts> {
    let namespace = std::fs::read_link(root.join("proc/self/ns/pid")).map_err(NotTheHosts::Unknown)?;
    let namespace = namespace.to_string_lossy();
    if namespace == FIRST { Ok(()) } else { Err(NotTheHosts::Other(namespace.chars().take(40).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_the_first_namespace_is_the_hosts() {
        let root = tempfile::tempdir().unwrap();
        assert!(check(root.path()).unwrap_err().to_string().contains("/proc/self/ns/pid"));
        let directory = root.path().join("proc/self/ns");
        std::fs::create_dir_all(&directory).unwrap();
        symlink(FIRST, directory.join("pid")).unwrap();
        assert!(check(root.path()).is_ok());
        std::fs::remove_file(directory.join("pid")).unwrap();
        symlink("pid:[4026532845]", directory.join("pid")).unwrap();
        let error = check(root.path()).unwrap_err().to_string();
        assert!(error.contains("4026532845") && error.contains("--pid=host"), "{error}");
    }
}
