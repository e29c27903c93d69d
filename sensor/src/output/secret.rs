//! A secret in a file: read when it is needed, never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes that a secret may have.
const MAX: u64 = 64 << 10;

/// A file that holds a secret on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

/// What a file held. Printed, it is only dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl SecretFile {
    /// The file at this path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; space around the secret does not belong to it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or holds something else than one line of visible ASCII characters.
    pub fn read(&self) -> io::Result<Secret> {
        let mut text = String::new();
        File::open(&self.0)?.take(MAX).read_to_string(&mut text)?;
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not one line of ASCII characters"));
        }
        Ok(Secret(text.to_owned()))
    }

    /// Whether other users than its owner may read it.
    ///
    /// # Errors
    ///
    /// When that cannot be told.
    pub fn is_open(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.permissions().mode() & 0o077 != 0)
    }
}

impl Secret {
    /// The secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn a_secret_is_one_line_and_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = SecretFile::new(&folder.path().join("key"));
        assert!(file.read().is_err());
        write(file.path(), "  user:pass word\n").unwrap();
        let secret = file.read().unwrap();
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("user:pass word", "…"));
        for wrong in ["", "\n", "a\nb", "a\r\nb", "ä"] {
            write(file.path(), wrong).unwrap();
            assert!(file.read().is_err(), "{wrong:?}");
        }
        for (mode, open) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(file.is_open().unwrap(), open, "{mode:o}");
        }
    }
}
