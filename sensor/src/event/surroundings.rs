//! What is known of an execution beyond what rules ask for: the executed file, the working directory, the session and its terminal, the
//! files that ancestors run, the environment.

use super::Executable;
use std::fmt::{self, Display, Formatter};

/// What the kernel side tells of an execution beyond what rules ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The executed file, if it could be read.
    pub file: Option<File>,
    /// Whether the file had been removed from its directory, or never was in one.
    pub removed: Option<bool>,
    /// The working directory, if any of it is known.
    pub directory: Option<Executable>,
    /// Number of the leader of the session.
    pub session: Option<u32>,
    /// The terminal of the session; the inner `None` if it has none.
    pub terminal: Option<Option<Device>>,
    /// Files that ancestors run, the parent's parent first; as many as are carried.
    pub ancestors: Vec<Executable>,
    /// The environment that is wanted, `NAME=value` each.
    pub environment: Vec<Vec<u8>>,
    /// Whether there is more of the environment than was carried, where wanted variables may be.
    pub environment_cut: bool,
}

/// The executed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Inode number.
    pub inode: u64,
    /// Device that it is on.
    pub device: Device,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions, with the bits for setuid, setgid and sticky.
    pub mode: u16,
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl Device {
    /// From the kernel's own form (`MKDEV` of `include/linux/kdev_t.h`): 12 bits and 20 bits.
    #[must_use]
    pub const fn from_kernel(device: u32) -> Self {
        Self { major: device >> 20, minor: device & 0xf_ffff }
    }
}

impl Display for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl Surroundings {
    /// Forgets the variables that are not wanted.
    pub fn keep_environment(&mut self, names: &[String]) {
        self.environment.retain(|variable| {
            let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
            names.iter().any(|wanted| wanted.as_bytes() == name)
        });
    }
}
