//! A running sensor: its alerts, its log, its events, and its end.

use crate::counters::{self, Counters};
use crate::manager::Manager;
use crate::parent::ends_with_parent;
use crate::player::Guard;
use crate::refusals::Refusals;
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which program of the kernel side sees what, as the sensor says when it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// `fentry`, `kprobe` or `tracepoint`.
    pub(crate) connect: String,
    /// The same, or `off`.
    pub(crate) accept: String,
}

impl Hooks {
    /// Whether accepts that are no ordinary 64-bit system call are seen.
    pub(crate) fn see_every_accept(&self) -> bool {
        self.accept != "tracepoint" && self.accept != "off"
    }
}

/// A sensor that was started and has said that it is ready.
pub(crate) struct Sensor {
    process: Mutex<Guard>,
    pid: u32,
    hooks: Hooks,
    directory: PathBuf,
    alerts: Mutex<Tail>,
    log: Mutex<Tail>,
    refusals: Refusals,
}

/// How a sensor ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it counted, if it said so.
    pub(crate) counters: Option<Counters>,
}

impl Sensor {
    /// Starts the sensor with a configuration, and waits until it is ready.
    pub(crate) fn start(binary: &Path, directory: &Path, config: &str) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::start_with_output(binary, directory, config, File::create(directory.join(ALERTS))?.into())
    }

    /// The same with another standard output; what goes there is not seen as an alert then.
    pub(crate) fn start_with_output(binary: &Path, directory: &Path, config: &str, output: Stdio) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::start_command(command(binary, directory, config)?, directory, output)
    }

    /// Without the file of events.
    pub(crate) fn start_without_events(binary: &Path, directory: &Path, config: &str) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::start_without_events_to(binary, directory, config, File::create(directory.join(ALERTS))?.into())
    }

    /// The same with another standard output.
    pub(crate) fn start_without_events_to(
        binary: &Path,
        directory: &Path,
        config: &str,
        output: Stdio,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::start_command(without_events(binary, directory, config)?, directory, output)
    }

    /// Starts it as systemd would.
    pub(crate) fn start_as_service(binary: &Path, directory: &Path, config: &str, manager: &Manager) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut command = command(binary, directory, config)?;
        command.envs(manager.environment());
        Self::start_command(command, directory, File::create(directory.join(ALERTS))?.into())
    }

    /// A command that may differ from what [`command`] makes.
    pub(crate) fn start_command(mut command: Command, directory: &Path, output: Stdio) -> Result<Self> {
        let [out, log] = [ALERTS, "log.ndjson"].map(|name| directory.join(name));
        // Appending makes the file if it is not there, and leaves it if it is the output.
        File::options().create(true).append(true).open(&out)?;
        command.stdin(Stdio::null()).stdout(output).stderr(File::create(&log)?);
        ends_with_parent(&mut command);
        let refusals = Refusals::from_now();
        let mut process = Guard::spawn(&mut command)?;
        let pid = process.pid();
        let mut tail = Tail::new(&log)?;
        let ready = until("the sensor to be ready", || {
            tail.read()?;
            if let Some(line) = tail.raw().iter().find(|line| line.contains("sensor ready")) {
                return Ok(Some(line.clone()));
            }
            match process.ended()? {
                Some(status) => bail!("the sensor ended with {status}"),
                None => Ok(None),
            }
        });
        let ready = ready.with_context(|| format!("sensor log:\n{}", tail.last(30)))?;
        let hooks = hooks(&ready).with_context(|| format!("no hooks in {ready}"))?;
        let (alerts, log) = (Mutex::new(Tail::new(&out)?), Mutex::new(tail));
        Ok(Self { process: Mutex::new(process), pid, hooks, directory: directory.to_owned(), alerts, log, refusals })
    }

    /// The same, where what was started only stands for the sensor and ends with its status: the sensor itself is another process.
    pub(crate) fn in_process(self, pid: u32) -> Self {
        Self { pid, ..self }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it attached.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The file that it writes events to.
    pub(crate) fn events(&self) -> PathBuf {
        self.directory.join(EVENTS)
    }

    /// The alerts so far that `wanted` takes.
    pub(crate) fn alerts(&self, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        self.of_alerts(|alert| wanted(alert).then(|| alert.clone()))
    }

    /// What `part` takes of the alerts so far, for tests with so many that copies of whole ones take much memory.
    pub(crate) fn of_alerts<T>(&self, part: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let mut tail = lock(&self.alerts);
        tail.read().context("alerts")?;
        Ok(tail.documents()?.iter().filter_map(part).collect())
    }

    /// How many alerts so far `wanted` takes.
    pub(crate) fn count_alerts(&self, wanted: impl Fn(&Value) -> bool) -> Result<usize> {
        Ok(self.of_alerts(|alert| wanted(alert).then_some(()))?.len())
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let mut log = lock(&self.log);
        match log.read() {
            Ok(()) => log.last(15),
            Err(error) => format!("{error:#}"),
        }
    }

    /// Whether a line of its log contains a text.
    pub(crate) fn said(&self, text: &str) -> Result<bool> {
        let mut log = lock(&self.log);
        log.read()?;
        Ok(log.raw().iter().any(|line| line.contains(text)))
    }

    /// How many lines of its log contain a text.
    pub(crate) fn times_said(&self, text: &str) -> Result<usize> {
        let mut log = lock(&self.log);
        log.read()?;
        Ok(log.raw().iter().filter(|line| line.contains(text)).count())
    }

    /// Writes another configuration, which it has not read yet.
    pub(crate) fn configure(&self, config: &str) -> Result<()> {
        Ok(std::fs::write(self.directory.join(CONFIG), config)?)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?).context("process number")?;
        kill_process(pid, signal).context("the sensor is gone")
    }

    /// Gives it another configuration while it runs, and waits until it says `answer`.
    pub(crate) fn reload(&self, config: &str, answer: &str) -> Result<()> {
        let before = self.times_said(answer)?;
        self.configure(config)?;
        self.signal(Signal::HUP)?;
        until(&format!("{answer} in the sensor's log"), || Ok((self.times_said(answer)? > before).then_some(())))
    }

    /// Ends it by a signal, and waits for that.
    pub(crate) fn stop(&self, signal: Signal) -> Result<Ended> {
        let mut process = lock(&self.process);
        ensure!(process.ended()?.is_none(), "the sensor has ended by itself, log:\n{}", self.log_tail());
        self.signal(signal)?;
        let code = process.wait()?.code();
        let mut log = lock(&self.log);
        log.read()?;
        let mut counters = None;
        for line in log.raw() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON in the log: {line}"))?;
            if let Some(text) = counters::reported(&line) {
                ensure!(counters.is_none(), "the counters are reported twice");
                counters = Some(Counters::parse(text)?);
            }
        }
        Ok(Ended { code, counters })
    }

    /// Asks it to end, and checks that it does so cleanly, was refused nothing, that its counters agree and that nothing was lost.
    pub(crate) fn stop_cleanly(&self) -> Result<Counters> {
        let counters = self.stop_with_losses()?;
        counters.no_loss()?;
        Ok(counters)
    }

    /// The same where losses are allowed, as long as they are counted.
    pub(crate) fn stop_with_losses(&self) -> Result<Counters> {
        let Ended { code, counters } = self.stop(Signal::TERM)?;
        ensure!(code == Some(0), "the sensor ended with {code:?}, log:\n{}", self.log_tail());
        let counters = counters.with_context(|| format!("no counters at the end, log:\n{}", self.log_tail()))?;
        counters.balance()?;
        ensure!(!self.said(" disagree: ")?, "its counters disagree, log:\n{}", self.log_tail());
        self.refusals.none_of(self.pid)?;
        self.alerts(|_| false).context("the output holds something else than alerts")?;
        Ok(counters)
    }
}

const CONFIG: &str = "sensor.toml";
/// The file in a sensor's directory that its alerts go to.
pub(crate) const ALERTS: &str = "alerts.ndjson";
const EVENTS: &str = "events.ndjson";

/// The sensor as the tests run it.
pub(crate) fn command(binary: &Path, directory: &Path, config: &str) -> Result<Command> {
    let mut command = without_events(binary, directory, config)?;
    command.arg("--events").arg(directory.join(EVENTS));
    Ok(command)
}

fn without_events(binary: &Path, directory: &Path, config: &str) -> Result<Command> {
    let path = directory.join(CONFIG);
    std::fs::write(&path, config)?;
    let mut command = Command::new(binary);
    command.args(["run", "--log-format", "json", "--format", "json", "--config"]).arg(path);
    Ok(command)
}

fn hooks(ready: &str) -> Result<Hooks> {
    let line: Value = serde_json::from_str(ready)?;
    let fields = line.get("fields").unwrap_or(&line);
    let of = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned).context(name.to_owned());
    Ok(Hooks { connect: of("connect")?, accept: of("accept")? })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
