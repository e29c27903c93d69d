//! Whether the service misses anything while it is started anew: reverse shells are made all the time, and each is to be alerted, once.

use super::unit::{Unit, run, shell, until};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What it says when it goes on with another one's kernel side.
const TAKEN_OVER: &str = "taken over from the sensor before";
const UNWATCHED: &str = "nobody has watched";
/// No more than can be told apart in the journal.
const MOST: usize = 10_000;
/// Between two shells: while nobody reads, the executions of some seconds must have room in their buffer, on a fast host too.
const PAUSE: Duration = Duration::from_millis(5);

/// Does what comes `first`, and then makes reverse shells while `act` is done, in all of which the service is started anew, once; how many, how long the longest time was in which none was made, so
/// that one without a watch must have been shorter, and what the service says of the time.
pub(super) fn without_a_gap(
    unit: &mut Unit,
    first: impl FnOnce(&mut Unit) -> Result<()>,
    act: impl FnOnce(&mut Unit) -> Result<()>,
) -> Result<String> {
    let (taken_over, unwatched) = (unit.said(TAKEN_OVER)?, unit.said(UNWATCHED)?);
    first(unit)?;
    let (word, number) = while_shells_are_made(unit, act)?;
    // The last one of all tells that those before have been told.
    unit.alerts()?;
    let alerts = alerts_of(&word)?;
    let mut times: Vec<Timestamp> = Vec::new();
    for shell in 0..number {
        let told = alerts.get(&name(&word, shell)).map_or(&[][..], Vec::as_slice);
        ensure!(told.len() == 1, "shell {shell} of {number} is alerted {} times", told.len());
        times.extend_from_slice(told);
    }
    let now = (unit.said(TAKEN_OVER)?, unit.said(UNWATCHED)?);
    ensure!(
        now == (taken_over + 1, unwatched),
        "{taken_over} times taken over, {unwatched} times unwatched, now {now:?}"
    );
    let pauses = times.windows(2).filter_map(|two| Some(two.last()?.duration_since(*two.first()?).as_millis()));
    let longest = pauses.max().context("a single shell")?;
    let said = unit.last_said(TAKEN_OVER)?;
    Ok(format!("0 of {number} shells missed, of which one was made every {longest} ms at least; {said}"))
}

fn name(word: &str, shell: usize) -> String {
    format!("{word}-{shell}.")
}

/// The word in the names of the shells, and how many were made.
fn while_shells_are_made(unit: &mut Unit, act: impl FnOnce(&mut Unit) -> Result<()>) -> Result<(String, usize)> {
    let (end, made, word) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), unit.marker());
    let shells = thread::spawn({
        let (end, made, word) = (Arc::clone(&end), Arc::clone(&made), word.clone());
        move || -> Result<usize> {
            let mut number = 0;
            while !end.load(Ordering::Acquire) && number < MOST {
                shell(&name(&word, number))?;
                number += 1;
                made.store(true, Ordering::Release);
                thread::sleep(PAUSE);
            }
            Ok(number)
        }
    });
    let done = until("the first shell", || Ok(made.load(Ordering::Acquire).then_some(()))).and_then(|()| act(unit));
    end.store(true, Ordering::Release);
    let number = shells.join().map_err(|_| anyhow::anyhow!("the thread that makes shells has panicked"))??;
    done?;
    ensure!(number < MOST, "{number} shells, and the service was not started by then");
    Ok((word, number))
}

/// When each shell with this word in its name was executed, by its alerts.
fn alerts_of(word: &str) -> Result<BTreeMap<String, Vec<Timestamp>>> {
    let mut told = BTreeMap::<_, Vec<_>>::new();
    let fields = ["journalctl", "--unit=sensor", "--all", "--output=cat", "--output-fields=SENSOR_ALERT"];
    for line in run(&[&fields[..], &["SENSOR_RULE_ID=reverse-shell-via-child"]].concat())?.lines() {
        let alert: Value = serde_json::from_str(line).context("SENSOR_ALERT")?;
        let text = |place: &str| alert.pointer(place).and_then(Value::as_str).unwrap_or_default();
        let name = text("/process/args/2");
        if name.starts_with(&format!("{word}-")) {
            told.entry(name.to_owned()).or_default().push(text("/@timestamp").parse().context("@timestamp")?);
        }
    }
    Ok(told)
}
