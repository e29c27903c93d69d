//! The package of Debian and its relatives, put together by its own tool.

use super::tree::{File, Tree, file, gzip};
use super::{DESCRIPTION, NAME, Package, SUMMARY, wrapped};
use crate::{setup, shell};
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the host runs when it installs or removes the package.
pub(super) const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

const MAINTAINER: &str = "The authors of the sensor <sensor@localhost>";

/// Whose it is and on which terms, as Debian's tools read it (copyright-format 1.0).
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: sensor

Files: *
Copyright: 2026 The sensor authors
License: (Expat or Apache-2.0) and (Expat or GPL-2)
 The program may be used under the terms of either the MIT license (Expat) or
 the Apache License 2.0; the eBPF programs that it loads into the kernel, under
 those of either the MIT license or the GNU General Public License, version 2.
 .
 The licenses are in /usr/share/licenses/sensor. On Debian systems, the Apache
 License is also in /usr/share/common-licenses/Apache-2.0, and the GNU General
 Public License in /usr/share/common-licenses/GPL-2.
 .
";

/// What Debian wants of every package beside its files.
pub(super) fn documents(package: &Package<'_>) -> Result<Tree> {
    let Package { version, time, .. } = package;
    let mit = package.tree.0.iter().find(|file| file.path.ends_with("/LICENSE-MIT"));
    let mit = mit.map_or_else(String::new, |file| String::from_utf8_lossy(&file.content).into_owned());
    let lines = mit.lines().map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") });
    let copyright = format!("{COPYRIGHT}{}", lines.collect::<String>());
    // In UTC.
    let date = Timestamp::from_second(i64::try_from(*time)?)?;
    let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let changelog =
        format!("{NAME} ({version}) unstable; urgency=medium\n\n  * Version {version}.\n\n -- {MAINTAINER}  {date}\n");
    Ok(Tree(vec![
        file("usr/share/doc/sensor/changelog.gz", 0o644, gzip(changelog.as_bytes())?),
        file("usr/share/doc/sensor/copyright", 0o644, copyright.into_bytes()),
    ]))
}

/// Builds the package.
pub(super) fn build(package: &Package<'_>, root: &Path, directory: &Path) -> Result<PathBuf> {
    setup::for_program("dpkg-deb", "dpkg")?;
    let Package { debian_arch, version, time, .. } = package;
    let mut tree = documents(package)?;
    tree.0.extend(package.tree.0.iter().cloned());
    let work = tempfile::Builder::new().prefix("deb-").tempdir_in(directory)?;
    for File { path, mode, content, .. } in &tree.0 {
        put(work.path(), path, *mode, content)?;
    }
    put(work.path(), "DEBIAN/control", 0o644, control(package, &tree).as_bytes())?;
    let config = tree.0.iter().filter(|file| file.config);
    let config: String = config.map(|file| format!("/{}\n", file.path)).collect();
    put(work.path(), "DEBIAN/conffiles", 0o644, config.as_bytes())?;
    let mut sums = Command::new("md5sum");
    sums.current_dir(work.path()).args(tree.0.iter().filter(|file| !file.config).map(|file| &file.path));
    put(work.path(), "DEBIAN/md5sums", 0o644, shell::output(&mut sums)?.as_bytes())?;
    for name in SCRIPTS {
        let source = root.join("deploy/debian").join(name);
        let content = std::fs::read(&source).with_context(|| source.display().to_string())?;
        put(work.path(), &format!("DEBIAN/{name}"), 0o755, &content)?;
    }
    let mut paths: Vec<PathBuf> = tree.directories().iter().map(|name| work.path().join(name)).collect();
    paths.extend([work.path().to_owned(), work.path().join("DEBIAN")]);
    for path in paths {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    let path = directory.join(format!("{NAME}_{version}_{debian_arch}.deb"));
    let mut command = Command::new("dpkg-deb");
    // One thread: with more the compressed bytes depend on their number.
    command.args(["--root-owner-group", "--threads-max=1", "-Zxz", "--build"]).arg(work.path()).arg(&path);
    command.env("SOURCE_DATE_EPOCH", time.to_string());
    shell::output(&mut command)?;
    Ok(path)
}

fn put(work: &Path, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let path = work.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?)
}

/// The control file (deb-control(5)).
fn control(package: &Package<'_>, tree: &Tree) -> String {
    let Package { debian_arch, version, .. } = package;
    let bytes: usize = tree.0.iter().map(|file| file.content.len()).sum();
    format!(
        "Package: {NAME}\n\
         Version: {version}\n\
         Architecture: {debian_arch}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {}\n\
         Depends: systemd\n\
         Recommends: ca-certificates\n\
         Section: admin\n\
         Priority: optional\n\
         Description: {SUMMARY}\n{}\n",
        bytes.div_ceil(1024),
        wrapped(DESCRIPTION, " ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{package, small};
    use super::*;

    #[test]
    fn a_package_says_what_it_holds_and_is_always_the_same() {
        if shell::find("dpkg-deb").is_none() {
            eprintln!("SKIPPED package::deb: dpkg-deb is not installed");
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (tree, directory) = (small(), tempfile::tempdir().unwrap());
        let package = package(&tree);
        let path = build(&package, root, directory.path()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::read(build(&package, root, directory.path()).unwrap()).unwrap(), bytes);
        let ask = |option: &str| shell::output(Command::new("dpkg-deb").arg(option).arg(&path)).unwrap();
        let about = ask("--field");
        assert!(about.contains("Architecture: arm64\n") && about.contains("Version: 1.2.3\n"), "{about}");
        let files = ask("--contents");
        assert!(files.contains("-rwxr-xr-x root/root") && files.contains("./usr/bin/sensor\n"), "{files}");
        let control = directory.path().join("control");
        shell::output(Command::new("dpkg-deb").arg("--control").arg(&path).arg(&control)).unwrap();
        assert_eq!(std::fs::read_to_string(control.join("conffiles")).unwrap(), "/etc/sensor/sensor.toml\n");
        let sums = std::fs::read_to_string(control.join("md5sums")).unwrap();
        assert!(sums.ends_with("  usr/bin/sensor\n") && sums.lines().count() == 3, "{sums}");
    }
}
