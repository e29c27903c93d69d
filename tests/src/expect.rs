//! What a test expects of an alert, field by field, and the comparison with what came.

use crate::actor::step::{How, Outcome, connect_by, exec};
use crate::consistency::contradictions;
use crate::lab::Lab;
use crate::misses::Misses;
use crate::sensor::Sensor;
use crate::wait::{PATIENCE, until};
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The rule that most of this suite is about.
pub(crate) const RULE: &str = "reverse-shell-via-child";
/// The rule about shells whose standard input and output are connections.
pub(crate) const SOCKET_RULE: &str = "shell-on-socket";

/// The rule about shells that descend from a process with a connection.
pub(crate) const DESCENDANT_RULE: &str = "reverse-shell";
/// The rule about shells behind a program that can pass on what they read and write.
pub(crate) const RELAY_RULE: &str = "relayed-shell";

/// The fields of one expected alert.
#[derive(Clone, Debug)]
pub(crate) struct Expect(Vec<(String, Value)>);

impl Expect {
    /// An alert of the rule, for a process that executed `file` and was called `args`.
    pub(crate) fn alert(pid: u32, file: &Path, args: &[&str]) -> Self {
        Self::executed(pid, file, args).field("rule.id", RULE)
    }

    /// An alert of the rule about shells on sockets alone: of a connection from `near`, the end on this host, to `far`, that nobody saw being
    /// made.
    pub(crate) fn on_socket(pid: u32, file: &Path, args: &[&str], near: SocketAddr, far: SocketAddr) -> Self {
        let end = |address: SocketAddr| json!({"ip": address.ip().to_canonical(), "port": address.port()});
        let mut expect = Self::executed(pid, file, args).ends(near, far).field("rule.id", SOCKET_RULE);
        for stream in ["sensor.stdio.0", "sensor.stdio.1"] {
            expect = expect
                .field(&format!("{stream}.kind"), "tcp")
                .field(&format!("{stream}.state"), "established")
                .field(&format!("{stream}.local"), end(near))
                .field(&format!("{stream}.remote"), end(far));
        }
        expect.field("network.direction", "unknown").field("sensor.matched_rules", [SOCKET_RULE])
    }

    /// An alert of a rule about a process that executed `file` and was called `args`, whose connection another process had made.
    pub(crate) fn inherited(rule: &str, (pid, file, args): (u32, &Path, &[&str]), maker: u32, generations: u8) -> Self {
        Self::executed(pid, file, args)
            .field("rule.id", rule)
            .field("sensor.sequence.0.process.pid", maker)
            .field("sensor.sequence.1.process.pid", pid)
            .field("sensor.sequence.1.sensor.inherited.pid", maker)
            .field("sensor.sequence.1.sensor.inherited.generations", generations)
    }

    fn executed(pid: u32, file: &Path, args: &[&str]) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Self(Vec::new())
            .field("process.pid", pid)
            .field("process.name", name.as_ref())
            .field("process.executable", file.to_string_lossy().as_ref())
            .field("process.args", args)
            .field("process.args_count", args.len())
            .field("sensor.sequence.0.process.pid", pid)
    }

    /// The process connected from `source` to `destination`.
    pub(crate) fn egress(self, source: SocketAddr, destination: SocketAddr) -> Self {
        self.ends(source, destination)
            .field("network.direction", "egress")
            .field("sensor.sequence.0.event.action", "connection_attempted")
    }

    /// The process accepted at `destination` what came from `source`.
    pub(crate) fn ingress(self, source: SocketAddr, destination: SocketAddr) -> Self {
        self.ends(source, destination)
            .field("network.direction", "ingress")
            .field("sensor.sequence.0.event.action", "connection_accepted")
    }

    fn ends(self, source: SocketAddr, destination: SocketAddr) -> Self {
        let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
        self.field("source.ip", from.to_string())
            .field("source.port", source.port())
            .field("destination.ip", to.to_string())
            .field("destination.port", destination.port())
            .field("network.type", if to.is_ipv4() { "ipv4" } else { "ipv6" })
    }

    /// The parent at the time of the exec.
    pub(crate) fn parent(self, pid: u32, name: &str) -> Self {
        self.field("process.parent.pid", pid).field("process.parent.name", name)
    }

    /// Any other field: a dotted path, where a number is a place in an array; null means absent.
    pub(crate) fn field(self, path: &str, value: impl serde::Serialize) -> Self {
        let mut it = self.without(path);
        it.0.push((path.to_owned(), json!(value)));
        it
    }

    /// What is expected of a field.
    pub(crate) fn wants(&self, path: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == path).map(|(_, value)| value)
    }

    /// Takes an expectation back.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.retain(|(name, _)| name != path);
        self
    }

    /// What differs in `alert`.
    fn differences(&self, alert: &Value) -> Vec<String> {
        let wrong = |(path, wanted): &(String, Value)| {
            let found = field(alert, path).unwrap_or(&Value::Null);
            (found != wanted).then(|| format!("{path}: {found:.400}, expected {wanted:.400}"))
        };
        self.0.iter().filter_map(wrong).chain(contradictions(alert)).collect()
    }
}

/// The field at a dotted path; a number is a place in an array.
pub(crate) fn field<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, part| match value {
        Value::Array(all) => all.get(part.parse::<usize>().ok()?),
        _ => value.get(part),
    })
}

impl Lab {
    /// Expects exactly these alerts of the shared sensor for this lab, in any order. All that lead to them must have
    /// happened, or be about to.
    pub(crate) fn expect(&self, expected: &[Expect]) -> Result<()> {
        self.expect_of(self.sensor()?, expected)
    }

    /// Expects exactly these alerts of the rule about shells on sockets, alone or among others.
    pub(crate) fn expect_on_socket(&self, expected: &[Expect]) -> Result<()> {
        self.expect_by(self.sensor()?, SOCKET_RULE, expected)
    }

    /// Expects no alert for anything that has happened in this lab.
    pub(crate) fn expect_none(&self) -> Result<()> {
        self.expect(&[])
    }

    /// The same, of a sensor that the test has started itself.
    pub(crate) fn expect_of(&self, sensor: &Sensor, expected: &[Expect]) -> Result<()> {
        self.expect_by(sensor, RULE, expected)
    }

    /// The same, of a rule.
    pub(crate) fn expect_by(&self, sensor: &Sensor, rule: &str, expected: &[Expect]) -> Result<()> {
        let start = Instant::now();
        while self.alerts(sensor, rule)?.len() < expected.len() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.canary(sensor)?;
        let alerts = self.alerts(sensor, rule)?;
        let mut problems = String::new();
        if alerts.len() != expected.len() {
            writeln!(problems, "{} alerts, expected {}", alerts.len(), expected.len())?;
        }
        let mut left: Vec<&Value> = alerts.iter().collect();
        for expect in expected {
            let best = left.iter().enumerate().map(|(place, alert)| (expect.differences(alert), place));
            let Some((differences, place)) = best.min_by_key(|(differences, _)| differences.len()) else {
                writeln!(problems, "missing: {:.2000?}", expect.0)?;
                continue;
            };
            let alert = left.swap_remove(place);
            if !differences.is_empty() {
                writeln!(problems, "wrong:\n  {}\nin {alert:.6000}", differences.join("\n  "))?;
            }
        }
        for alert in left {
            writeln!(problems, "unexpected: {alert:.6000}")?;
        }
        if !problems.is_empty() {
            // What the kernel left out explains much, and is no reason to tell nothing where it cannot be had.
            let misses =
                Misses::of(sensor.pid()).map_or_else(|error| error.to_string(), |misses| format!("{misses:?}"));
            let log = sensor.log_tail();
            bail!("{problems}{misses}\nsensor log:\n{log}lab output:\n{:.2000}", self.output());
        }
        Ok(())
    }

    /// The alerts of a rule for this lab, canaries apart.
    pub(crate) fn alerts(&self, sensor: &Sensor, by: &str) -> Result<Vec<Value>> {
        sensor.alerts(|alert| {
            let rules = field(alert, "sensor.matched_rules").and_then(Value::as_array);
            rules.is_none_or(|rules| rules.iter().any(|rule| rule == by)) && self.is_about(alert)
        })
    }

    /// All that has been reported about this lab so far, by whichever rule, canaries apart.
    pub(crate) fn reported(&self) -> Result<Vec<Value>> {
        let sensor = self.sensor()?;
        self.canary(sensor)?;
        sensor.alerts(|alert| self.is_about(alert))
    }

    /// Whether an alert is about what this lab does, and no canary.
    fn is_about(&self, alert: &Value) -> bool {
        let directory = self.directory().to_string_lossy().into_owned() + "/";
        let path = field(alert, "process.executable").and_then(Value::as_str);
        let pid = field(alert, "process.pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        let ours = ["source.ip", "destination.ip"].iter().any(|end| {
            let address = field(alert, end).and_then(Value::as_str).and_then(|ip| ip.parse::<IpAddr>().ok());
            address.is_some_and(|address| self.has_address(address))
        });
        let ours =
            ours || path.is_some_and(|path| path.starts_with(&directory)) || pid.is_some_and(|pid| self.holds(pid));
        ours && !is_canary(alert) && !pid.is_some_and(|pid| self.ignores(pid))
    }

    /// Makes one more reverse shell and waits for its alert: those for what happened before have then come too, since
    /// executions reach the sensor in one queue. If the kernel has left out runs of the sensor's programs meanwhile, that shell may be
    /// what nobody saw, and there is another.
    pub(crate) fn canary(&self, sensor: &Sensor) -> Result<()> {
        /// How long an alert may be under way before anybody asks what was left out.
        const PAUSE: Duration = Duration::from_secs(1);
        let misses = || Misses::of(sensor.pid()).ok();
        let mut canaries = Vec::new();
        let (mut before, mut since) = (misses(), Instant::now());
        canaries.push(self.sing()?);
        let arrived = until("the canary's alert", || {
            let is_there = |alert: &Value| field(alert, "process.pid").is_some_and(|pid| canaries.contains(pid));
            if !sensor.alerts(|alert| is_canary(alert) && is_there(alert))?.is_empty() {
                return Ok(Some(()));
            }
            if since.elapsed() > PAUSE {
                let now = misses();
                if now != before {
                    canaries.push(self.sing()?);
                }
                (before, since) = (now, Instant::now());
            }
            Ok(None)
        });
        match arrived {
            Ok(()) => Ok(()),
            Err(error) => {
                bail!("{error:#}; {} were made; {:?}; sensor log:\n{}", canaries.len(), misses(), sensor.log_tail())
            }
        }
    }

    /// A reverse shell that no test is about: the process that became it.
    fn sing(&self) -> Result<Value> {
        let number = self.canaries.fetch_add(1, Ordering::Relaxed);
        let name = format!("{CANARY}{number}");
        let shell = self.program("bash")?;
        // Nobody listens there; a refused connection counts.
        let to = SocketAddr::new(self.remote(), 9);
        let steps = vec![connect_by(to, How::Plain, Outcome::Refused), exec(&shell, &["bash", "-i", &name])];
        let mut actor = self.play(&shell, &["bash"], steps)?;
        Ok(json!(actor.reached("end")?.pid))
    }
}

const CANARY: &str = "canary-of-the-suite-";

fn is_canary(alert: &Value) -> bool {
    field(alert, "process.args.2").and_then(Value::as_str).is_some_and(|arg| arg.starts_with(CANARY))
}
