//! A real terminal: a server of tmux of its own, without anybody's configuration.

use crate::shell;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long something on the screen is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);
const ROWS: &str = "50";
/// What the terminal is called as long as nothing that runs in it gives it another title.
pub(super) const TITLE: &str = "untouched";

/// One window with one terminal, which ends when this is dropped.
pub(super) struct Terminal {
    _folder: TempDir,
    socket: PathBuf,
}

impl Terminal {
    /// Starts a command in a terminal of so many columns.
    pub(super) fn start(columns: u16, folder: &Path, command: &[&str]) -> Result<Self> {
        let own = TempDir::new()?;
        let socket = own.path().join("socket");
        let terminal = Self { _folder: own, socket };
        // The first server takes the settings, and a program starts afterwards, in a window that knows them.
        let mut start = terminal.tmux();
        let columns = columns.to_string();
        start.args(["set", "-g", "history-limit", "100000", ";", "set", "-g", "status", "off", ";"]);
        start.args(["set", "-g", "default-terminal", "screen-256color", ";"]);
        start.args(["new-session", "-d", "-x", &columns, "-y", ROWS, "-c"]).arg(folder).arg("--").args(command);
        start.args([";", "select-pane", "-T", TITLE]);
        shell::output(&mut start)?;
        Ok(terminal)
    }

    /// What is shown, with what has scrolled away, as lines without spaces at their ends; lines that the terminal has broken are `joined`
    /// again, or stay what they are.
    pub(super) fn text(&self, joined: bool) -> Result<Vec<String>> {
        let text =
            shell::output(self.tmux().args(["capture-pane", "-p", if joined { "-J" } else { "-N" }, "-S", "-"]))?;
        let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Ok(lines)
    }

    /// A property of the terminal, as tmux(1) calls it under FORMATS.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        let text = shell::output(self.tmux().args(["display-message", "-p", &format!("#{{{name}}}")]))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Presses keys, as tmux(1) calls them.
    pub(super) fn press(&self, keys: &[&str]) -> Result<()> {
        shell::output(self.tmux().arg("send-keys").args(keys)).map(drop)
    }

    /// The lines when they are as wanted, or when they have not become so in time.
    pub(super) fn when(&self, joined: bool, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let lines = self.text(joined)?;
            if wanted(&lines) || start.elapsed() > PATIENCE {
                return Ok(lines);
            }
            sleep(PAUSE);
        }
    }

    /// Waits until the lines are as wanted, and gives them.
    pub(super) fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let lines = self.when(false, &wanted)?;
        ensure!(wanted(&lines), "waited for {what}, and there is\n{}", lines.join("\n"));
        Ok(lines)
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket);
        tmux.env("LC_ALL", "C.UTF-8").env("SHELL", "/bin/sh").env_remove("TMUX").env_remove("NO_COLOR");
        tmux
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let ended = shell::output(self.tmux().arg("kill-server")).context("tmux");
        if let Err(error) = ended {
            eprintln!("{error:#}");
        }
    }
}
