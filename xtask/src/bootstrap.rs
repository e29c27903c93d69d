//! Debian in a directory.

use crate::mirror::Mirrors;
use crate::{apt, setup, shell};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Left out of packages: nobody reads there.
pub(crate) const LEFT_OUT: [&str; 5] =
    ["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*", "/usr/share/lintian/*"];

/// Installs a release with these packages into a directory that is not there yet. Needs root, for files of several users.
pub(crate) fn fill(
    tree: &Path,
    release: &str,
    debian_arch: &str,
    packages: &[String],
    left_out: &[String],
    mirrors: &Mirrors,
) -> Result<()> {
    setup::for_program("mmdebstrap", "mmdebstrap")?;
    let mut install = Command::new(program("mmdebstrap"));
    install.args(["--mode=root", "--variant=minbase", &format!("--architectures={debian_arch}")]);
    install.arg(format!("--include={}", packages.join(","))).arg("--dpkgopt=force-unsafe-io");
    install.args(left_out.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    install.args(proxies()?.iter().map(|proxy| format!("--aptopt={proxy}")));
    install.arg(release).arg(tree).arg(mirrors.main(release));
    as_root(install)
}

/// Removes what was installed, if it is there.
pub(crate) fn remove(tree: &Path) -> Result<()> {
    if !tree.exists() {
        return Ok(());
    }
    let mut command = Command::new("rm");
    command.args(["--recursive", "--force", "--one-file-system"]).arg(tree);
    as_root(command)
}

/// Path of a program; some lie where administration programs do.
pub(crate) fn program(name: &str) -> PathBuf {
    shell::find(name).unwrap_or_else(|| name.into())
}

/// Tells what is run, and runs it as root.
pub(crate) fn as_root(command: Command) -> Result<()> {
    let mut command = shell::as_root(command)?;
    apt::say(&command);
    shell::run(&mut command)
}

/// The proxies that this system's apt uses, as lines of its configuration.
fn proxies() -> Result<Vec<String>> {
    let settings = shell::output(Command::new("apt-config").args(["dump", "Acquire"]).env("LC_ALL", "C"))?;
    Ok(settings.lines().filter(|line| line.to_lowercase().contains("::proxy")).map(str::to_owned).collect())
}
