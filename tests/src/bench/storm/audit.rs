//! The kernel's audit, watching for as long as it is measured: with rules that go again, and with its switch as it was.

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What is watched.
const CALLS: &str = "execve,execveat,connect,accept,accept4";

/// The daemon's directory, and the rules.
pub(crate) struct Audit {
    control: Command,
    directory: TempDir,
    was_enabled: String,
    watching: bool,
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
        let was_enabled = field("enabled")?;
        ensure!(was_enabled != "2", "its rules are locked");
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
        Ok(Self { control: same(&control), directory, was_enabled, watching: false })
    }

    /// Adds the rule. It is taken only while a daemon listens, or nobody would know when it goes.
    pub(crate) fn watch(&mut self) -> Result<()> {
        let status = output(same(&self.control).arg("-s"))?;
        if !status.lines().any(|line| line.starts_with("pid ") && line != "pid 0") {
            bail!("auditd does not listen");
        }
        output(same(&self.control).args(["-a", "always,exit", "-F", "arch=b64", "-S", CALLS]))?;
        self.watching = true;
        Ok(())
    }

    /// Where the daemon finds its configuration.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it writes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("audit.log")
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let undone = if self.watching {
            output(same(&self.control).args(["-d", "always,exit", "-F", "arch=b64", "-S", CALLS])).map(|_| ())
        } else {
            Ok(())
        };
        let undone = undone.and(output(same(&self.control).args(["-e", &self.was_enabled])).map(|_| ()));
        if let Err(error) = undone {
            crate::tell::log(&format!("audit may still be watching; see auditctl -l and -s: {error:#}"));
        }
    }
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
