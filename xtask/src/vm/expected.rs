//! What is expected of the hooks and tests on each kernel: the committed table `tests/kernels/expected.toml`.

use super::protocol::{Plan, Refusal, Run};
use super::series::Series;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Kinds of hooks, in the order in which the sensor tries them.
pub(crate) const KINDS: [&str; 3] = ["fentry", "kprobe", "tracepoint"];
/// What the hooks see.
pub(crate) const FACTS: [&str; 2] = ["connect", "accept"];
/// The run in which the sensor chooses by itself.
pub(crate) const AUTO: &str = "auto";
/// Leaves out the tests that have the same outcome whatever the hooks are.
const NOT_ONCE: &str = "not:once";
/// The kind of hook that another task can interrupt where the kernel preempts: it then skips that task's event. What it sees
/// of one test after another is tested.
const INTERRUPTED: &str = "fentry";
const ONE_AT_A_TIME: [&str; 3] = ["--jobs", "1", "not:crowd"];

/// What a forced hook does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hook {
    /// All tests pass with it.
    Works,
    /// The sensor does not start, and says this.
    Refused(String),
}

/// The hooks by fact, then by kind.
type Hooks = BTreeMap<String, BTreeMap<String, Hook>>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Processor {
    hooks: Hooks,
    #[serde(default)]
    kernels: BTreeMap<String, Hooks>,
    #[serde(default)]
    skips: Vec<Skip>,
    /// Series whose kernels do not preempt tasks in the kernel.
    #[serde(default)]
    not_preemptible: Vec<String>,
}

/// Tests that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    tests: Vec<String>,
    #[serde(default)]
    series: Vec<String>,
    #[serde(default)]
    runs: Vec<String>,
    /// For people.
    #[serde(rename = "why")]
    _why: String,
}

/// The whole table, by processor.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Table(BTreeMap<String, Processor>);

/// What is expected of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    hooks: Hooks,
    skips: Vec<Skip>,
    preemptible: bool,
}

impl Table {
    /// Reads the table of the workspace.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("tests/kernels/expected.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Self = toml::from_str(text)?;
        for (arch, processor) in &table.0 {
            for fact in FACTS {
                for kind in KINDS {
                    let there = processor.hooks.get(fact).is_some_and(|kinds| kinds.contains_key(kind));
                    ensure!(there, "[{arch}.hooks.{fact}] does not say what {kind} does");
                }
            }
            for (series, hooks) in &processor.kernels {
                series.parse::<Series>().with_context(|| format!("[{arch}.kernels]"))?;
                let known = hooks.iter().all(|(fact, kinds)| {
                    FACTS.contains(&fact.as_str()) && kinds.keys().all(|kind| KINDS.contains(&kind.as_str()))
                });
                ensure!(known, "[{arch}.kernels.\"{series}\"] has an unknown hook");
            }
        }
        Ok(table)
    }

    /// What is expected of a kernel.
    pub(crate) fn of(&self, arch: &str, series: Series) -> Result<Expected> {
        let processor = self.0.get(arch).with_context(|| format!("nothing is expected of {arch} in the table"))?;
        let series = series.to_string();
        let mut hooks = processor.hooks.clone();
        for (fact, kinds) in processor.kernels.get(&series).into_iter().flatten() {
            hooks.entry(fact.clone()).or_default().extend(kinds.clone());
        }
        let skips = processor.skips.iter().filter(|skip| skip.series.is_empty() || skip.series.contains(&series));
        let preemptible = !processor.not_preemptible.contains(&series);
        Ok(Expected { hooks, skips: skips.cloned().collect(), preemptible })
    }
}

impl Expected {
    /// What a forced hook does.
    pub(crate) fn hook(&self, fact: &str, kind: &str) -> Option<&Hook> {
        self.hooks.get(fact)?.get(kind)
    }

    /// Whether a test cannot be run in a run.
    pub(crate) fn skips(&self, run: &str, test: &str) -> bool {
        let applies = |skip: &Skip| {
            skip.tests.iter().any(|one| one == test) && (skip.runs.is_empty() || skip.runs.iter().any(|one| one == run))
        };
        self.skips.iter().any(applies)
    }

    /// The kind of hook that the sensor takes by itself: the first that works, kprobes in front where others can be preempted.
    pub(crate) fn chosen(&self, fact: &str) -> &'static str {
        let order = if self.preemptible { ["kprobe", "fentry", "tracepoint"] } else { KINDS };
        order.into_iter().find(|kind| self.hook(fact, kind) == Some(&Hook::Works)).unwrap_or("none")
    }

    /// Whether a forced hook misses some of several events at the same moment.
    pub(crate) fn interrupted(&self, kind: &str) -> bool {
        self.preemptible && kind == INTERRUPTED
    }

    /// What each run must find attached, by fact.
    pub(crate) fn attached(&self, run: &str, fact: &str) -> &str {
        match KINDS.into_iter().find(|kind| *kind == run) {
            Some(kind) if self.hook(fact, kind) == Some(&Hook::Works) => kind,
            _ => self.chosen(fact),
        }
    }

    /// A run with the hooks that the sensor chooses, one for each other kind of hook, and the hooks that must be refused. Tests
    /// that have nothing to do with the hooks are in the first run alone.
    pub(crate) fn plan(&self, arguments: &[&str]) -> Plan {
        let mut plan = Plan::default();
        let run = |name: &str, hooks: Vec<String>| {
            let mut all = Vec::new();
            if !hooks.is_empty() {
                all.extend(["--hooks".to_owned(), hooks.join(",")]);
            }
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            if !hooks.is_empty() {
                all.push(NOT_ONCE.to_owned());
            }
            if self.interrupted(name) {
                all.extend(ONE_AT_A_TIME.map(str::to_owned));
            }
            Run { name: name.to_owned(), arguments: all }
        };
        plan.runs.push(run(AUTO, Vec::new()));
        for kind in KINDS {
            let mut forced = Vec::new();
            for fact in FACTS {
                match self.hook(fact, kind) {
                    Some(Hook::Refused(message)) => {
                        let [fact, kind] = [fact, kind].map(str::to_owned);
                        plan.refusals.push(Refusal { fact, kind, message: message.clone() });
                    }
                    _ => forced.push(format!("{fact}={kind}")),
                }
            }
            // Where the sensor takes this kind for everything by itself, the first run is the same.
            let chosen = FACTS.into_iter().all(|fact| self.chosen(fact) == kind);
            if !forced.is_empty() && !chosen {
                plan.runs.push(run(kind, forced));
            }
        }
        plan
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::machine::PROCESSORS;
    use super::*;

    const TEXT: &str = r#"
        [x]
        not_preemptible = ["6.1", "6.12"]
        [x.hooks]
        connect = { fentry = "works", kprobe = "works", tracepoint = "works" }
        accept = { fentry = "works", kprobe = "works", tracepoint = "works" }
        [x.kernels."6.1"]
        accept = { fentry = { refused = "524" } }
        [[x.skips]]
        tests = ["always", "ever"]
        why = "so"
        [[x.skips]]
        tests = ["once"]
        series = ["6.1"]
        runs = ["kprobe"]
        why = "so"
    "#;

    pub(crate) fn of(series: &str) -> Expected {
        Table::parse(TEXT).unwrap().of("x", series.parse().unwrap()).unwrap()
    }

    #[test]
    fn exceptions_are_those_of_their_series() {
        let (old, new) = (of("6.1"), of("6.12"));
        assert_eq!(old.hook("accept", "fentry"), Some(&Hook::Refused("524".to_owned())));
        assert_eq!(old.hook("accept", "kprobe"), Some(&Hook::Works));
        assert_eq!(new.hook("accept", "fentry"), Some(&Hook::Works));
        assert_eq!((old.chosen("accept"), new.chosen("accept"), old.chosen("connect")), ("kprobe", "fentry", "fentry"));
        assert!(
            old.skips("auto", "always")
                && old.skips("auto", "ever")
                && new.skips("auto", "always")
                && !new.skips("auto", "never")
        );
        assert!(old.skips("kprobe", "once") && !old.skips("auto", "once") && !new.skips("kprobe", "once"));
    }

    #[test]
    fn every_kind_is_run_or_refused() {
        let plan = of("6.1").plan(&["not:x"]);
        let runs: Vec<_> = plan.runs.iter().map(|run| format!("{} {}", run.name, run.arguments.join(" "))).collect();
        let expected = [
            "auto not:x",
            "fentry --hooks connect=fentry not:x not:once",
            "kprobe --hooks connect=kprobe,accept=kprobe not:x not:once",
            "tracepoint --hooks connect=tracepoint,accept=tracepoint not:x not:once",
        ];
        assert_eq!(runs, expected);
        assert_eq!(plan.refusals.len(), 1);
        let preemptible = of("7.0").plan(&["--jobs", "3"]);
        let runs: Vec<_> = preemptible.runs.iter().map(|run| run.arguments.join(" ")).collect();
        let expected = [
            "--jobs 3",
            "--hooks connect=fentry,accept=fentry --jobs 3 not:once --jobs 1 not:crowd",
            "--hooks connect=tracepoint,accept=tracepoint --jobs 3 not:once",
        ];
        assert_eq!(runs, expected, "kprobes are what the sensor takes there");
        assert_eq!(of("6.1").attached("fentry", "accept"), "kprobe");
        assert_eq!(of("6.1").attached("fentry", "connect"), "fentry");
    }

    #[test]
    fn gaps_and_mistakes_are_named() {
        let error = |from: &str, to: &str| format!("{:#}", Table::parse(&TEXT.replace(from, to)).unwrap_err());
        assert!(error("fentry = \"works\", kprobe = \"works\", ", "").contains("fentry"));
        assert!(error("\"6.1\"]\n", "\"six\"]\n").contains("six"));
        assert!(error("accept = { fentry = { r", "close = { fentry = { r").contains("6.1"));
        assert!(error("why", "because").contains("because"));
        assert!(Table::parse(TEXT).unwrap().of("y", "6.1".parse().unwrap()).is_err());
    }

    #[test]
    fn the_committed_table_is_sound() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let table = Table::read(root).unwrap();
        for processor in PROCESSORS {
            table.of(processor.arch, "6.1".parse().unwrap()).unwrap();
        }
    }
}
