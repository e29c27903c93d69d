//! Looks at /proc that do not wait for ever.
//!
//! Reading the command line of a process takes the lock of its memory, which its owner can have held for as long as they like, for
//! instance by a page of a FUSE file that is never delivered. So the look is made by a thread of its own; one that
//! does not come back in time is left behind, and few are.

use super::patience::{LEAST, Patience};
use super::proc::Proc;
use super::process::{self, Args};
use crate::event::ProcessKey;
use crate::kernel::ring::Fill;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How long a look may take if few took long lately and nothing else is to be done: a healthy one takes a tenth of a millisecond, on a
/// host at full load tens of them.
const PATIENCE: Duration = Duration::from_millis(250);
/// After how much of it there is another question whether one has to hurry.
const SLICE: Duration = Duration::from_millis(5);
/// A buffer of which this part is unread is filling.
const FILLING: u64 = 16;
/// Threads at most, those that were left behind included.
const THREADS: usize = 4;

/// Someone who looks.
#[derive(Debug)]
pub struct Onlooker {
    proc: Proc,
    patience: Patience,
    /// Where what happens meanwhile waits to be read.
    executions: Option<Fill>,
    worker: Option<Worker>,
    /// Each thread holds a copy while it lives.
    alive: Arc<()>,
}

#[derive(Debug)]
struct Worker {
    ask: Sender<Vec<ProcessKey>>,
    /// One for each process, in their order.
    answer: Receiver<Option<Args>>,
}

impl Worker {
    /// The next answer, if it comes before the look has taken so long since it began; or since then, once there is need to hurry, what
    /// each may.
    fn answer(&self, begin: Instant, wait: Duration, hurried: impl Fn() -> bool) -> Option<Option<Args>> {
        loop {
            let allowed = if hurried() { wait.min(LEAST) } else { wait };
            let left = allowed.saturating_sub(begin.elapsed());
            match self.answer.recv_timeout(left.min(SLICE)) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) if left > SLICE => {}
                Err(_) => return None,
            }
        }
    }
}

impl Onlooker {
    /// Nobody looks yet.
    #[must_use]
    pub fn new(proc: Proc) -> Self {
        Self {
            proc,
            patience: Patience::new(PATIENCE, Instant::now()),
            executions: None,
            worker: None,
            alive: Arc::new(()),
        }
    }

    /// How full the buffer of executions is: while it fills, no look waits for longer than each may.
    pub fn watch(&mut self, executions: Fill) {
        self.executions = Some(executions);
    }

    /// The arguments of the process with this identity as /proc shows them now; `None` if there is no such process, it may not be
    /// looked at, or the look takes too long.
    pub fn args(&mut self, process: ProcessKey) -> Option<Args> {
        self.args_of(&[process]).pop().flatten()
    }

    /// The same of several, in their order, which together take no longer than one may: whoever keeps the look waiting hides itself and
    /// those behind it.
    pub fn args_of(&mut self, processes: &[ProcessKey]) -> Vec<Option<Args>> {
        let mut answers = Vec::with_capacity(processes.len());
        let asked =
            self.worker.take().or_else(|| self.hire()).filter(|worker| worker.ask.send(processes.to_vec()).is_ok());
        if let Some(worker) = asked {
            let begin = Instant::now();
            let wait = self.patience.begin(begin);
            let hurried = || self.executions.as_ref().is_some_and(|fill| fill.used() > fill.size() / FILLING);
            answers.extend(processes.iter().map_while(|_| worker.answer(begin, wait, hurried)));
            self.patience.end(Instant::now());
            match processes.get(answers.len()) {
                None => self.worker = Some(worker),
                Some(process) => {
                    let waited = begin.elapsed().as_millis();
                    tracing::warn!(pid = process.tgid, "a process cannot be looked at within {waited} ms");
                }
            }
        }
        answers.resize(processes.len(), None);
        answers
    }

    fn hire(&self) -> Option<Worker> {
        // One is held here.
        if Arc::strong_count(&self.alive) > THREADS {
            return None;
        }
        let (ask, questions) = channel();
        let (answers, answer) = channel();
        let (proc, alive) = (self.proc.clone(), Arc::clone(&self.alive));
        let work = move || {
            for process in questions.into_iter().flatten() {
                if answers.send(process::args_of(&proc, process).ok()).is_err() {
                    break;
                }
            }
            drop(alive);
        };
        Builder::new().name("onlooker".to_owned()).spawn(work).ok()?;
        Some(Worker { ask, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BootTime;
    use std::ffi::CString;
    use std::fs;
    use std::path::Path;

    /// A process whose command line nobody ever delivers: opening a named pipe waits for a writer.
    fn stuck(root: &Path, tgid: u32) -> ProcessKey {
        let directory = root.join(tgid.to_string());
        fs::create_dir(&directory).unwrap();
        let zeros = vec!["0"; 20].join(" ");
        fs::write(directory.join("stat"), format!("{tgid} (x) S 1 {zeros} 0 0 0 0")).unwrap();
        let pipe = CString::new(directory.join("cmdline").to_str().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        ProcessKey { tgid, start: BootTime(0) }
    }

    #[test]
    fn a_process_that_cannot_be_looked_at_is_left_and_few_threads_are() {
        let root = tempfile::tempdir().unwrap();
        let mut onlooker = Onlooker::new(Proc::at(root.path()));
        for tgid in 1..20 {
            let process = stuck(root.path(), tgid);
            assert!(onlooker.args(process).is_none());
        }
        assert!(Arc::strong_count(&onlooker.alive) <= THREADS + 1);
        // Whoever waits is let go, so that the test leaves no thread behind.
        for tgid in 1..20 {
            let pipe = root.path().join(format!("{tgid}/cmdline"));
            drop(fs::OpenOptions::new().read(true).write(true).open(pipe).unwrap());
        }
    }

    #[test]
    fn one_that_cannot_be_looked_at_hides_those_behind_it_alone() {
        let root = tempfile::tempdir().unwrap();
        let known = stuck(root.path(), 1);
        fs::remove_file(root.path().join("1/cmdline")).unwrap();
        fs::write(root.path().join("1/cmdline"), b"sh\0-c\0").unwrap();
        let (gone, stuck) = (ProcessKey { tgid: 9, ..known }, stuck(root.path(), 2));
        // A busy host may let it wait for longer than usual; the stuck one is waited for in any case.
        let patience = Patience::new(Duration::from_secs(2), Instant::now());
        let mut onlooker = Onlooker { patience, ..Onlooker::new(Proc::at(root.path())) };
        let seen: Vec<bool> =
            onlooker.args_of(&[known, gone, known, stuck, known]).iter().map(Option::is_some).collect();
        assert_eq!(seen, [true, false, true, false, false]);
        assert!(onlooker.args_of(&[]).is_empty());
        assert_eq!(onlooker.args(known).unwrap().args, [b"sh", b"-c"]);
        drop(fs::OpenOptions::new().read(true).write(true).open(root.path().join("2/cmdline")).unwrap());
    }

    #[test]
    fn who_is_in_a_hurry_gives_up_early() {
        let (ask, _questions) = channel();
        let (answers, answer) = channel();
        let worker = Worker { ask, answer };
        let begin = Instant::now();
        // The need comes up while it waits.
        assert!(worker.answer(begin, Duration::from_secs(60), || begin.elapsed() > LEAST * 2).is_none());
        assert!((LEAST * 2..Duration::from_secs(30)).contains(&begin.elapsed()));
        let begin = Instant::now();
        assert!(worker.answer(begin, LEAST * 3, || false).is_none());
        assert!(begin.elapsed() >= LEAST * 3);
        answers.send(None).unwrap();
        assert!(worker.answer(begin, Duration::ZERO, || true).is_some(), "what is there is taken");
    }

    #[test]
    fn this_process_is_seen() {
        let proc = Proc::live();
        let own = proc.open(std::process::id()).unwrap();
        let process = ProcessKey { tgid: std::process::id(), start: proc.start(own.stat.start_ticks) };
        // A busy host may let it wait for longer.
        let patience = Patience::new(Duration::from_secs(60), Instant::now());
        let mut onlooker = Onlooker { patience, ..Onlooker::new(proc) };
        for _ in 0..3 {
            assert!(!onlooker.args(process).unwrap().args.is_empty());
        }
        assert_eq!(Arc::strong_count(&onlooker.alive), 2);
    }
}
