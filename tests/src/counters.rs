//! The counters that a sensor reports when it ends, and the law that they obey.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// Hook to `seen` or `<fate>_<cause>` to number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters(BTreeMap<String, BTreeMap<String, u64>>);

impl Counters {
    /// From the log line's field.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map(Self).with_context(|| format!("counters: {text}"))
    }

    /// One of them.
    pub(crate) fn get(&self, hook: &str, name: &str) -> Result<u64> {
        self.0.get(hook).and_then(|of| of.get(name)).copied().with_context(|| format!("no counter {hook} {name}"))
    }

    /// The sum of those of a hook that begin so.
    pub(crate) fn sum(&self, hook: &str, prefix: &str) -> u64 {
        self.0.get(hook).into_iter().flatten().filter(|(name, _)| name.starts_with(prefix)).map(|(_, n)| n).sum()
    }

    /// Nothing was lost.
    pub(crate) fn no_loss(&self) -> Result<()> {
        let lost: Vec<_> = self.0.iter().filter(|(hook, _)| self.sum(hook, "lost_") != 0).collect();
        if lost.is_empty() { Ok(()) } else { bail!("records were lost: {lost:?}") }
    }

    /// What every hook has seen it has also filtered, held back, sent or lost.
    pub(crate) fn balance(&self) -> Result<()> {
        let mut hooks = 0;
        for (hook, counters) in &self.0 {
            let Some(seen) = counters.get("seen") else { continue };
            hooks += 1;
            let told: u64 = ["filtered_", "unarmed_", "sent_", "lost_"].map(|fate| self.sum(hook, fate)).iter().sum();
            if *seen != told {
                bail!("{hook}: {seen} seen, but {told} accounted for: {counters:?}");
            }
        }
        for hook in ["connect", "exec"] {
            self.get(hook, "seen")?;
        }
        if hooks == 0 {
            bail!("no hook has counters");
        }
        Ok(())
    }
}

/// The counters of a log line, if it reports them.
pub(crate) fn reported(line: &Value) -> Option<&str> {
    let fields = line.get("fields").unwrap_or(line);
    let message = fields.get("message")?.as_str()?;
    (message == "counters").then(|| fields.get("counters")?.as_str()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"connect": {"seen": 3, "filtered_name": 1, "sent_sent": 2, "lost_ring_full": 0},
        "exec": {"seen": 1, "unarmed_never": 1}, "pending": {"note_armed": 2}}"#;

    #[test]
    fn a_missing_event_is_noticed() {
        Counters::parse(GOOD).unwrap().balance().unwrap();
        let less = GOOD.replace("\"filtered_name\": 1", "\"filtered_name\": 0");
        assert!(Counters::parse(&less).unwrap().balance().is_err());
    }

    #[test]
    fn a_hook_without_counters_is_noticed() {
        assert!(Counters::parse(r#"{"exec": {"seen": 0}}"#).unwrap().balance().is_err());
    }

    #[test]
    fn a_loss_is_noticed() {
        let lost = GOOD.replace("\"sent_sent\": 2, \"lost_ring_full\": 0", "\"sent_sent\": 1, \"lost_ring_full\": 1");
        let lost = Counters::parse(&lost).unwrap();
        lost.balance().unwrap();
        assert!(lost.no_loss().is_err());
    }
}
