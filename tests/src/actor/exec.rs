//! How an actor executes the next program.

use super::step::{Arg, By, Exec};
use super::{Part, VARIABLE};
use anyhow::{Context, Error, Result, ensure};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Replaces the program; comes back only if that fails.
pub(super) fn exec(program: &Exec, control: i32) -> Error {
    match try_exec(program, control) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_exec(program: &Exec, control: i32) -> Result<std::convert::Infallible> {
    let part = serde_json::to_string(&Part { control, steps: program.then.clone() })?;
    let path = PathBuf::from(program.file.os());
    let file = match program.by {
        By::Path => {
            let mut command = command(&path, &program.args);
            return Err(command.env(VARIABLE, part).exec()).context("exec");
        }
        By::Descriptor => OwnedFd::from(std::fs::File::open(&path)?),
        By::Removed => {
            let file = std::fs::File::open(&path)?;
            std::fs::remove_file(&path)?;
            OwnedFd::from(file)
        }
        By::Memory => in_memory(&path)?,
    };
    let args = strings(program.args.iter().map(|arg| arg.0.clone()))?;
    let other = std::env::vars_os().filter(|(name, _)| name != VARIABLE);
    let mine = (VARIABLE.into(), part.into());
    let variables = other.chain([mine]).map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let variables = strings(variables)?;
    // SAFETY: both tables end with a null pointer, and they and what they point to live until the call has failed.
    unsafe { libc::fexecve(file.as_raw_fd(), table(&args).as_ptr(), table(&variables).as_ptr()) };
    Err(std::io::Error::last_os_error()).context("fexecve")
}

/// Spawns a program and waits for it to end well.
pub(super) fn spawn(file: &Path, args: &[Arg]) -> Result<()> {
    let status = command(file, args).env_clear().status().context("spawn")?;
    ensure!(status.success(), "{}: {status}", file.display());
    Ok(())
}

fn command(file: &Path, args: &[Arg]) -> Command {
    let mut command = Command::new(file);
    if let [name, rest @ ..] = args {
        command.arg0(name.os()).args(rest.iter().map(Arg::os));
    }
    command
}

fn in_memory(file: &Path) -> Result<OwnedFd> {
    let name = file.file_name().map_or_else(Vec::new, |name: &OsStr| name.to_os_string().into_vec());
    // With CLOEXEC the descriptor would be gone before a script's interpreter opens it; programs do not mind.
    let memory = rustix::fs::memfd_create(CString::new(name)?, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut target = std::fs::File::from(memory);
    std::io::copy(&mut std::fs::File::open(file)?, &mut target)?;
    Ok(target.into())
}

fn strings(from: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<CString>> {
    from.into_iter().map(|bytes| CString::new(bytes).context("a zero byte in an argument")).collect()
}

fn table(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
