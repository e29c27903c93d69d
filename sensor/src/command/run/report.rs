//! The numbers of a run: as the log has them at its end, and as the last line of a terminal has them meanwhile.

use super::watch::Watch;
use crate::health::law::{Numbers, Violation};
use crate::kernel::counters::Snapshot;
use crate::kernel::load::Loaded;
use crate::output::queue;
use crate::pipeline::Pipeline;
use crate::render::status::{self, Status};
use crate::stats::Stats;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Logs them; counters that disagree, as an error, unless the kernel side `goes_on`, so that they may be of more than one moment.
/// `missed` are the runs that the kernel skipped, by hook.
pub(super) fn log(
    counters: &Snapshot,
    goes_on: bool,
    missed: BTreeMap<String, u64>,
    stats: &Stats,
    outputs: &[(&'static str, queue::Stats)],
) {
    let numbers = Numbers { stats: *stats, outputs: outputs.to_vec() };
    for violation in counters.sums().iter().filter(|_| !goes_on).filter_map(Violation::of).chain(numbers.violations()) {
        tracing::error!("{violation}");
    }
    let of_output = |(name, stats): &(&str, queue::Stats)| {
        let queue::Stats { queued, delivered, spooled, dropped } = stats;
        let numbers = json!({"queued": queued, "delivered": delivered, "spooled": spooled, "dropped": dropped});
        ((*name).to_owned(), numbers)
    };
    let user_side = json!({
        "connections": stats.connections,
        "duplicates": stats.duplicates,
        "executions": stats.executions,
        "undecodable": stats.undecodable,
        "matched": stats.matched,
        "unmatched": stats.unmatched,
        "alerts": stats.alerts,
        "collapsed": stats.collapsed,
        "repeats": stats.repeats,
        "held": stats.held,
        "excepted": stats.excepted,
        "slowest_ns": stats.slowest_ns,
        "outputs": Value::from_iter(outputs.iter().map(of_output)),
    });
    tracing::info!(
        counters = with_missed(counters.to_json(), missed).to_string(),
        user_side = user_side.to_string(),
        "counters"
    );
    for (name, stats) in outputs.iter().filter(|(_, stats)| stats.spooled > 0) {
        tracing::warn!("{name}: {} documents wait in the spool, for the next start", stats.spooled);
    }
}

/// What the last line of a terminal says.
pub(super) fn line(loaded: &Loaded, pipeline: &Pipeline, watch: &Watch) -> String {
    let counters = loaded.counters.snapshot();
    status::line(&Status {
        stats: pipeline.stats(),
        seen: counters.sums().iter().map(|sums| sums.seen).sum(),
        filtered: counters.filtered(),
        lost: watch.lost(),
        hooks: loaded.choices.iter().map(ToString::to_string).collect(),
    })
}

/// The counters, and beside each hook's the runs that the kernel skipped, which no counter of a program can hold.
fn with_missed(mut counters: Value, missed: BTreeMap<String, u64>) -> Value {
    for (hook, runs) in missed {
        if let Some(counters) = counters.get_mut(hook).and_then(Value::as_object_mut) {
            counters.insert("missed_recursion".to_owned(), runs.into());
        }
    }
    counters
}
