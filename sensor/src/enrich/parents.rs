//! The arguments of parent programs (socat), as they were when the program was executed.
//!
//! A child that executes a shell is judged by its parent's arguments, which by then may be rewritten or gone. A process that was
//! only forked runs the program of the ancestor that executed it, so the look goes up the ancestors.

use crate::event::{Args, BootTime, Exec, Lineage, ProcessKey};
use lru::LruCache;
use std::num::NonZeroUsize;

/// Processes that are remembered; beyond, the one heard of longest ago is forgotten.
const PROCESSES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// Executions that are remembered of one process.
const EXECUTIONS: usize = 4;
/// /proc gives the start of a process in units of 10 ms (`USER_HZ` is 100 on all supported machines), so all are kept by that.
const TICK_NS: u64 = 10_000_000;

/// A program that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// When; 0 if it ran before the sensor.
    pub at: BootTime,
    /// Its arguments.
    pub args: Args,
    /// Whether they were recorded at the execution, not read from /proc later.
    pub recorded: bool,
}

/// The executions that are remembered.
#[derive(Debug)]
pub struct Parents {
    processes: LruCache<(u32, u64), Vec<Program>>,
}

impl Default for Parents {
    fn default() -> Self {
        Self { processes: LruCache::new(PROCESSES) }
    }
}

impl Parents {
    /// Remembers an execution of the parent program.
    pub fn executed(&mut self, exec: &Exec) {
        let Exec { at, process, args, .. } = exec;
        self.insert(*process, Program { at: *at, args: args.clone(), recorded: true });
    }

    /// Remembers a parent program that ran before the sensor; its start may be known to 10 ms only.
    pub fn found(&mut self, process: ProcessKey, args: Args) {
        self.insert(process, Program { at: BootTime(0), args, recorded: false });
    }

    fn insert(&mut self, process: ProcessKey, mut program: Program) {
        // What was not copied cannot be searched.
        program.args.unsearched |= program.args.truncated;
        let programs = self.processes.get_or_insert_mut(key(process), Vec::new);
        if programs.len() == EXECUTIONS {
            programs.remove(0);
        }
        programs.push(program);
    }

    /// The program that the parent of a process was running when the process was forked.
    pub fn program(&mut self, process: ProcessKey, lineage: &Lineage) -> Option<&Program> {
        // Each ancestor forked the one before it in the chain when that one started.
        let forks = std::iter::once(process.start).chain(lineage.ancestors.iter().map(|ancestor| ancestor.key.start));
        let (key, place) = lineage.ancestors.iter().zip(forks).find_map(|(ancestor, forked)| {
            let key = key(ancestor.key);
            let place = self.processes.get(&key)?.iter().rposition(|program| program.at <= forked)?;
            Some((key, place))
        })?;
        self.processes.get(&key)?.get(place)
    }
}

fn key(process: ProcessKey) -> (u32, u64) {
    (process.tgid, process.start.0 / TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::surroundings::Surroundings;
    use crate::event::{Ancestor, Executable, PathState, Reason};

    fn process(tgid: u32, start_ms: u64) -> ProcessKey {
        ProcessKey { tgid, start: BootTime(start_ms * 1_000_000) }
    }

    fn ancestors(keys: &[ProcessKey]) -> Lineage {
        let ancestor =
            |key: &ProcessKey| Ancestor { key: *key, uid: 0, comm: b"socat".to_vec(), exe: b"socat".to_vec() };
        Lineage { ancestors: keys.iter().map(ancestor).collect(), more: false }
    }

    fn exec(process: ProcessKey, at_ms: u64, arg: &str) -> Exec {
        Exec {
            at: BootTime(at_ms * 1_000_000),
            process,
            old_tid: process.tgid,
            uid: 0,
            gid: 0,
            euid: 0,
            loginuid: None,
            comm: b"socat".to_vec(),
            executable: Executable {
                name: b"socat".to_vec(),
                path: b"/usr/bin/socat".to_vec(),
                state: PathState::Whole,
            },
            args: Args { copied: vec![arg.as_bytes().to_vec()], count: 1, ..Args::default() },
            lineage: Lineage::default(),
            parent_executable: Executable { name: Vec::new(), path: Vec::new(), state: PathState::Unknown },
            streams: Default::default(),
            surroundings: Surroundings::default(),
            reason: Reason::Parent,
            generations: 0,
            connection: None,
        }
    }

    fn argument(parents: &mut Parents, child: ProcessKey, chain: &[ProcessKey]) -> Option<String> {
        let program = parents.program(child, &ancestors(chain))?;
        Some(String::from_utf8(program.args.copied[0].clone()).unwrap())
    }

    #[test]
    fn a_forked_parent_has_the_arguments_of_the_ancestor_that_executed() {
        let mut parents = Parents::default();
        let (main, fork, child) = (process(10, 1000), process(11, 3000), process(12, 4000));
        parents.executed(&exec(main, 2000, "first"));
        assert_eq!(argument(&mut parents, child, &[main]).as_deref(), Some("first"));
        assert_eq!(argument(&mut parents, child, &[fork, main]).as_deref(), Some("first"));
    }

    #[test]
    fn what_an_ancestor_executed_after_the_fork_does_not_count() {
        let mut parents = Parents::default();
        let (main, fork, child) = (process(10, 1000), process(11, 3000), process(12, 9000));
        parents.executed(&exec(main, 2000, "first"));
        parents.executed(&exec(main, 5000, "second"));
        assert_eq!(argument(&mut parents, child, &[fork, main]).as_deref(), Some("first"));
        assert_eq!(argument(&mut parents, child, &[main]).as_deref(), Some("second"));
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let mut parents = Parents::default();
        parents.executed(&exec(process(10, 1000), 2000, "first"));
        assert_eq!(argument(&mut parents, process(12, 9000), &[process(10, 8000)]), None);
    }

    #[test]
    fn one_found_in_proc_is_known_by_its_tick() {
        let mut parents = Parents::default();
        let args = Args { copied: vec![b"old".to_vec()], count: 1, truncated: true, ..Args::default() };
        parents.found(process(10, 1230), args);
        let child = ancestors(&[process(10, 1237)]);
        let program = parents.program(process(12, 9000), &child).unwrap();
        assert!(program.args.unsearched && !program.recorded);
    }

    #[test]
    fn memory_is_bounded() {
        let mut parents = Parents::default();
        for tgid in 0..10_000 {
            for at in 0..10 {
                parents.executed(&exec(process(tgid, 1000), 2000 + at, "x"));
            }
        }
        assert_eq!(parents.processes.len(), PROCESSES.get());
        assert!(parents.processes.iter().all(|(_, programs)| programs.len() == EXECUTIONS));
    }
}
