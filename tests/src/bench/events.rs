//! The user side's work for events, as often as one wants: what `cargo xtask bench user` counts the instructions of. Counted for N and
//! for 2N events, the difference is that of N, whatever else the program does.
//!
//! The records are those that fuzzing begins with (`tests/fuzz/corpus/record`): a shell that has connected, and its execution.

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use sensor::detect::correlator::{Correlator, Outcome};
use sensor::detect::rule::{Parameters, RULES};
use sensor::event::decode;
use sensor::event::ecs::{Extras, Origin};
use sensor::event::facts::Facts;
use sensor::event::{BootTime, WallOffset, WallTime};
use serde_json::json;
use std::hint::black_box;

const CONNECTION: &[u8] = include_bytes!("../../fuzz/corpus/record/attempted");
const EXECUTION: &[u8] = include_bytes!("../../fuzz/corpus/record/exec");
/// As many as the sensor remembers by default.
const PROCESSES: usize = 65_536;

/// Milliseconds from one connection to the next: more than a rule's span.
const APART: u64 = 10_000;

/// What is done for each event.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Stage {
    /// A connection's record becomes an event.
    DecodeConnection,
    /// An execution's record becomes an event.
    DecodeExecution,
    /// A connection's event becomes a line of JSON.
    EncodeConnection,
    /// An execution's event becomes a line of JSON.
    EncodeExecution,
    /// What rules ask of a connection becomes a document.
    FactsConnection,
    /// What rules ask of an execution becomes a document.
    FactsExecution,
    /// The documents of a connection and of an execution are judged, and match.
    Correlate,
}

/// Does it so often.
pub(crate) fn perform(stage: Stage, times: u64) -> Result<()> {
    let origin = origin();
    let extras = Extras::default();
    let connection = decode::connection(CONNECTION)?;
    let execution = decode::exec(EXECUTION)?;
    match stage {
        Stage::DecodeConnection => {
            for _ in 0..times {
                black_box(decode::connection(black_box(CONNECTION))?);
            }
        }
        Stage::DecodeExecution => {
            for _ in 0..times {
                black_box(decode::exec(black_box(EXECUTION))?);
            }
        }
        Stage::EncodeConnection => {
            for number in 0..times {
                black_box(origin.connection(black_box(&connection), number, &extras).to_string());
            }
        }
        Stage::EncodeExecution => {
            for number in 0..times {
                black_box(origin.exec(black_box(&execution), number, &extras).to_string());
            }
        }
        Stage::FactsConnection => {
            for number in 0..times {
                black_box(origin.connection_facts(black_box(&connection), number));
            }
        }
        Stage::FactsExecution => {
            for number in 0..times {
                black_box(origin.exec_facts(black_box(&execution), number, &extras));
            }
        }
        Stage::Correlate => {
            let rule = RULES.first().context("no rule")?;
            let mut correlator = Correlator::new(rule, Parameters::default(), PROCESSES);
            let documents = [origin.connection(&connection, 1, &extras), origin.exec(&execution, 2, &extras)];
            for number in 0..times {
                let [connection, execution] =
                    documents.each_ref().map(|document| Facts::from_value(black_box(document)));
                let (mut connection, mut execution) = (connection?, execution?);
                // Another connection each time, later than what was before, or it would be known already.
                connection.arm = Some(number);
                later(&mut connection, APART * number);
                later(&mut execution, APART * number);
                let pending = correlator.push(&connection, number);
                ensure!(matches!(pending, Outcome::Pending), "the connection: {pending:?}");
                match correlator.push(&execution, number) {
                    Outcome::Match(found) if found.connection.is_some_and(|(connection, _)| connection == number) => {}
                    outcome => bail!("the execution: {outcome:?}"),
                }
            }
        }
    }
    Ok(())
}

/// Moves an event by milliseconds.
fn later(facts: &mut Facts<'_>, milliseconds: u64) {
    facts.time.0 += i64::try_from(milliseconds).unwrap_or(i64::MAX);
    if let Some(boot) = &mut facts.boot {
        boot.at.0 += milliseconds * 1_000_000;
    }
}

fn origin() -> Origin {
    let id = "0123456789abcdef0123456789abcdef";
    Origin {
        host_id: id.to_owned(),
        boot_id: "3b6f1c5e-0000-4000-8000-5d1a2b3c4d5e".to_owned(),
        host: json!({"id": id, "name": "host", "hostname": "host"}),
        offset: WallOffset::between(BootTime(5_000_000_000), WallTime(1_780_000_001_700_000_000)),
        hooks: "exec=tracepoint connect=fentry accept=fentry".to_owned(),
        degraded: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_can_be_repeated() {
        for stage in Stage::value_variants() {
            perform(*stage, 50).unwrap();
        }
    }
}
