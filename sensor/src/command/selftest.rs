//! `sensor selftest`: shows that the sensor works on this host. In this order: starts `sensor run` as a process of its own, waits until
//! it is ready, has a harmless reverse shell made in a network namespace of its own, and waits for the alert.
//!
//! Both processes end with this one, however it ends, and the namespace goes with them: nothing has to be cleaned up. Other
//! sensors on the host see the same shell, and report it: its last argument tells what it is.

mod loopback;
mod sensor;
mod shell;

use super::configuration;
use super::exit::Exit;
use super::replay::Format;
use super::run::parameters;
use crate::config::{Config, Life, Metrics, Noise, Output};
use crate::enrich::clock;
use crate::render::block::block;
use crate::render::look::Look;
use clap::Args;
use sensor::{Failure, Sensor};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// How long the alert may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a mark begins with: the shell's last argument, and the alert's tag.
const MARK: &str = "sensor-selftest";

/// Options of `sensor selftest`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Form of the result; `json` is the same as `--json` [default: text]
    #[arg(long, value_enum, conflicts_with = "json")]
    pub format: Option<Format>,
}

/// What a test has shown.
#[derive(Clone, Debug, Default, PartialEq)]
struct Report {
    /// How long the sensor took to be ready.
    ready: Option<Duration>,
    /// The hooks that it said it uses: name and kind.
    hooks: Vec<(String, String)>,
    /// What was executed, and the address that it was connected to.
    shell: Option<String>,
    /// The alert, marked as a test.
    alert: Option<Value>,
    /// From the execution of the shell to the alert's arrival here, in nanoseconds.
    latency_ns: Option<u64>,
}

/// Runs the test, prints to `out` what it has shown, and gives [`Exit::Ok`] if the alert came; otherwise the exit status with which
/// the sensor did not start, or [`Exit::Failed`].
pub fn run(options: &Options, config: Option<&Path>, out: &mut impl Write) -> Exit {
    let config = match configuration(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let mut report = Report::default();
    let result = perform(&config, &mut report);
    let failure = result.as_ref().err();
    let text = match options {
        Options { json: true, .. } | Options { format: Some(Format::Json), .. } => {
            report.to_json(failure).to_string() + "\n"
        }
        Options { .. } => report.to_text(failure, Look::of(&io::stdout())),
    };
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match (result, printed) {
        (Err(failure), _) => failure.exit,
        (Ok(()), Ok(())) => Exit::Ok,
        (Ok(()), Err(error)) => {
            tracing::error!("cannot print the result: {error}");
            Exit::Failed
        }
    }
}

fn perform(config: &Config, report: &mut Report) -> Result<(), Failure> {
    let address = shell::address(&parameters(config).excluded)?;
    let mut sensor = Sensor::start(&under_test(config))?;
    report.ready = Some(sensor.ready);
    report.hooks.clone_from(&sensor.hooks);
    // Nobody else's shell has this argument.
    let mark = format!("{MARK}-{}-{}", std::process::id(), clock::now().0.0);
    report.shell = Some(shell::reverse(address, &mark)?);
    let (alert, arrived) = sensor.alert(PATIENCE, |alert| is_about(alert, &mark))?;
    report.latency_ns = executed_at(&alert).map(|executed| arrived.0.saturating_sub(executed));
    report.alert = Some(marked(alert));
    sensor.stop()
}

/// The configuration of the sensor under test: what decides about alerts, and nobody but this process to tell.
fn under_test(config: &Config) -> Config {
    // Taken apart completely, so that a new section cannot be forgotten.
    let Config { rule, exception: _, evidence, hooks, host, kernel, rings, output: _, noise: _, life: _, metrics: _ } =
        config.clone();
    Config {
        rule,
        exception: Vec::new(),
        evidence,
        hooks,
        host,
        kernel,
        rings,
        output: Output::default(),
        noise: Noise::default(),
        life: Life::default(),
        metrics: Metrics::default(),
    }
}

/// Whether an alert is about the program with this mark.
fn is_about(alert: &Value, mark: &str) -> bool {
    let args = alert.pointer("/process/args").and_then(Value::as_array);
    args.is_some_and(|args| args.iter().any(|arg| arg == mark))
}

/// When the shell was executed, on the boot clock.
fn executed_at(alert: &Value) -> Option<u64> {
    alert.pointer("/sensor/sequence")?.as_array()?.last()?.pointer("/sensor/boot_ns")?.as_u64()
}

/// The alert with what tells that it is a test.
fn marked(mut alert: Value) -> Value {
    if let Some(document) = alert.as_object_mut() {
        document.insert("tags".to_owned(), json!([MARK]));
    }
    alert
}

impl Report {
    fn to_json(&self, failure: Option<&Failure>) -> Value {
        let Self { ready, hooks, shell, alert, latency_ns } = self;
        let hooks: serde_json::Map<_, _> = hooks.iter().map(|(name, kind)| (name.clone(), json!(kind))).collect();
        json!({
            "test": true,
            "passed": failure.is_none(),
            "exit_code": failure.map_or(Exit::Ok, |failure| failure.exit),
            "error": failure.map(ToString::to_string),
            "ready_ms": ready.map(|ready| u64::try_from(ready.as_millis()).unwrap_or(u64::MAX)),
            "hooks": hooks,
            "shell": shell,
            "latency_ns": latency_ns,
            "alert": alert,
        })
    }

    fn to_text(&self, failure: Option<&Failure>, look: Look) -> String {
        let Self { ready, hooks, shell, alert, latency_ns } = self;
        let mut text = String::new();
        if let Some(ready) = ready {
            let hooks: Vec<String> = hooks.iter().map(|(name, kind)| format!("{name}={kind}")).collect();
            text += &format!("sensor ready after {:.2} s: {}\n", ready.as_secs_f64(), hooks.join(" "));
        }
        if let Some(shell) = shell {
            text += &format!("test shell: {shell}\n");
        }
        if let Some(alert) = alert {
            text +=
                &format!("\nTEST {}", block(alert, Look { width: look.width.saturating_sub("TEST ".len()), ..look }));
        }
        text += &match (failure, latency_ns) {
            (Some(failure), _) => format!("FAILED: {failure}\n"),
            (None, Some(latency)) => {
                format!("passed: the alert was here {:.1} ms after the shell was executed\n", millis(*latency))
            }
            (None, None) => "passed\n".to_owned(),
        };
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is rounded to a tenth of a millisecond when it is shown")]
fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn alert(args: &[&str]) -> Value {
        json!({
            "@timestamp": "2026-11-24T08:42:48.768533005Z",
            "message": "sh executed something",
            "rule": {"id": "reverse-shell-via-child", "name": "Reverse shell"},
            "process": {"args": args},
            "sensor": {"severity": "medium", "sequence": [{"sensor": {"boot_ns": 1}}, {"sensor": {"boot_ns": 5_000_000}}]},
        })
    }

    fn passed() -> Report {
        Report {
            ready: Some(Duration::from_millis(1234)),
            hooks: vec![("exec".to_owned(), "tracepoint".to_owned()), ("accept".to_owned(), "off".to_owned())],
            shell: Some("it connected".to_owned()),
            alert: Some(marked(alert(&["sh", "-i"]))),
            latency_ns: Some(1_250_000),
        }
    }

    #[test]
    fn the_alert_is_known_by_its_mark_alone() {
        assert!(is_about(&alert(&["sh", "-i", "mark"]), "mark"));
        assert!(!is_about(&alert(&["sh", "-i", "mark2"]), "mark"));
        for other in [json!({}), json!({"process": {"args": "mark"}}), json!([]), Value::Null] {
            assert!(!is_about(&other, "mark"), "{other}");
        }
    }

    #[test]
    fn the_time_of_the_execution_is_that_of_the_last_event() {
        assert_eq!(executed_at(&alert(&[])), Some(5_000_000));
        // An assumed connection is none.
        let assumed = json!({"sensor": {"sequence": [{"sensor": {"boot_ns": 7}}]}});
        assert_eq!(executed_at(&assumed), Some(7));
        assert_eq!(executed_at(&json!({"sensor": {"sequence": []}})), None);
        assert_eq!(executed_at(&json!({})), None);
    }

    #[test]
    fn what_is_shown_is_marked_as_a_test() {
        let text = passed().to_text(None, Look::plain());
        assert!(
            text.starts_with("sensor ready after 1.23 s: exec=tracepoint accept=off\ntest shell: it connected\n"),
            "{text}"
        );
        assert!(text.contains("\nTEST ALERT medium"), "{text}");
        assert!(text.ends_with("\npassed: the alert was here 1.2 ms after the shell was executed\n"), "{text}");
        let report = passed().to_json(None);
        assert_eq!(report["test"], true);
        assert_eq!(report["passed"], true);
        assert_eq!((&report["exit_code"], &report["error"]), (&json!(0), &Value::Null));
        assert_eq!((&report["ready_ms"], &report["latency_ns"]), (&json!(1234), &json!(1_250_000)));
        assert_eq!(report["hooks"], json!({"exec": "tracepoint", "accept": "off"}));
        assert_eq!(report["alert"]["tags"], json!([MARK]));
    }

    #[test]
    fn a_failure_says_how_far_it_came() {
        let failure = Failure::new(Exit::NotPermitted, "no namespace".to_owned());
        let report = Report { alert: None, latency_ns: None, ..passed() };
        assert!(
            report.to_text(Some(&failure), Look::plain()).ends_with("test shell: it connected\nFAILED: no namespace\n")
        );
        let json = report.to_json(Some(&failure));
        assert_eq!(
            (&json["passed"], &json["exit_code"], &json["error"]),
            (&json!(false), &json!(5), &json!("no namespace"))
        );
        assert_eq!(Report::default().to_text(Some(&failure), Look::plain()), "FAILED: no namespace\n");
    }

    #[test]
    fn the_sensor_under_test_reports_here_alone() {
        let mut config = Config::default();
        config.rule.span = Duration::from_secs(7);
        config.output =
            Output { stdout: false, file: Some(PathBuf::from("/alerts")), journal: true, ..Output::default() };
        let tested = under_test(&config);
        assert_eq!((tested.rule, tested.output), (config.rule, Output::default()));
    }
}
