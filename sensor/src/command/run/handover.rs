//! From one sensor to the next without a gap: the kernel side of the one goes on, kept by systemd, until that of the other is
//! attached, which then takes over what was recorded meanwhile.

use super::rings::{self, Rings};
use crate::enrich::clock;
use crate::event::{BootTime, WallTime};
use crate::health::losses::Losses;
use crate::kernel::counters::Snapshot;
use crate::kernel::earlier::{self, Earlier, Overlap};
use crate::kernel::error::LoadError;
use crate::kernel::load::Loaded;
use crate::kernel::ring::{Fill, Ring};
use crate::life::Interval;
use crate::pipeline::Pipeline;
use crate::service::store;
use crate::service::systemd::Systemd;
use anyhow::{Context as _, Result, ensure};
use sensor_common::format::FORMAT;
use sensor_common::settings::SPAN_SLACK_NS;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// What the names of all kept descriptors begin with.
const PREFIX: &str = "sensor.";

/// The name of descriptors that belong together: it says of which form what they hold is, and how many there are, so that none is
/// missing unnoticed.
fn name(number: usize) -> String {
    format!("{PREFIX}{FORMAT:016x}.{number}")
}

/// What an earlier sensor has left.
pub(super) struct Left {
    /// Everything that is kept has one of these names.
    names: BTreeSet<String>,
    earlier: Option<Earlier>,
}

/// What there was to take over.
pub(super) struct Taken {
    pub(super) overlap: Overlap,
    /// The time in which nobody has read what the kernel side recorded.
    pub(super) late: Option<Interval>,
}

/// Takes what systemd has kept of an earlier sensor. What is not whole, or of another form, is left unused, and that is said.
pub(super) fn left() -> Left {
    let kept = store::take_over(PREFIX);
    let names: BTreeSet<String> = kept.iter().map(|(name, _)| name.clone()).collect();
    let unused = |why: &str| tracing::warn!("the sensor before has left its kernel side, which cannot be used: {why}");
    let earlier = match whole(kept).map(Earlier::new) {
        Some(Ok(earlier)) => Some(earlier),
        Some(Err(error)) => {
            unused(&error.to_string());
            None
        }
        None => {
            if !names.is_empty() {
                unused("it is not whole, or of a version whose records are of another form");
            }
            None
        }
    };
    Left { names, earlier }
}

/// The descriptors that belong together, if none is missing.
fn whole(kept: Vec<(String, OwnedFd)>) -> Option<Vec<OwnedFd>> {
    let mut sets: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
    for (name, descriptor) in kept {
        sets.entry(name).or_default().push(descriptor);
    }
    sets.into_iter().find_map(|(of, set)| (of == name(set.len())).then_some(set))
}

impl Left {
    /// Whether there is a kernel side that has watched all the time.
    pub(super) fn watched(&self) -> bool {
        self.earlier.is_some()
    }

    /// What it has lost and nobody has told, and since when. What it loses once this sensor is attached, this one has.
    pub(super) fn lost(&self) -> Option<(Losses, BootTime)> {
        self.earlier.as_ref().map(Earlier::lost)
    }

    /// Takes over the connections of the last `span` and who has inherited them, now that this sensor is attached.
    pub(super) fn remember(&self, loaded: &mut Loaded, span: Duration) -> Result<(), LoadError> {
        let Some(earlier) = &self.earlier else { return Ok(()) };
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).saturating_add(SPAN_SLACK_NS);
        let since = BootTime(clock::now().0.0.saturating_sub(span));
        let now = || clock::now().0;
        loaded.remember(&earlier.pending(since), &[], now)?;
        // A process that is forked while the table is walked is not seen, and this side does not know its parent yet: it is the second time.
        for _ in 0..2 {
            loaded.remember(&[], &earlier.inherited(since), now)?;
        }
        Ok(())
    }

    /// Ends it, and hands on what it has recorded. The executions among it that happened `since` this sensor was being attached may
    /// come once more from this one's own kernel side. The earlier sensor has read until then.
    pub(super) fn end(
        self,
        systemd: &Systemd,
        pipeline: &mut Pipeline,
        since: BootTime,
        read_until: WallTime,
    ) -> Taken {
        for name in &self.names {
            if let Err(error) = systemd.let_go(name) {
                tracing::warn!("systemd still keeps {name} of the sensor before: {error}");
            }
        }
        let mut overlap = Overlap::default();
        let Some(earlier) = self.earlier else { return Taken { overlap, late: None } };
        let ((connections, of_connections), (executions, of_executions)) = earlier.end();
        let fills = [of_connections, of_executions];
        // What is written later this sensor's own kernel side has recorded too.
        let written = fills.each_ref().map(Fill::written);
        let behind = || fills.iter().zip(written).any(|(fill, written)| !fill.is_read_to(written));
        let mut rings = Rings::new(connections, executions);
        let before = pipeline.stats();
        let mut note = |record: &[u8]| {
            overlap.note(record, since);
            true
        };
        while rings.drain(pipeline, &mut note).unwrap_or_else(rings::given_up) && behind() {}
        let now = pipeline.stats();
        let late = Interval { from: read_until, to: clock::now().1 };
        tracing::info!(
            connections = now.connections - before.connections,
            executions = now.executions - before.executions,
            "taken over from the sensor before: {}",
            late.unread()
        );
        Taken { overlap, late: Some(late) }
    }
}

/// Has systemd keep this sensor's kernel side for the next one, which was being attached `since` then; whether it does, as far as
/// is known.
pub(super) fn leave(systemd: &Systemd, loaded: &Loaded, rings: [&Ring; 2], since: BootTime) -> bool {
    if !systemd.is_there() {
        return false;
    }
    loaded.counters.told(&Snapshot::default(), since);
    match keep(systemd, loaded, rings) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("the next start will not be without a gap: {error:#}");
            false
        }
    }
}

fn keep(systemd: &Systemd, loaded: &Loaded, rings: [&Ring; 2]) -> Result<()> {
    let attachments = earlier::attachments().context("/proc/self/fd")?;
    let hooks = loaded.choices.iter().filter(|choice| choice.candidate.is_some()).count();
    ensure!(attachments.len() >= hooks, "what keeps the programs attached is not found");
    let maps = loaded.maps().into_iter().chain(rings.map(|ring| ring.as_fd()));
    let all: Vec<_> = maps.chain(attachments.iter().map(OwnedFd::as_fd)).collect();
    systemd.keep(&name(all.len()), &all).context("systemd cannot be told")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, number: usize) -> Vec<(String, OwnedFd)> {
        (0..number).map(|_| (name.to_owned(), std::io::pipe().unwrap().0.into())).collect()
    }

    #[test]
    fn only_a_whole_kernel_side_is_taken_over() {
        assert_eq!(whole(kept(&name(3), 3)).unwrap().len(), 3);
        for number in [0, 1, 2, 4] {
            assert!(whole(kept(&name(3), number)).is_none(), "{number}");
        }
        let other = format!("{PREFIX}{:016x}.3", FORMAT ^ 1);
        assert!(whole(kept(&other, 3)).is_none(), "another form");
        let both = kept(&other, 3).into_iter().chain(kept(&name(2), 2)).collect();
        assert_eq!(whole(both).unwrap().len(), 2);
    }
}
