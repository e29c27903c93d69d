//! What no record holds: users, containers, and what programs parents run, looked up when an alert is made or an event is written.

use super::Pipeline;
use crate::detect::rule::SOCAT;
use crate::enrich::parents::Program;
use crate::enrich::{container, process};
use crate::event::ecs::{Extras, Known, ParentProgram, ParentSource};
use crate::event::{Ancestor, Args, Lineage, ProcessKey};
use crate::kernel::ring::Fill;

/// Arguments of an ancestor that are shown where they decide nothing, and their bytes.
const SHOWN_ARGS: usize = 64;
const SHOWN_BYTES: usize = 4096;

impl Pipeline {
    /// What the record does not hold. From /proc, late: the process may be gone by now.
    pub(super) fn extras(&mut self, uid: u32, process: ProcessKey, lineage: Option<&Lineage>) -> Extras {
        let cgroup = process::cgroup(&self.proc, process).ok();
        let container = cgroup.and_then(|cgroup| container::id(&cgroup).map(str::to_owned));
        Extras {
            user: self.users.name(uid).map(str::to_owned),
            names: container.as_ref().map(|id| self.runtimes.names(id)).unwrap_or_default(),
            container,
            parent: lineage.and_then(|lineage| {
                let deciding = self.deciding_parent(process, lineage);
                deciding.or_else(|| self.any_parent(lineage))
            }),
        }
    }

    /// The program of a parent whose arguments decide: those of its execution, or those that it shows now. If nobody knows them
    /// they count as if they matched.
    pub(super) fn deciding_parent(&mut self, process: ProcessKey, lineage: &Lineage) -> Option<ParentProgram> {
        let parent = lineage.ancestors.first()?;
        if parent.comm != SOCAT.as_bytes() && parent.exe != SOCAT.as_bytes() {
            return None;
        }
        if let Some(program) = self.parents.program(process, lineage) {
            let Program { args, recorded, .. } = program.clone();
            let source = if recorded { ParentSource::Exec } else { ParentSource::Proc };
            return Some(ParentProgram { args, source });
        }
        let unknown = Args { truncated: true, unsearched: true, ..Args::default() };
        let args = self.onlooker.args(parent.key).map_or(unknown, |args| from_proc(args, true));
        Some(ParentProgram { args, source: ParentSource::Proc })
    }

    /// The program of a parent that decides nothing, as it shows itself now; of its arguments the first few.
    fn any_parent(&mut self, lineage: &Lineage) -> Option<ParentProgram> {
        self.onlooker.args(lineage.ancestors.first()?.key).map(shown)
    }

    /// How full the buffer of executions is: while it fills, no look at a process holds them up for long.
    pub fn watch(&mut self, executions: Fill) {
        self.onlooker.watch(executions);
    }

    /// What is known of the ancestors, in their order; `parent` is what is known of the first one's program already.
    pub(super) fn ancestors(&mut self, lineage: &Lineage, parent: Option<&ParentProgram>) -> Vec<Known> {
        let ancestors = lineage.ancestors.iter().skip(usize::from(parent.is_some()));
        let keys: Vec<ProcessKey> = ancestors.map(|ancestor| ancestor.key).collect();
        let looked_up = self.onlooker.args_of(&keys).into_iter().map(|args| args.map(shown));
        let programs = parent.map(|parent| Some(parent.clone())).into_iter().chain(looked_up);
        let with_user = |(ancestor, program): (&Ancestor, _)| Known {
            user: self.users.name(ancestor.uid).map(str::to_owned),
            program,
        };
        lineage.ancestors.iter().zip(programs).map(with_user).collect()
    }
}

/// The program of an ancestor that decides nothing, as it shows itself now; of its arguments the first few.
fn shown(mut args: process::Args) -> ParentProgram {
    let mut room = SHOWN_BYTES;
    let fits = |arg: &&Vec<u8>| {
        room = room.saturating_sub(arg.len() + 1);
        room > 0
    };
    let shown = args.args.iter().take(SHOWN_ARGS).take_while(fits).count();
    let count = u32::try_from(args.args.len()).unwrap_or(u32::MAX);
    args.truncated |= shown < args.args.len();
    args.args.truncate(shown);
    ParentProgram { args: Args { count, ..from_proc(args, false) }, source: ParentSource::Proc }
}

/// Arguments as /proc shows them; a part that was not read counts as unsearched where arguments decide.
#[must_use]
pub fn from_proc(args: process::Args, decides: bool) -> Args {
    let process::Args { args, truncated } = args;
    let count = u32::try_from(args.len()).unwrap_or(u32::MAX);
    Args { copied: args, count, truncated, unsearched: truncated && decides, ..Args::default() }
}
