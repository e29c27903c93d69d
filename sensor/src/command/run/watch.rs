//! What a running sensor watches of itself: losses, numbers that disagree, a hook that has fallen silent, times at which it
//! did not run. The log and the stream of alerts are told of it, and from time to time that all is well.

use crate::enrich::clock;
use crate::event::{BootTime, WallTime};
use crate::health::law::Law;
use crate::health::losses::Ledger;
use crate::health::witness::{self, Change, Witness};
use crate::kernel::counters::Counters;
use crate::kernel::load::Loaded;
use crate::kernel::missed;
use crate::life::{Event, Interval};
use crate::pipeline::Pipeline;
use sensor_common::counter::Counter;
use std::time::Duration;
use tokio::time::Instant;

/// The stream of alerts is told of losses no more often than this: the first at once, what follows together.
const LOSSES: Duration = Duration::from_secs(60);
/// A turn that comes so late means that the sensor was not running. The loop turns every five seconds by itself.
const LATE: Duration = Duration::from_secs(15);
/// So much more time on the clock that goes on while the host is asleep than on the one that does not means that it was.
const ASLEEP: Duration = Duration::from_secs(1);
/// So much more or less time on the wall clock than has passed means that it was set. Daemons that keep the time set it from 128 ms on;
/// what they do in small steps makes 3 ms between two turns.
const SET: Duration = Duration::from_millis(100);
/// What documents say if the hook for connections has fallen silent.
const SILENT: &str = "the hook for connections sees none although the host makes some: it may have been switched off";

/// What documents say while the table of connections may forget some.
const PRESSED: &str =
    "so many connections that one may be forgotten: shells are reported also where no connection is known";
/// So long after the last sign of that it counts as over.
const RELIEF: Duration = Duration::from_secs(60);

/// Watches one run.
#[derive(Debug)]
pub(super) struct Watch {
    /// Losses that the log has told.
    logged: Ledger,
    /// Losses that the stream of alerts has told, when it last did, and since when others may have happened.
    told: Ledger,
    told_at: Option<Instant>,
    since: WallTime,
    law: Law,
    witness: Witness,
    /// Executions that were sent under pressure so far, and when there were last more.
    pressed: (u64, Option<Instant>),
    heartbeat: Option<Duration>,
    beat: Instant,
    turn: Turn,
}

/// The clocks at a turn of the loop.
#[derive(Clone, Copy, Debug)]
struct Turn {
    running: Instant,
    boot: BootTime,
    wall: WallTime,
}

impl Turn {
    fn now() -> Self {
        let (boot, wall) = clock::now();
        Self { running: Instant::now(), boot, wall }
    }
}

impl Watch {
    /// Of a host with so many CPUs; says that all is well so often. What is lost has not been told since then.
    pub(super) fn new(cpus: usize, heartbeat: Option<Duration>, since: WallTime) -> Self {
        let turn = Turn::now();
        Self {
            logged: Ledger::default(),
            told: Ledger::default(),
            told_at: None,
            since,
            law: Law::new(cpus),
            witness: Witness::default(),
            pressed: (0, None),
            heartbeat,
            beat: turn.running,
            turn,
        }
    }

    /// How much was lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.logged.told().total()
    }

    /// How often counters were found to disagree.
    pub(super) fn violations(&self) -> u64 {
        self.law.violations()
    }

    /// Says that all is well so often from now on.
    pub(super) fn set_heartbeat(&mut self, heartbeat: Option<Duration>) {
        self.heartbeat = heartbeat;
    }

    /// At each turn of the loop: whether it came in time.
    pub(super) fn turn(&mut self, pipeline: &mut Pipeline) {
        let (before, now) = (std::mem::replace(&mut self.turn, Turn::now()), self.turn);
        for event in gap(before, now).into_iter().chain(step(before, now)) {
            pipeline.tell(&event);
        }
    }

    /// From time to time: what is to be told.
    pub(super) fn look(&mut self, loaded: &mut Loaded, pipeline: &mut Pipeline) {
        pipeline.set_missed(missed::runs(loaded.ebpf()));
        let first = loaded.counters.snapshot();
        let second = loaded.counters.snapshot();
        let numbers = pipeline.numbers();
        for violation in self.law.check(&first, &second).into_iter().chain(self.law.check_exact(&numbers)) {
            tracing::error!("degraded: {violation}");
            pipeline.tell(&Event::Degraded(violation.to_string()));
        }
        if let Some(counted) = witness::active_opens() {
            self.hear(counted, loaded.counters.snapshot().get(Counter::ConnectSeen), pipeline);
        }
        self.press(second.get(Counter::ExecPressure), pipeline);
        pipeline.tell_noise(clock::now().0);
        pipeline.outputs_mut().tidy();
        self.losses(&loaded.counters, pipeline, false);
        if self.heartbeat.is_some_and(|interval| self.beat.elapsed() >= interval) {
            self.beat = Instant::now();
            pipeline.tell(&Event::Heartbeat);
        }
    }

    /// At the beginning: what an earlier sensor's kernel side has lost.
    pub(super) fn begin(&mut self, counters: &Counters, pipeline: &mut Pipeline) {
        self.losses(counters, pipeline, true);
    }

    /// At the end: what has not been told yet.
    pub(super) fn end(&mut self, counters: &Counters, pipeline: &mut Pipeline) {
        self.losses(counters, pipeline, true);
    }

    fn hear(&mut self, counted: u64, seen: u64, pipeline: &mut Pipeline) {
        let Some(change) = self.witness.look(counted, seen) else { return };
        degrade(pipeline, SILENT, (change == Change::Back).then_some("the hook for connections sees some again"));
    }

    fn press(&mut self, sent: u64, pipeline: &mut Pipeline) {
        let (before, last) = self.pressed;
        self.pressed.0 = sent;
        if sent > before {
            self.pressed.1 = Some(Instant::now());
            if last.is_none() {
                degrade(pipeline, PRESSED, None);
            }
        } else if last.is_some_and(|last| last.elapsed() > RELIEF) {
            self.pressed.1 = None;
            degrade(pipeline, PRESSED, Some("all connections can be remembered again"));
        }
    }

    /// Tells what was lost: the log at once, the stream of alerts from time to time.
    fn losses(&mut self, counters: &Counters, pipeline: &mut Pipeline, at_once: bool) {
        let snapshot = counters.snapshot();
        let so_far = pipeline.losses();
        for (what, lost) in self.logged.news(so_far.clone()).iter() {
            tracing::error!(lost, "events were lost: {what}");
        }
        let (boot, wall) = clock::now();
        let interval = Interval { from: self.since, to: wall };
        let due = at_once || self.told_at.is_none_or(|then| then.elapsed() >= LOSSES);
        let news = so_far.since(self.told.told());
        if !news.is_empty() && !due {
            return;
        }
        self.since = interval.to;
        if !news.is_empty() {
            self.told.news(so_far);
            self.told_at = Some(Instant::now());
            pipeline.tell(&Event::Lost(news, interval));
        }
        counters.told(&snapshot, boot);
    }
}

/// The sensor sees less from now on, or no longer does.
fn degrade(pipeline: &mut Pipeline, reason: &'static str, over: Option<&str>) {
    pipeline.set_degraded(reason, over.is_none());
    match over {
        None => {
            tracing::error!("degraded: {reason}");
            pipeline.tell(&Event::Degraded(reason.to_owned()));
        }
        Some(over) => {
            tracing::warn!("well again: {over}");
            pipeline.tell(&Event::Restored(over.to_owned()));
        }
    }
}

/// What a turn that came late means.
fn gap(before: Turn, now: Turn) -> Option<Event> {
    let running = now.running.saturating_duration_since(before.running);
    let passed = Duration::from_nanos(now.boot.0.saturating_sub(before.boot.0));
    let interval = Interval { from: before.wall, to: now.wall };
    if running > LATE {
        tracing::warn!("the sensor did not run for {} s", running.as_secs());
        Some(Event::Stalled(interval))
    } else if passed.saturating_sub(running) > ASLEEP {
        tracing::info!("the host was asleep for {} s", passed.as_secs());
        Some(Event::Suspended(interval))
    } else {
        None
    }
}

/// Whether the wall clock was set between two turns.
fn step(before: Turn, now: Turn) -> Option<Event> {
    let passed = i64::try_from(now.boot.0.saturating_sub(before.boot.0)).unwrap_or(i64::MAX);
    let from = WallTime(before.wall.0.saturating_add(passed));
    let step = Interval { from, to: now.wall };
    if u128::from(now.wall.0.abs_diff(from.0)) < SET.as_nanos() {
        return None;
    }
    tracing::warn!("the wall clock was set from {} to {}", step.from, step.to);
    Some(Event::ClockSet(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_that_did_not_run_is_told_from_a_host_that_was_asleep() {
        let before = Turn::now();
        let later = |running: u64, boot: u64| {
            let passed = Duration::from_millis(boot);
            gap(
                before,
                Turn {
                    running: before.running + Duration::from_millis(running),
                    boot: BootTime(before.boot.0 + u64::try_from(passed.as_nanos()).unwrap()),
                    wall: WallTime(before.wall.0 + i64::try_from(passed.as_nanos()).unwrap()),
                },
            )
        };
        assert_eq!(later(5000, 5000), None);
        assert_eq!(later(5000, 5900), None);
        assert_eq!(later(15_000, 15_000), None);
        assert!(matches!(later(15_001, 15_001), Some(Event::Stalled(_))));
        assert!(matches!(later(5000, 65_000), Some(Event::Suspended(_))));
        // A wall clock that was set back is neither.
        assert_eq!(gap(before, Turn { wall: WallTime(0), ..before }), None);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_told_from_one_that_goes_on_or_is_slewed() {
        let before = Turn::now();
        let (second, day) = (1_000_000_000, 86_400_000_000_000);
        let later = |wall: i64| {
            let (boot, wall) = (BootTime(before.boot.0 + 5_000_000_000), WallTime(before.wall.0 + wall));
            step(before, Turn { boot, wall, ..before })
        };
        let set = |step: i64| {
            let from = before.wall.0 + 5 * second;
            Some(Event::ClockSet(Interval { from: WallTime(from), to: WallTime(from + step) }))
        };
        for step in [0, 3_000_000, -3_000_000, 99_000_000, -99_000_000] {
            assert_eq!(later(5 * second + step), None, "{step}");
        }
        for step in [100_000_000, -100_000_000, day, -day] {
            assert_eq!(later(5 * second + step), set(step), "{step}");
        }
    }
}
