//! The kernel's audit, watching for as long as it is measured: with rules that go again, and with its switch as it was.
//!
//! A process in a session of its own undoes it, as soon as the pipe to it is closed: that happens however this process ends, be it by an
//! interrupt or by a kill.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is watched.
const RULE: [&str; 5] = ["always,exit", "-F", "arch=b64", "-S", "execve,execveat,connect,accept,accept4"];

/// The variable that makes this program the one that undoes, and says what.
pub(crate) const VARIABLE: &str = "SENSOR_BENCH_AUDIT";

/// The daemon's directory, and the rules.
pub(crate) struct Audit {
    control: Command,
    directory: PathBuf,
    undoing: Child,
}

/// What is to be undone.
#[derive(Debug, Serialize, Deserialize)]
struct Undo {
    /// auditctl, and the variables that it needs.
    control: PathBuf,
    variables: Vec<(String, String)>,
    /// Whether audit was enabled, as auditctl shows it.
    enabled: String,
    directory: PathBuf,
}

impl Audit {
    /// Writes the daemon's configuration. Refused where the host's own daemon is at work, which must not be disturbed.
    pub(crate) fn new(mut control: Command) -> Result<Self> {
        let status = output(control.arg("-s"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(|value| value.trim().to_owned()).with_context(|| format!("auditctl -s: no {name}"))
        };
        ensure!(field("pid")? == "0", "the host's own auditd is at work");
        let enabled = field("enabled")?;
        ensure!(enabled != "2", "its rules are locked");
        let directory = tempfile::Builder::new().prefix("sensor-bench-").tempdir()?;
        let place = directory.path();
        fs::set_permissions(place, fs::Permissions::from_mode(0o700))?;
        fs::create_dir(place.join("plugins.d"))?;
        let text = format!(
            "local_events = yes\nwrite_logs = yes\nlog_file = {log}\nlog_group = root\nlog_format = RAW\nflush = INCREMENTAL_ASYNC\n\
             freq = 50\nmax_log_file = 512\nnum_logs = 2\nmax_log_file_action = ROTATE\nspace_left = 2\nspace_left_action = IGNORE\n\
             admin_space_left = 1\nadmin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\n\
             plugin_dir = {plugins}\n",
            log = place.join("audit.log").display(),
            plugins = place.join("plugins.d").display(),
        );
        let file = place.join("auditd.conf");
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        let text = |word: &OsStr| word.to_string_lossy().into_owned();
        let variables = control.get_envs().filter_map(|(name, value)| Some((text(name), text(value?)))).collect();
        let undo = Undo { control: control.get_program().into(), variables, enabled, directory: place.to_owned() };
        let undoing = undo.start()?;
        // From here on that process removes it.
        Ok(Self { control: same(&control), directory: directory.keep(), undoing })
    }

    /// Adds the rule. It is taken only while a daemon listens, or nobody would know when it goes.
    pub(crate) fn watch(&mut self) -> Result<()> {
        let status = output(same(&self.control).arg("-s"))?;
        if !status.lines().any(|line| line.starts_with("pid ") && line != "pid 0") {
            bail!("auditd does not listen");
        }
        output(same(&self.control).arg("-a").args(RULE))?;
        Ok(())
    }

    /// Where the daemon finds its configuration.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it writes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.undoing.stdin = None;
        if !self.undoing.wait().is_ok_and(|status| status.success()) {
            crate::tell::log("audit may still be watching; see auditctl -l and -s");
        }
    }
}

impl Undo {
    /// Starts the process that undoes it when its input ends.
    fn start(&self) -> Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.env(VARIABLE, serde_json::to_string(self)?).stdin(Stdio::piped());
        // SAFETY: a system call and no allocation between fork and exec.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(|_| ())?)) };
        command.spawn().context("the process that undoes audit's rules")
    }

    fn perform(&self) -> Result<()> {
        let Self { control, variables, enabled, directory } = self;
        let control = || {
            let mut command = Command::new(control);
            command.envs(variables.iter().map(|(name, value)| (name, value)));
            command
        };
        // Fails if it was not added yet.
        let _ = output(control().arg("-d").args(RULE));
        let switched = output(control().args(["-e", enabled]));
        fs::remove_dir_all(directory).with_context(|| directory.display().to_string())?;
        switched.map(|_| ())
    }
}

/// The side of the process that undoes.
pub(crate) fn main(undo: &str) -> Result<()> {
    let undo: Undo = serde_json::from_str(undo)?;
    // Only its end counts.
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    undo.perform()
}

/// The same program with the same variables, without arguments.
fn same(command: &Command) -> Command {
    let mut same = Command::new(command.get_program());
    same.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    same
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| command.get_program().to_string_lossy().into_owned())?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "auditctl: {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_directory_go_and_the_switch_is_put_back() {
        let place = tempfile::tempdir().unwrap();
        let [control, said, directory] = ["auditctl", "said", "directory"].map(|name| place.path().join(name));
        fs::create_dir(&directory).unwrap();
        // Deleting fails, as it does if the rule was never added.
        fs::write(&control, "#!/bin/sh\necho \"$@\" >> $SAID\n[ \"$1\" != -d ]\n").unwrap();
        fs::set_permissions(&control, fs::Permissions::from_mode(0o700)).unwrap();
        let variables = vec![("SAID".to_owned(), said.display().to_string())];
        Undo { control, variables, enabled: "0".to_owned(), directory: directory.clone() }.perform().unwrap();
        assert!(!directory.exists());
        assert_eq!(fs::read_to_string(said).unwrap(), format!("-d {}\n-e 0\n", RULE.join(" ")));
    }
}
