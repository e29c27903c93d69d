//! `sensor run`: attaches to the running kernel and reports alerts until it is told to stop.

mod before;
mod handover;
pub(super) mod metrics;
mod needs;
mod outputs;
mod reload;
mod report;
mod rings;
pub(super) mod start;
mod watch;

use self::metrics::Metrics;
use self::reload::Reload;
use self::rings::Rings;
use self::watch::Watch;
use super::exit::Exit;
use super::replay::Format;
use crate::config::Config;
use crate::detect::exception::{self, Exception};
use crate::detect::rule::Parameters;
use crate::enrich::clock;
use crate::enrich::host::NoBootId;
use crate::event::{BootTime, WallTime};
use crate::heartbeat::Heartbeat;
use crate::kernel::earlier::Overlap;
use crate::kernel::error::LoadError;
use crate::kernel::load::Loaded;
use crate::kernel::log::KernelLog;
use crate::life::Event;
use crate::pipeline::Pipeline;
use crate::service::alarm::Alarm;
use crate::service::systemd::Systemd;
use crate::service::{Request, Signals};
use crate::stats::Stats;
use crate::terminal::StatusLine;
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::Instant;

/// Connections wait no longer than this for an execution to bring them along. Alerts do not depend on it.
const IDLE: Duration = Duration::from_secs(5);
/// The same, when every event is written.
const IDLE_WITH_EVENTS: Duration = Duration::from_millis(250);

/// How long a kernel side that goes on is read from at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Options of `sensor run`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Write every connection and execution to this file too, as ECS documents that `replay` reads.
    #[arg(long, value_name = "PATH")]
    pub events: Option<PathBuf>,
    /// Write a sign of life to this file while the kernel's buffers are being read, for `sensor alive`.
    #[arg(long, value_name = "PATH")]
    pub heartbeat: Option<PathBuf>,
    /// Name of the host, where the system gives the sensor another one: in a container, that of the node.
    #[arg(long, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Form of the alerts on standard output [default: json, on a terminal text].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Runs until a signal asks to stop.
#[must_use]
pub fn run(options: &Options, config_path: Option<&Path>) -> Exit {
    let mut systemd = Systemd::connect();
    let config = match Config::load(config_path) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            systemd.status(&error.to_string());
            return Exit::Config;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the runtime cannot be started: {error}");
            return Exit::Failed;
        }
    };
    let line = StatusLine::start(outputs::is_text(options));
    runtime.block_on(async {
        match start::start(options, &config, config_path, &systemd) {
            Ok(started) => Running::new(started, systemd, options, config, config_path).until_stopped(line).await,
            Err(error) => {
                tracing::error!("{error:#}");
                systemd.status(&format!("{error:#}"));
                exit_of(&error)
            }
        }
    })
}

/// The exit status that belongs to a failed start.
fn exit_of(error: &anyhow::Error) -> Exit {
    // A kernel without the one is not told from one whose /proc was reduced by whoever started the sensor.
    let lacks = error.is::<NoBootId>().then_some(Exit::Unsupported);
    let refused = || error.downcast_ref::<LoadError>().map(Exit::from);
    lacks.or_else(refused).unwrap_or(Exit::Failed)
}

/// A sensor at work.
struct Running {
    loaded: Loaded,
    rings: Rings,
    kernel_log: KernelLog,
    signals: Signals,
    alarm: Alarm,
    systemd: Systemd,
    pipeline: Pipeline,
    heartbeat: Option<Heartbeat>,
    reload: Reload,
    idle: Duration,
    watch: Watch,
    metrics: Option<Metrics>,
    /// In front of the start.
    gap: Option<Event>,
    /// What the kernel side of the sensor before may have recorded too.
    overlap: Overlap,
    /// The kernel side goes on when this process has ended, for the next one.
    handed: bool,
    /// Why the last reload changed nothing.
    refused: Option<String>,
}

impl Running {
    fn new(
        started: start::Started,
        systemd: Systemd,
        options: &Options,
        config: Config,
        config_path: Option<&Path>,
    ) -> Self {
        let start::Started { loaded, connections, executions, kernel_log, signals, alarm, pipeline, .. } = started;
        let start::Started { heartbeat, metrics, gap, needs, switches, overlap, untold_since, handed, .. } = started;
        let idle = if options.events.is_some() { IDLE_WITH_EVENTS } else { IDLE };
        let watch = Watch::new(loaded.counters.cpus(), config.life.heartbeat, untold_since);
        Self {
            loaded,
            rings: Rings::new(connections, executions),
            kernel_log,
            signals,
            alarm,
            systemd,
            pipeline,
            heartbeat,
            reload: Reload {
                options: options.clone(),
                config_path: config_path.map(Path::to_owned),
                config,
                needs,
                switches,
            },
            idle,
            watch,
            metrics,
            gap,
            overlap,
            handed,
            refused: None,
        }
    }

    async fn until_stopped(mut self, mut line: Option<StatusLine>) -> Exit {
        let status = self.status();
        self.systemd.ready(&status);
        self.pipeline.tell(&Event::Started);
        if let Some(gap) = self.gap.take() {
            self.pipeline.tell(&gap);
        }
        self.watch.begin(&self.loaded.counters, &mut self.pipeline);
        let mut deadline = Instant::now() + self.idle;
        let mut look = Instant::now() + IDLE;
        let mut more = false;
        let failure = loop {
            if let Some(line) = &mut line {
                deadline = deadline.min(line.refresh(|| report::line(&self.loaded, &self.pipeline, &self.watch)));
            }
            let mut asked = false;
            let wake = deadline.min(self.systemd.feed_at().unwrap_or(deadline));
            tokio::select! {
                biased;
                request = self.signals.next() => match request {
                    Request::Stop => break None,
                    Request::Reload => self.reload(),
                    Request::Reopen => self.pipeline.outputs().reopen(),
                },
                () = metrics::asked(self.metrics.as_ref()) => asked = true,
                result = self.rings.readable() => if let Err(error) = result {
                    break Some(error);
                },
                result = self.kernel_log.forward() => if let Err(error) = result {
                    break Some(error);
                },
                // The others have their turn in between.
                () = yield_now(), if more => {}
                result = self.alarm.rings(wake) => if let Err(error) = result {
                    break Some(error);
                },
            }
            self.watch.turn(&mut self.pipeline);
            let now = clock::now();
            more = match self.drain(now) {
                Ok(more) => more,
                Err(error) => break Some(error),
            };
            if Instant::now() >= deadline {
                deadline = Instant::now() + self.idle;
            }
            if Instant::now() >= look {
                look = Instant::now() + IDLE;
                self.watch.look(&mut self.loaded, &mut self.pipeline);
                // What is still in the buffers may be about any process, and be older than the start; so may be what has come since
                // they were read, however long ago that is.
                if !more {
                    self.overlap = Overlap::default();
                    self.pipeline.forget_expired(now.0, now.1);
                }
                let status = self.status();
                self.systemd.status(&status);
            }
            if let Some(metrics) = &self.metrics {
                metrics.polled();
                if asked {
                    metrics.answer(&self.pipeline, self.watch.violations());
                }
            }
            self.systemd.polled();
        };
        if let Some(line) = line {
            line.end();
        }
        match failure {
            None => self.stop(None),
            Some(error) => self.failed(&error),
        }
    }

    /// What systemd shows: the hooks, what was seen, what was lost.
    fn status(&self) -> String {
        let hooks: Vec<String> = self.loaded.choices.iter().map(ToString::to_string).collect();
        let Stats { connections, executions, alerts, .. } = self.pipeline.stats();
        let lost = self.watch.lost();
        let refused =
            self.refused.as_ref().map_or_else(String::new, |why| format!("; configuration not reloaded: {why}"));
        format!(
            "{}; {connections} connections, {executions} executions, {alerts} alerts, {lost} lost{refused}",
            hooks.join(" ")
        )
    }

    /// Handles what the rings hold at this time; whether there may be more.
    fn drain(&mut self, (boot, wall): (BootTime, WallTime)) -> io::Result<bool> {
        let Self { rings, pipeline, heartbeat, overlap, .. } = self;
        if let Some(heartbeat) = heartbeat {
            heartbeat.beat(boot);
        }
        pipeline.follow_clock(boot, wall);
        rings.drain(pipeline, |record| !overlap.had(record))
    }

    fn reload(&mut self) {
        self.systemd.reloading();
        let Self { reload, loaded, pipeline, watch, refused, .. } = self;
        let event = match reload.read_again(loaded, pipeline, watch) {
            Ok(restart) => {
                if !restart.is_empty() {
                    tracing::warn!("changed but in force only after a restart: {}", restart.join(", "));
                }
                tracing::info!("configuration read again");
                *refused = None;
                Event::Reloaded(restart)
            }
            Err(error) => {
                tracing::error!("the configuration stays as it was: {error}");
                *refused = Some(error.to_string());
                Event::ReloadRefused(error.to_string())
            }
        };
        pipeline.tell(&event);
        let status = self.status();
        self.systemd.ready(&status);
    }

    fn failed(mut self, error: &io::Error) -> Exit {
        let what = format!("the ring buffers cannot be read any more: {error}");
        tracing::error!("{what}");
        self.systemd.status(&what);
        let _ = self.stop(Some(what));
        Exit::Failed
    }

    /// Detaches, unless the next sensor goes on with the kernel side, handles what is left, flushes the outputs, reports the numbers.
    fn stop(mut self, reason: Option<String>) -> Exit {
        self.systemd.stopping();
        self.watch.look(&mut self.loaded, &mut self.pipeline);
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.end(clock::now().0);
        }
        if !self.handed {
            self.loaded.detach();
        }
        // What comes later than this is the next one's.
        let until = Instant::now() + LAST_WORDS;
        while self.drain(clock::now()).unwrap_or_else(rings::given_up) && (!self.handed || Instant::now() < until) {}
        self.pipeline.finish_noise();
        self.watch.end(&self.loaded.counters, &mut self.pipeline);
        self.pipeline.tell(&Event::Stopped(reason));
        let counters = self.loaded.counters.settled();
        if self.handed {
            // The end of the process closes its descriptors; the programs stay attached if systemd has kept some.
            std::mem::forget(self.loaded);
        }
        let (stats, missed) = (self.pipeline.stats(), self.pipeline.missed().clone());
        let outputs = self.pipeline.into_outputs().close();
        report::log(&counters, self.handed, missed, &stats, &outputs);
        let lost: u64 = outputs.iter().map(|(_, stats)| stats.dropped).sum();
        if lost == 0 {
            tracing::info!("stopped");
            Exit::Ok
        } else {
            tracing::error!("stopped; {lost} documents could not be written");
            Exit::Failed
        }
    }
}

/// Has the pipeline go by the configuration, in what a reload can change and the rules do not ask for.
fn put_in_force(pipeline: &mut Pipeline, config: &Config) {
    let Config { exception, noise, evidence, .. } = config;
    warn_of(exception);
    pipeline.set_exceptions(exception.clone());
    pipeline.set_noise(noise.limits());
    pipeline.set_redactor(evidence.redactor());
    pipeline.set_environment(evidence.environment.clone());
}

/// Says what is doubtful about exceptions.
fn warn_of(exceptions: &[Exception]) {
    let (_, now) = clock::now();
    for warning in exception::warnings(exceptions, now) {
        tracing::warn!("{warning}");
    }
}

/// What the rules take from the configuration.
#[must_use]
pub fn parameters(config: &Config) -> Parameters {
    let crate::config::Rule { span, excluded, relays, disabled } = &config.rule;
    let excluded = excluded.iter().collect();
    Parameters { span: *span, excluded, relays: relays.clone(), disabled: disabled.clone() }
}
