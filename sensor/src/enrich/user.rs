//! Names of users, from the passwd file alone.
//!
//! No name service is asked: a library call that may wait for a directory server has no place behind an alert. Users who
//! are known only there keep their number.
//!
//! The kernel gives the number that the user has on the host, so the name is the host's too, also for a process in a container:
//! what a container calls its users is written by whoever is root there.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Most bytes that are read of the file; a longer one is read up to there.
const MAX_BYTES: u64 = 4 << 20;
/// Most users that are kept.
const MAX_USERS: usize = 65_536;
/// Most bytes of a name (`LOGIN_NAME_MAX`).
const MAX_NAME: usize = 256;

/// Names of users by number.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    /// What the file was when it was read.
    stamp: Option<Stamp>,
    /// It was said that the file is not the host's any more.
    told: bool,
    names: HashMap<u32, String>,
}

/// Tells one content of a file from another: device, inode, size, time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Users {
    /// Names from this file, usually `/etc/passwd`. It is read when a name is first asked for, and again when it has
    /// changed.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, stamp: None, told: false, names: HashMap::new() }
    }

    /// The name of the first user with this number; `None` if the file has none, or cannot be read.
    pub fn name(&mut self, uid: u32) -> Option<&str> {
        let stamp = self.path.metadata().ok().map(|file| {
            // Whoever adds a user puts a new file in the place of the old one, which a container keeps that has mounted it.
            if file.nlink() == 0 && !self.told {
                tracing::warn!(
                    "{} was replaced on the host: restart the sensor to see its new users",
                    self.path.display()
                );
                self.told = true;
            }
            let (changed, nanoseconds) = (file.mtime(), file.mtime_nsec());
            (file.dev(), file.ino(), file.size(), changed, nanoseconds)
        });
        if stamp != self.stamp {
            self.names = self.read();
            self.stamp = stamp;
        }
        self.names.get(&uid).map(String::as_str)
    }

    fn read(&self) -> HashMap<u32, String> {
        let mut text = Vec::new();
        // What could be read before an error is still true.
        let _ = File::open(&self.path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        let mut names = HashMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some((uid, name)) = user(line)
                && names.len() < MAX_USERS
            {
                names.entry(uid).or_insert(name);
            }
        }
        names
    }
}

/// Number and name of a line such as `root:x:0:0:root:/root:/bin/bash`.
fn user(line: &[u8]) -> Option<(u32, String)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next()?;
    let uid = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    // A + or - includes or leaves out users of a name service.
    let usual = !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with(b"+") && !name.starts_with(b"-");
    usual.then(|| (uid, String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_first_user_of_a_number_gives_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let text =
            b"root:x:0:0:root:/root:/bin/bash\n# note:x:1:1\n\ntoor:x:0:0::/:\nshort:x\n+nis:x:5:5::/:\n:x:6:6::/:\n\
            big:x:4294967296:0::/:\nminus:x:-1:0::/:\nlast:x:4294967295:0\nm\xfcller:x:1000:1000:a:b:c";
        std::fs::write(&path, text).unwrap();
        let mut users = Users::new(path);
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(u32::MAX), Some("last"));
        assert_eq!(users.name(1000), Some("m\u{fffd}ller"));
        assert_eq!([5, 6, 7].map(|uid| users.name(uid).map(str::to_owned)), [None, None, None]);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let mut users = Users::new(path.clone());
        assert_eq!(users.name(7), None);
        std::fs::write(&path, "one:x:7:7::/:\n").unwrap();
        assert_eq!(users.name(7), Some("one"));
        // As useradd does: a new file in the place of the old one.
        let new = directory.path().join("passwd+");
        std::fs::write(&new, "two:x:7:7::/:\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(users.name(7), Some("two"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(users.name(7), None);
    }

    #[test]
    fn a_replaced_file_that_is_held_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        std::fs::write(&path, "one:x:7:7::/:\n").unwrap();
        let held = File::open(&path).unwrap();
        let mut users = Users::new(format!("/proc/self/fd/{}", held.as_raw_fd()).into());
        assert_eq!(users.name(7), Some("one"));
        assert!(!users.told);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(users.name(7), Some("one"));
        assert!(users.told);
    }

    #[test]
    fn the_number_of_users_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let line = |uid| format!("u{uid}:x:{uid}:0::/:\n");
        std::fs::write(&path, (0..70_000).map(line).collect::<String>()).unwrap();
        let mut users = Users::new(path);
        assert_eq!(users.name(65_535), Some("u65535"));
        assert_eq!(users.name(65_536), None);
        assert_eq!(users.names.len(), MAX_USERS);
    }

    #[test]
    fn this_system_knows_root() {
        assert_eq!(Users::new("/etc/passwd".into()).name(0), Some("root"));
    }
}
