//! Builds programs for other processors than this host's.
//!
//! It takes a compiler with the standard library for that processor, compiled or as sources, which are then built along
//! ([`crate::toolchain`]), and a C compiler that links, with a C library that can be linked statically. All are found by their
//! files, and installed by [`crate::setup`].

use crate::shell;
use crate::toolchain::{self, Library, Toolchain};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of a processor, both named as Rust does.
pub(crate) fn target(arch: &str) -> String {
    format!("{arch}-unknown-linux-gnu")
}

/// Cargo as it builds for a processor, in the workspace, before its subcommand.
pub(crate) fn cargo(root: &Path, arch: &str) -> Result<Command> {
    if arch == std::env::consts::ARCH {
        return Ok(shell::cargo(root));
    }
    let target = target(arch);
    let toolchain = compiler(arch).with_context(|| format!("no Rust compiler for {target}"))?;
    let linker = linker(arch).with_context(|| format!("no C compiler and library for {arch}"))?;
    let mut command = toolchain.command(&toolchain.cargo, root);
    command.env(format!("CARGO_TARGET_{}_LINKER", target.replace('-', "_").to_uppercase()), linker);
    if toolchain.library == Library::Source {
        // Programs that abort when they panic need a library of their own for it.
        command.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    Ok(command)
}

/// A compiler for a processor.
pub(crate) fn compiler(arch: &str) -> Option<Toolchain> {
    toolchain::find_for(&target(arch), "std")
}

/// A C compiler for a processor, if it has a C library to link statically.
pub(crate) fn linker(arch: &str) -> Option<PathBuf> {
    let path = shell::find(&format!("{arch}-linux-gnu-gcc"))?;
    // The name alone is what it prints for a file that it does not have.
    let library = shell::output(Command::new(&path).arg("-print-file-name=libc.a")).ok()?;
    Path::new(library.trim_end()).is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_hosts_processor_needs_no_other_compiler() {
        let command = cargo(Path::new("/"), std::env::consts::ARCH).unwrap();
        assert_eq!(command.get_program(), shell::cargo(Path::new("/")).get_program());
        assert_eq!(command.get_args().count(), 0);
    }

    #[test]
    fn a_processor_without_compilers_is_named() {
        let error = format!("{:#}", cargo(Path::new("/"), "none").unwrap_err());
        assert!(error.contains("none-unknown-linux-gnu"), "{error}");
    }
}
