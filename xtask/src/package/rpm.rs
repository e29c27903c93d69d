//! The package of Fedora, Red Hat, SUSE and their relatives.

use super::tree::{File, LICENSE_DIRECTORY};
use super::{DESCRIPTION, NAME, Package, SUMMARY, wrapped};
use anyhow::{Context, Result};
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};
use std::path::{Path, PathBuf};

const LICENSE: &str = "(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)";

/// Builds the package.
pub(super) fn build(package: &Package<'_>, root: &Path, directory: &Path) -> Result<PathBuf> {
    let Package { tree, arch, version, time, .. } = package;
    let script = |name: &str| {
        let source = root.join("deploy/rpm").join(name);
        std::fs::read_to_string(&source).with_context(|| source.display().to_string())
    };
    let mut builder = PackageBuilder::new(NAME, version, LICENSE, arch, SUMMARY);
    let compression = CompressionType::Gzip;
    let config = BuildConfig::default().compression(compression).source_date(u32::try_from(*time)?);
    builder
        .using_config(config)
        .description(wrapped(DESCRIPTION, ""))
        .build_host("localhost")
        .requires(Dependency::any("systemd"))
        .post_install_script(script("post")?)
        .pre_uninstall_script(script("preun")?)
        .post_uninstall_script(script("postun")?);
    for File { path, mode, content, config } in &tree.0 {
        let options = FileOptions::new(format!("/{path}")).permissions(u16::try_from(*mode)?);
        let options = if *config { options.config().noreplace() } else { options };
        let options = if path.starts_with(LICENSE_DIRECTORY) { options.license() } else { options };
        builder.with_file_contents(content.as_slice(), options)?;
    }
    let path = directory.join(format!("{NAME}-{version}-1.{arch}.rpm"));
    builder.build()?.write_file(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{package, small};
    use super::*;

    #[test]
    fn a_package_says_what_it_holds_and_is_always_the_same() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (tree, directory) = (small(), tempfile::tempdir().unwrap());
        let package = package(&tree);
        let path = build(&package, root, directory.path()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::read(build(&package, root, directory.path()).unwrap()).unwrap(), bytes);
        let metadata = rpm::Package::open(&path).unwrap().metadata;
        assert_eq!((metadata.get_name().unwrap(), metadata.get_version().unwrap()), ("sensor", "1.2.3"));
        assert_eq!(metadata.get_arch().unwrap(), "aarch64");
        let files = metadata.get_file_entries().unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path().display().to_string()).collect();
        assert_eq!(paths, ["/etc/sensor/sensor.toml", "/usr/bin/sensor"]);
        let script = metadata.get_post_install_script().unwrap().script;
        assert!(script.contains("systemd-sysusers"), "{script}");
    }
}
