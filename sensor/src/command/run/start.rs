//! From nothing to a sensor that is attached and ready.

use super::before::look_around;
use super::handover::Taken;
use super::metrics::Metrics;
use super::outputs::Opened;
use super::{Options, handover, needs, outputs, parameters, put_in_force};
use crate::config::{Config, Hook};
use crate::detect::rule::kernel_names;
use crate::enrich::clock;
use crate::enrich::host::{Given, Host};
use crate::enrich::namespace;
use crate::enrich::runtime::Runtimes;
use crate::enrich::user::Users;
use crate::event::ecs::Origin;
use crate::event::{WallOffset, WallTime};
use crate::health::losses::Losses;
use crate::heartbeat::Heartbeat;
use crate::kernel::earlier::Overlap;
use crate::kernel::hook::{ACCEPT_OFF, Choice, Fact, Mechanism, PREEMPTED};
use crate::kernel::load::{self, KERNEL_BTF, Loaded};
use crate::kernel::log::KernelLog;
use crate::kernel::ring::Ring;
use crate::life::{Event, Interval};
use crate::output::switch::Switch;
use crate::pipeline::Pipeline;
use crate::privileges::{self, Needs};
use crate::service::Signals;
use crate::service::alarm::Alarm;
use crate::service::systemd::Systemd;
use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What documents say if /proc is another namespace's.
const FOREIGN_PROC: &str =
    "containers, arguments of parents and earlier connections are unknown: /proc is not the host's";

/// A sensor that is attached.
pub(super) struct Started {
    pub(super) loaded: Loaded,
    pub(super) connections: Ring,
    pub(super) executions: Ring,
    pub(super) kernel_log: KernelLog,
    pub(super) signals: Signals,
    pub(super) alarm: Alarm,
    pub(super) pipeline: Pipeline,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) metrics: Option<Metrics>,
    /// What there was between the last sign of life of an earlier sensor and this one.
    pub(super) gap: Option<Event>,
    /// What the kernel side of the sensor before may have recorded too.
    pub(super) overlap: Overlap,
    /// From then on nobody has told what was lost.
    pub(super) untold_since: WallTime,
    /// The kernel side goes on when this process has ended, for the next one.
    pub(super) handed: bool,
    pub(super) needs: Needs,
    pub(super) switches: BTreeMap<&'static str, Switch>,
}

/// Opens the outputs, attaches, looks once at what is running, and logs that it is ready. Within a tokio runtime.
pub(super) fn start(
    options: &Options,
    config: &Config,
    config_path: Option<&Path>,
    systemd: &Systemd,
) -> Result<Started> {
    let left = handover::left();
    let signals = Signals::new().context("signal handlers cannot be installed")?;
    let alarm = Alarm::new().context("there is no timer to be had")?;
    let root = Path::new("/");
    let given = Given {
        id: config.host.id.as_deref(),
        name: config.host.name.as_deref(),
        hostname: options.host_name.as_deref(),
    };
    let host = Host::read(root, given)?;
    let processes = namespace::check(root);
    if let Err(error) = &processes {
        tracing::error!("degraded: {error}");
    }
    let Opened { outputs, switches } = outputs::open(options, config)?;
    let create = |path: &PathBuf| {
        let created = Heartbeat::create(path, &host.boot_id);
        created.with_context(|| format!("{} cannot be opened for the sign of life", path.display()))
    };
    let (mut heartbeat, before) = options.heartbeat.as_ref().map(create).transpose()?.unzip();

    raise_memory_limit();
    let (since, _) = clock::now();
    let mut loaded = load::load(&load_options(config))?;
    let lost = left.lost();
    let (connections, executions) = loaded.rings()?;
    let kernel_log = KernelLog::new(loaded.ebpf())?;
    log_choices(&loaded);

    let (boot, wall) = clock::now();
    let offset = WallOffset::between(boot, wall);
    let before = before.flatten();
    let unwatched = before.filter(|_| !left.watched());
    let unwatched = unwatched.map(|before| Interval { from: offset.wall(before), to: offset.wall(boot) });
    if let Some(unwatched) = unwatched {
        tracing::warn!("{}", unwatched.unwatched());
    }
    let origin = Origin {
        host_id: host.id.clone(),
        boot_id: host.boot_id.clone(),
        host: host.to_ecs(),
        offset,
        hooks: loaded.choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        degraded: degraded(&loaded.choices).into_iter().chain(processes.as_ref().err().map(|_| FOREIGN_PROC)).collect(),
    };
    tracing::debug!(host_id = host.id, source = host.id_source, "host");
    let users = Users::new(PathBuf::from("/etc/passwd"));
    let mut pipeline = Pipeline::new(parameters(config), origin, users, outputs);
    pipeline.count(Arc::clone(&loaded.counters));
    pipeline.watch(executions.fill());
    let (lost, untold_since) = lost.unwrap_or_else(|| (Losses::default(), boot));
    pipeline.inherit(lost);
    put_in_force(&mut pipeline, config);
    pipeline.set_runtimes(Runtimes::new(config.evidence.runtimes.clone()));
    // The numbers of another namespace's processes would be taken for those of the host's.
    if processes.is_ok() {
        look_around(&mut loaded, &mut pipeline, &parameters(config).excluded, left.watched())?;
    }
    left.remember(&mut loaded, config.rule.span)?;
    // Both are signs of life of the sensor before.
    let read_until = offset.wall(before.unwrap_or_default().max(untold_since));
    let Taken { overlap, late } = left.end(systemd, &mut pipeline, since, read_until);
    let handed = handover::leave(systemd, &loaded, [&connections, &executions], since);
    if let Some(heartbeat) = &mut heartbeat {
        heartbeat.beat(clock::now().0);
    }

    let metrics = match &config.metrics.listen {
        Some(listen) => Some(Metrics::serve(listen, &loaded, (&connections, &executions), &pipeline)?),
        None => None,
    };

    let needs = needs::needs(options, config, config_path);
    if !needs.tcp.is_empty() && needs::no_internet() {
        tracing::error!(
            "no internet sockets can be made here, so that alerts only wait in the spool: the service needs the drop-in \
             remote-outputs.conf for outputs on other hosts"
        );
    }
    give_up_privileges(&needs);

    let kind =
        |fact| loaded.choices.iter().find(|choice| choice.fact == fact).map_or_else(|| "off".to_owned(), Choice::kind);
    let [exec, fork, connect, accept] = Fact::ALL.map(kind);
    tracing::info!(exec, fork, connect, accept, "sensor ready");
    Ok(Started {
        loaded,
        connections,
        executions,
        kernel_log,
        signals,
        alarm,
        pipeline,
        heartbeat,
        metrics,
        gap: unwatched.map(Event::Unwatched).or(late.map(Event::Stalled)),
        overlap,
        untold_since: offset.wall(untold_since),
        handed,
        needs,
        switches,
    })
}

/// From here on nothing needs them.
fn give_up_privileges(needs: &Needs) {
    let kept = privileges::give_up(needs);
    for failure in &kept.failures {
        tracing::warn!("privileges are left that nothing needs: {failure}");
    }
    tracing::info!("privileges given up; left are {kept}");
    for path in &needs.appends {
        // A pipe without a reader is no file to wait for.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        if let Err(error) = File::options().create(true).append(true).custom_flags(nonblocking).open(path) {
            tracing::warn!("{} stays open, but cannot be opened anew at SIGUSR1: {error}", path.display());
        }
    }
}

/// Up to 5.10 the kernel counts maps against a limit that is far too low by default; later ones ignore it. Without the
/// privilege to raise it, creating the maps says what is wrong.
pub(in crate::command) fn raise_memory_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    if getrlimit(Resource::Memlock) != unlimited {
        let _ = setrlimit(Resource::Memlock, unlimited);
    }
}

pub(in crate::command) fn load_options(config: &Config) -> load::Options {
    let mechanism = |hook| match hook {
        Hook::Auto => None,
        Hook::Fentry => Some(Mechanism::Fentry),
        Hook::Kprobe => Some(Mechanism::Kprobe),
        Hook::Tracepoint => Some(Mechanism::Tracepoint),
    };
    load::Options {
        btf: config.kernel.btf.clone().unwrap_or_else(|| PathBuf::from(KERNEL_BTF)),
        names: kernel_names(&config.rule.relays),
        slot: config.kernel_slot(),
        connect: mechanism(config.hooks.connect),
        accept: config.hooks.accept.and_then(mechanism),
        accept_off: config.hooks.accept.is_none(),
        fork: config.watches_forks(),
        connections_bytes: config.rings.connections,
        executions_bytes: config.rings.executions,
    }
}

fn log_choices(loaded: &Loaded) {
    for choice in &loaded.choices {
        for refusal in &choice.refusals {
            tracing::info!(fact = %choice.fact, "hook {} refused: {}", refusal.mechanism, refusal.reason);
        }
    }
    for reason in degraded(&loaded.choices) {
        tracing::warn!("degraded: {reason}");
    }
    for field in &loaded.missing {
        tracing::info!("this kernel has no {}; what needs it is left out", field.path);
    }
}

fn degraded(choices: &[Choice]) -> Vec<&'static str> {
    let off = |fact| if fact == Fact::Accept { ACCEPT_OFF } else { "" };
    let own = |choice: &Choice| choice.candidate.map_or(off(choice.fact), |one| one.degraded);
    let preempted = choices.iter().any(|choice| choice.preempted);
    choices.iter().map(own).filter(|reason| !reason.is_empty()).chain(preempted.then_some(PREEMPTED)).collect()
}
