//! Debian's archive as the system itself reaches it: its mirror and its keyring, which knows the releases after it too.

use crate::{apt, shell};
use anyhow::{Result, ensure};
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::process::Command;

/// Where every Debian has the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Why nothing is to be had from the archive on this system, whatever is tried.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoArchive(&'static str);

impl Display for NoArchive {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "virtual machines: kernels and programs come from Debian's archive, {}", self.0)
    }
}

impl std::error::Error for NoArchive {}

/// Where the system gets its packages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: String,
    /// What apt is told of each, such as the keyring.
    options: String,
}

impl Mirrors {
    /// Those of this system.
    pub(crate) fn of_system() -> Result<Self> {
        ensure!(apt::is_debian(), NoArchive("by apt, which this system does not have"));
        let uris = shell::output(Command::new("apt-get").args(["update", "--print-uris"]).env("LC_ALL", "C"))?;
        Self::of(&uris, Path::new(KEYRING).exists().then_some(KEYRING))
    }

    /// From what `apt-get update --print-uris` would fetch, such as
    /// `'https://mirror.example/debian/dists/bookworm/InRelease' mirror.example_debian_… 0`.
    pub(crate) fn of(uris: &str, keyring: Option<&str>) -> Result<Self> {
        let bases = uris.lines().filter_map(|line| {
            let (uri, _) = line.strip_prefix('\'')?.split_once('\'')?;
            let (base, file) = uri.split_once("/dists/")?;
            file.ends_with("Release").then_some(base.trim_end_matches('/'))
        });
        let bases: Vec<&str> = bases.collect();
        let find = |end| bases.iter().find(|base| base.ends_with(end)).map(|base| (*base).to_owned());
        let main = find("/debian").ok_or(NoArchive("which is none of this system's package sources"))?;
        // Mirrors have both side by side.
        let security = find("/debian-security").unwrap_or_else(|| format!("{main}-security"));
        let options = keyring.map(|keyring| format!("[signed-by={keyring}] ")).unwrap_or_default();
        Ok(Self { main, security, options })
    }

    /// A suite of the main archive, as a line of sources.list(5).
    pub(crate) fn main(&self, suite: &str) -> String {
        format!("deb {}{} {suite} main", self.options, self.main)
    }

    /// A suite of the security archive, likewise.
    pub(crate) fn security(&self, suite: &str) -> String {
        format!("deb {}{} {suite} main", self.options, self.security)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "'http://m.example/debian/dists/bookworm/InRelease' m.example_debian_dists_bookworm_InRelease 0 \n\
        'http://s.example/debian-security/dists/bookworm-security/InRelease' x 0 \n\
        'http://o.example/tools/dists/stable/InRelease' x 0 \n\
        'http://m.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0 \n";

    #[test]
    fn the_systems_own_mirrors_are_used() {
        let mirrors = Mirrors::of(URIS, Some("/k.gpg")).unwrap();
        let security = mirrors.security("bookworm-security");
        assert_eq!(security, "deb [signed-by=/k.gpg] http://s.example/debian-security bookworm-security main");
        assert_eq!(mirrors.main("sid"), "deb [signed-by=/k.gpg] http://m.example/debian sid main");
        let one = Mirrors::of("'http://m.example/debian/dists/trixie/Release' x 0", None).unwrap();
        assert_eq!(one.security("x"), "deb http://m.example/debian-security x main");
        let error = Mirrors::of("'http://m.example/ubuntu/dists/noble/InRelease' x 0", None).unwrap_err();
        assert!(error.is::<NoArchive>() && error.to_string().contains("Debian's archive"), "{error:#}");
    }
}
