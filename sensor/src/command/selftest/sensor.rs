//! The sensor under test: `sensor run` as a process of its own, from the same file. It ends with the selftest.

use crate::command::exit::Exit;
use crate::config::Config;
use crate::enrich::clock;
use crate::event::BootTime;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the start may take: some kernels need a while to attach to functions.
const START_PATIENCE: Duration = Duration::from_secs(180);
/// How long the end may take.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Messages that are kept, to be told if something fails.
const MESSAGES: usize = 5;
/// Lines that wait to be looked at.
const LINES: usize = 64;

/// Why a test has failed, and how the selftest ends because of that.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    reason: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, reason: String) -> Self {
        Self { exit, reason }
    }

    /// From what the system said.
    pub(super) fn of(error: &io::Error, what: &str) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Self::new(Exit::NotPermitted, format!("{what}: {error}; run it as root"));
        }
        Self::new(Exit::Failed, format!("{what}: {error}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// What the sensor says.
enum Said {
    /// A line on standard output, and when it was read.
    Alert(String, BootTime),
    /// A line on standard error.
    Log(String),
}

/// A sensor that is ready.
pub(super) struct Sensor {
    process: Process,
    said: Receiver<Said>,
    messages: VecDeque<String>,
    /// How long it took to be ready.
    pub(super) ready: Duration,
    /// The hooks that it uses: fact and kind.
    pub(super) hooks: Vec<(String, String)>,
}

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sensor {
    /// Starts it and waits until it is ready.
    pub(super) fn start(config: &Config) -> Result<Self, Failure> {
        let start = Instant::now();
        let mut command = Command::new("/proc/self/exe");
        command.arg0("sensor").args(["--config", "/proc/self/fd/0", "--log-format", "json", "run", "--format", "json"]);
        // Whoever started the selftest is not told of this sensor.
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        let failed = |error: io::Error| Failure::of(&error, "the sensor cannot be started");
        command.stdin(in_memory(&config.to_toml()).map_err(failed)?).stdout(Stdio::piped()).stderr(Stdio::piped());
        ends_with_parent(&mut command);
        let mut process = Process(command.spawn().map_err(failed)?);
        let said = listen(&mut process.0).map_err(failed)?;
        let mut sensor = Self { process, said, messages: VecDeque::new(), ready: Duration::ZERO, hooks: Vec::new() };
        sensor.hooks = sensor.wait(START_PATIENCE, "be ready", |said| match said {
            Said::Log(line) => hooks(line),
            Said::Alert(..) => None,
        })?;
        sensor.ready = start.elapsed();
        Ok(sensor)
    }

    /// Waits for the alert that `wanted` takes; with the time of its arrival. Others are somebody else's.
    pub(super) fn alert(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(Value, BootTime), Failure> {
        self.wait(patience, "report the test shell", |said| match said {
            Said::Alert(line, at) => Some((serde_json::from_str(line).ok().filter(&wanted)?, *at)),
            Said::Log(_) => None,
        })
    }

    /// Ends it, and says whether it ended well.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = i32::try_from(self.process.0.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)
                .map_err(|error| Failure::of(&error.into(), "the sensor cannot be ended"))?;
        }
        let status = self.ended(STOP_PATIENCE)?;
        if status.success() { Ok(()) } else { Err(self.failure(status)) }
    }

    /// What it says that `answer` takes, within this time.
    fn wait<T>(&mut self, patience: Duration, what: &str, answer: impl Fn(&Said) -> Option<T>) -> Result<T, Failure> {
        let start = Instant::now();
        loop {
            match self.said.recv_timeout(patience.saturating_sub(start.elapsed())) {
                Ok(said) => {
                    if let Some(answer) = answer(&said) {
                        return Ok(answer);
                    }
                    self.keep(&said);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.ended(STOP_PATIENCE)?;
                    return Err(self.failure(status));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let reason = format!("the sensor did not {what} within {} s{}", patience.as_secs(), self.told());
                    return Err(Failure::new(Exit::Failed, reason));
                }
            }
        }
    }

    /// Keeps what it complains about.
    fn keep(&mut self, said: &Said) {
        let Said::Log(line) = said else { return };
        let message = match serde_json::from_str::<Value>(line) {
            Ok(value) => {
                let level = value.get("level").and_then(Value::as_str).unwrap_or_default();
                let message = value.pointer("/fields/message").and_then(Value::as_str).unwrap_or_default();
                if !matches!(level, "ERROR" | "WARN") {
                    return;
                }
                message.to_owned()
            }
            // A panic, or what the dynamic linker says.
            Err(_) => line.clone(),
        };
        if self.messages.len() == MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    fn told(&self) -> String {
        self.messages.iter().fold(String::new(), |told, message| told + "; it said: " + message)
    }

    fn ended(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let start = Instant::now();
        loop {
            let status = self.process.0.try_wait();
            match status.map_err(|error| Failure::of(&error, "the sensor cannot be waited for"))? {
                Some(status) => return Ok(status),
                None if start.elapsed() > patience => {
                    let reason = format!("the sensor did not end within {} s{}", patience.as_secs(), self.told());
                    return Err(Failure::new(Exit::Failed, reason));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The failure of a sensor that has ended: with its own exit status, if that says why.
    fn failure(&self, status: ExitStatus) -> Failure {
        let telling = [Exit::Config, Exit::Unsupported, Exit::NotPermitted];
        let exit = telling.into_iter().find(|exit| status.code() == Some(i32::from(*exit as u8)));
        Failure::new(exit.unwrap_or(Exit::Failed), format!("the sensor ended with {status}{}", self.told()))
    }
}

/// A file without a name that holds the text.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("sensor.toml", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Passes on what the process says, until it has closed both of its streams.
fn listen(process: &mut Child) -> io::Result<Receiver<Said>> {
    // Whoever floods the sensor with alerts does not fill this process.
    let (sender, said) = sync_channel(LINES);
    let none = || io::Error::other("it has no standard streams");
    let alerts = process.stdout.take().ok_or_else(none)?;
    let log = process.stderr.take().ok_or_else(none)?;
    let of_log = sender.clone();
    thread::Builder::new().name("alerts-reader".to_owned()).spawn(move || {
        lines(alerts, |line| sender.send(Said::Alert(line, clock::now().0)).is_ok());
    })?;
    thread::Builder::new().name("log-reader".to_owned()).spawn(move || {
        lines(log, |line| of_log.send(Said::Log(line)).is_ok());
    })?;
    Ok(said)
}

fn lines(stream: impl Read, mut each: impl FnMut(String) -> bool) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        if !each(String::from_utf8_lossy(&line).into_owned()) {
            return;
        }
    }
}

/// The hooks in the line that says that the sensor is ready; `None` of any other line.
fn hooks(line: &str) -> Option<Vec<(String, String)>> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?.as_object()?;
    if fields.get("message")? != "sensor ready" {
        return None;
    }
    let others = fields.iter().filter(|(name, _)| *name != "message");
    Some(others.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
}

/// Has the process killed when the calling thread ends, however that happens.
pub(super) fn ends_with_parent(command: &mut Command) {
    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Too late if the parent has ended already.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: two system calls and no allocation between fork and exec.
    unsafe { command.pre_exec(before_exec) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hooks_stand_in_the_line_that_says_ready() {
        let line = r#"{"timestamp":"t","level":"INFO","fields":{"message":"sensor ready","exec":"tracepoint","connect":"kprobe"}}"#;
        let expected = [("exec", "tracepoint"), ("connect", "kprobe")];
        let found = hooks(line).unwrap();
        assert!(found.iter().map(|(name, kind)| (&**name, &**kind)).eq(expected), "{found:?}");
        for other in ["", "{}", "sensor ready", r#"{"fields":{"message":"stopped"}}"#, r#"{"fields":[]}"#] {
            assert!(hooks(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_the_system_does_not_permit_is_told_apart() {
        let denied = io::Error::from(rustix::io::Errno::PERM);
        assert_eq!(Failure::of(&denied, "no namespace").exit, Exit::NotPermitted);
        let other = Failure::of(&io::ErrorKind::AddrInUse.into(), "no socket");
        assert_eq!(other.exit, Exit::Failed);
        assert!(other.to_string().starts_with("no socket: "), "{other}");
    }

    #[test]
    fn lines_end_with_the_stream_or_when_nobody_wants_them() {
        let read = |most: usize| {
            let mut seen = Vec::new();
            lines(&b"one\ntwo \xff\nthree"[..], |line| {
                seen.push(line);
                seen.len() < most
            });
            seen
        };
        assert_eq!(read(9), ["one", "two \u{fffd}", "three"]);
        assert_eq!(read(1), ["one"]);
    }
}
