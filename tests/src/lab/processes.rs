//! Which processes live in a lab.

use crate::actor::step::Arg;
use crate::field;
use crate::lab::Lab;
use crate::wait::until;
use anyhow::{Context, Result};

impl Lab {
    /// Whether a process lives in the lab.
    pub(crate) fn holds(&self, pid: u32) -> bool {
        self.namespaces.hold(pid).unwrap_or(false)
    }

    /// The processes that live in the lab, with their arguments.
    pub(crate) fn processes(&self) -> Result<Vec<(u32, Vec<Arg>)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if !self.holds(pid) {
                continue;
            }
            // A process that has ended meanwhile is none.
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
            let line = line.strip_suffix(b"\0").unwrap_or(&line);
            found.push((pid, line.split(|byte| *byte == 0).map(|arg| Arg(arg.to_vec())).collect()));
        }
        Ok(found)
    }

    /// Waits for a process of the lab with exactly these arguments; its number. A child that such a process has forked
    /// shows the same arguments, and is not meant.
    pub(crate) fn process(&self, args: &[&str]) -> Result<u32> {
        let wanted: Vec<Arg> = args.iter().copied().map(Arg::from).collect();
        let found = until(&format!("a process called {args:?}"), || {
            let all = self.processes()?.into_iter().filter(|(_, args)| *args == wanted);
            let all: Vec<u32> = all.map(|(pid, _)| pid).collect();
            Ok(all.iter().copied().find(|pid| parent_of(*pid).is_some_and(|parent| !all.contains(&parent))))
        });
        found.with_context(|| format!("the lab's programs have written:\n{:.2000}", self.output()))
    }
}

/// The parent of a process that has not ended.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field::number(&status, "PPid")?.try_into().ok()
}
