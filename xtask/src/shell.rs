//! Running other programs: a command that fails is named in the error as it would be typed.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Runs a command with this program's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let status = command.status().with_context(|| format!("cannot run `{text}`"))?;
    ensure!(status.success(), "`{text}` failed: {status}");
    Ok(())
}

/// Runs a command and returns what it wrote to its standard output; its standard error becomes part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{text}`"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{text}` failed: {}\n{}", output.status, errors.trim_end());
    String::from_utf8(output.stdout).with_context(|| format!("`{text}` did not print UTF-8"))
}

/// Runs a command and hands over each line that it writes to its standard output, as it comes.
pub(crate) fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let text = describe(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run `{text}`"))?;
    let mut output = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).with_context(|| format!("output of `{text}`"))? > 0 {
        each(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
    child.wait().with_context(|| format!("`{text}`"))
}

/// Path of a program: searched in `PATH`, then where administration programs lie, which a user's `PATH` may lack.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    directories.iter().map(|directory| directory.join(program)).find(|path| is_program(path))
}

/// Whether this is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The command as one would type it, with the variables it sets.
pub(crate) fn describe(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{}={}", name.display(), quote(value)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quote);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The same command with the rights of root: itself if they are there, through sudo if that is installed.
/// Otherwise the error says what to run.
pub(crate) fn as_root(command: Command) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(command);
    }
    match find("sudo") {
        Some(sudo) => Ok(through(&sudo, &command)),
        None => bail!("this needs root, and there is no sudo. Run as root:\n    {}", describe(&command)),
    }
}

/// sudo does not pass the environment on, so what the command sets goes through env(1).
fn through(sudo: &Path, command: &Command) -> Command {
    let mut elevated = Command::new(sudo);
    let mut variables = command.get_envs().filter_map(|(name, value)| Some((name, value?))).peekable();
    if variables.peek().is_some() {
        elevated.arg("env");
    }
    for (name, value) in variables {
        let mut assignment = name.to_os_string();
        assignment.push("=");
        assignment.push(value);
        elevated.arg(assignment);
    }
    elevated.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        elevated.current_dir(directory);
    }
    elevated
}

/// The Cargo that runs this program, in the workspace. The sensor embeds the object built here, whatever the caller's
/// environment says.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).env_remove("SENSOR_BPF_OBJECT");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_described_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["install", "a b", "it's", "", "--x=1"]).env("PREFIX", "/usr/lib").env_remove("GONE");
        assert_eq!(describe(&command), r"PREFIX=/usr/lib cargo install 'a b' 'it'\''s' '' --x=1");
    }

    #[test]
    fn sudo_gets_the_variables_and_the_directory() {
        let mut command = Command::new("apt-get");
        command.arg("update").current_dir("/usr");
        assert_eq!(describe(&through(Path::new("/usr/bin/sudo"), &command)), "/usr/bin/sudo apt-get update");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        let elevated = through(Path::new("/usr/bin/sudo"), &command);
        assert_eq!(describe(&elevated), "/usr/bin/sudo env DEBIAN_FRONTEND=noninteractive apt-get update");
        assert_eq!(elevated.get_current_dir(), Some(Path::new("/usr")));
    }

    #[test]
    fn failures_name_the_command_and_its_errors() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
        let error = output(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("because") && error.contains("exit status: 3"), "{error}");
        let error = run(&mut Command::new("/nonexistent/program")).unwrap_err().to_string();
        assert!(error.contains("cannot run `/nonexistent/program`"), "{error}");
    }

    #[test]
    fn output_is_the_standard_output() {
        assert_eq!(output(Command::new("printf").arg("text")).unwrap(), "text");
    }

    #[test]
    fn lines_come_one_by_one() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo; printf 'two\\377'; exit 3"]);
        let status = lines(&mut command, |line| seen.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(seen, ["one", "", "two\u{fffd}"]);
    }

    #[test]
    fn only_executable_files_are_programs() {
        assert!(find("sh").is_some());
        assert!(find("a-program-that-nobody-has").is_none());
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_program(file.path()));
        assert!(!is_program(Path::new("/")));
    }
}
