//! The sensor's numbers for Prometheus, in the OpenMetrics text format, and whether it is well.
//!
//! The kernel side's counters and the fill of its buffers are read from shared memory at each scrape, so that they stay readable
//! whatever the user side is stuck in; the user side makes its own when somebody asks ([`Board`]).

mod board;
mod server;

pub use board::{Board, Reader};
pub use server::{Server, Unusable};

use crate::detect::rule::RULES;
use crate::kernel::counters::Counters;
use crate::kernel::ring::Fill;
use crate::output::queue;
use crate::stats::{LATENCY_BOUNDS, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use sensor_common::counter::{Counter, Fate};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the user side may be silent before it counts as stuck: it wakes every five seconds by itself.
const SILENCE: Duration = Duration::from_secs(15);

/// What the user side says of itself.
#[derive(Clone, Debug, Default)]
pub struct UserSide {
    /// What was made of the records.
    pub stats: Stats,
    /// Connections that were forgotten because too many processes had some.
    pub evicted: u64,
    /// How often counters were found to disagree.
    pub violations: u64,
    /// The outputs, by name.
    pub outputs: Vec<(&'static str, queue::Stats)>,
    /// How often each exception was used, by name.
    pub exceptions: BTreeMap<String, u64>,
    /// Runs of programs that the kernel skipped, by hook.
    pub missed: BTreeMap<String, u64>,
}

/// Everything that is exported.
#[derive(Debug)]
pub struct Source {
    /// The kernel side's counters.
    pub counters: Arc<Counters>,
    /// The buffers between both sides, by name.
    pub rings: Vec<(&'static str, Fill)>,
    /// Which kind of hook sees each fact.
    pub hooks: Vec<(String, String)>,
    /// What the user side says.
    pub board: Reader,
}

impl Source {
    /// What is wrong, if anything is.
    fn unwell(&self) -> Option<String> {
        let silent = self.board.silent();
        (silent > SILENCE).then(|| format!("the buffers have not been read for {} s", silent.as_secs()))
    }
}

/// An answer: the kernel side as it is when this is written, and what the user side has said.
#[derive(Debug)]
struct Scrape {
    source: Arc<Source>,
    user: UserSide,
}

/// Writes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut counter = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        counter.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, i64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        let Self { source, user } = self;
        let Source { counters, rings, hooks, .. } = &**source;
        let Stats { connections, duplicates, executions, undecodable, latency, latency_ns, .. } = user.stats;
        let Stats { by_rule, unmatched, alerts, collapsed, repeats, held, excepted, .. } = user.stats;

        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.gauges("build_info", "The sensor's version", None, [(version, 1)])?;
        let hooks = hooks.iter().map(|(fact, hook)| ([("fact", fact.as_str()), ("hook", hook.as_str())], 1));
        families.gauges("hook_info", "Kind of hook by which each fact is seen", None, hooks)?;

        let snapshot = counters.snapshot();
        let of = |wanted: fn(Fate) -> bool| {
            let counters = Counter::ALL.into_iter().filter(move |counter| wanted(counter.fate()));
            counters.map(|counter| (counter, snapshot.get(counter)))
        };
        let seen = of(|fate| fate == Fate::Seen).map(|(counter, value)| ([("hook", counter.hook())], value));
        families.counters("kernel_events_seen", "Events that a hook has looked at", seen)?;
        let settled = of(|fate| !matches!(fate, Fate::Seen | Fate::Note)).map(|(counter, value)| {
            ([("hook", counter.hook()), ("fate", counter.fate().word()), ("cause", counter.cause())], value)
        });
        families.counters("kernel_events", "What became of the events that a hook has looked at", settled)?;
        let missed = user.missed.iter().map(|(hook, runs)| ([("hook", hook.as_str())], *runs));
        families.counters("kernel_runs_skipped", "Runs of a hook's programs that the kernel skipped", missed)?;

        let used = rings.iter().map(|(name, fill)| ([("ring", *name)], gauge(fill.used())));
        families.gauges("ring_used", "Bytes that wait to be read", Some(&Unit::Bytes), used)?;
        let size = rings.iter().map(|(name, fill)| ([("ring", *name)], gauge(fill.size())));
        families.gauges("ring_size", "Size of the buffer", Some(&Unit::Bytes), size)?;

        let records = [
            ("connection", connections),
            ("duplicate", duplicates),
            ("execution", executions),
            ("undecodable", undecodable),
        ];
        let records = records.map(|(kind, value)| ([("kind", kind)], value));
        families.counters("records", "Records read from the buffers", records)?;
        let executions = [
            ("unmatched", unmatched),
            ("alerted", alerts),
            ("collapsed", collapsed),
            ("held", held),
            ("excepted", excepted),
        ];
        let executions = executions.map(|(result, value)| ([("result", result)], value));
        families.counters("executions", "Executions by what the rules made of them", executions)?;
        let matches = RULES.into_iter().zip(by_rule).map(|(rule, count)| ([("rule", rule.id)], count));
        families.counters("rule_matches", "Executions that a rule has taken, alone or with others", matches)?;
        let uses = user.exceptions.iter().map(|(name, uses)| ([("exception", name.as_str())], *uses));
        families.counters("exception_uses", "Matches that an exception has taken", uses)?;
        families.counter("alerts", "Alerts that were told at once", alerts)?;
        families.counter("alerts_repeated", "Alerts that were told later and stand for those collapsed", repeats)?;
        families.counter("law_violations", "Counters that were found to disagree", user.violations)?;
        families.counter("processes_forgotten", "Processes forgotten for lack of room", user.evicted)?;

        let documents = user.outputs.iter().flat_map(|(name, stats)| {
            let results = [("delivered", stats.delivered), ("dropped", stats.dropped)];
            results.map(|(result, value)| ([("output", *name), ("result", result)], value))
        });
        families.counters("output_documents", "Documents by what became of them", documents)?;
        let waiting = user.outputs.iter().map(|(name, stats)| {
            let settled = stats.delivered + stats.spooled + stats.dropped;
            ([("output", *name)], gauge(stats.queued.saturating_sub(settled)))
        });
        families.gauges("output_waiting_documents", "Documents that wait in an output's queue", None, waiting)?;
        let spooled = user.outputs.iter().map(|(name, stats)| ([("output", *name)], gauge(stats.spooled)));
        families.gauges("output_spooled_documents", "Documents that wait in an output's spool", None, spooled)?;

        let help = "Time from the execution of a shell to its alert being handed to the outputs";
        let mut histogram =
            families.0.encode_descriptor("alert_latency", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let bounds = LATENCY_BOUNDS.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(latency).collect();
        let sum = Duration::from_nanos(latency_ns).as_secs_f64();
        histogram.encode_histogram::<NoLabelSet>(sum, latency.iter().sum(), &buckets, None)
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
