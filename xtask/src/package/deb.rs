//! The package of Debian and its relatives, put together by its own tool.

use super::tree::File;
use super::{DESCRIPTION, NAME, Package, SUMMARY};
use crate::{setup, shell};
use anyhow::{Context, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the host runs when it installs or removes the package.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package.
pub(super) fn build(package: &Package<'_>, root: &Path, directory: &Path) -> Result<PathBuf> {
    setup::for_program("dpkg-deb", "dpkg")?;
    let Package { tree, debian_arch, version, time, .. } = package;
    let work = tempfile::Builder::new().prefix("deb-").tempdir_in(directory)?;
    for File { path, mode, content, .. } in &tree.0 {
        put(work.path(), path, *mode, content)?;
    }
    put(work.path(), "DEBIAN/control", 0o644, control(package).as_bytes())?;
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
fn control(package: &Package<'_>) -> String {
    let Package { tree, debian_arch, version, .. } = package;
    let bytes: usize = tree.0.iter().map(|file| file.content.len()).sum();
    format!(
        "Package: {NAME}\n\
         Version: {version}\n\
         Architecture: {debian_arch}\n\
         Maintainer: The authors of the sensor <sensor@localhost>\n\
         Installed-Size: {}\n\
         Depends: systemd\n\
         Recommends: ca-certificates\n\
         Section: admin\n\
         Priority: optional\n\
         Description: {SUMMARY}\n {DESCRIPTION}\n",
        bytes.div_ceil(1024)
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
        assert!(sums.ends_with("  usr/bin/sensor\n") && sums.lines().count() == 1, "{sums}");
    }
}
