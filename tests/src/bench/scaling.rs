//! How the price of an execution grows: with connections that are remembered, with the length of the arguments, and with processes that live.
//!
//! Time of the program that sees executions, over an empty one beside it, as in [`crate::programs`]; each figure is the median of
//! undisturbed operations.

use crate::cost::actor::Actor;
use crate::cost::empty::Empty;
use crate::cost::program::Reading;
use crate::cost::side::Side;
use crate::cost::{COUNTED, prepare};
use crate::statistics::median;
use crate::{Setting, place, tell};
use anyhow::{Context, Result, ensure};
use aya::maps::HashMap;
use aya::sys::{Stats, enable_stats};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal, waitpid};
use sensor::kernel::hook::Fact;
use sensor_common::record::Arm;
use std::thread::sleep;
use std::time::Duration;

/// Operations for a figure; half of them must be undisturbed.
const OPERATIONS: usize = 100;
/// How many connections are remembered: the last one is nearly all that there is room for.
const REMEMBERED: [u32; 3] = [1, 10_000, 30_000];
/// Bytes of all arguments together.
const LENGTHS: [usize; 5] = [100, 1000, 4000, 20_000, 128_000];
/// One argument may not be longer (`MAX_ARG_STRLEN` less the null byte is more).
const ARGUMENT: usize = 20_000;
const ALIVE: [usize; 3] = [10, 1000, 10_000];

/// Measures along each of the three.
pub(crate) fn measure(setting: &Setting) -> Result<()> {
    place::enter()?;
    prepare()?;
    let _statistics = enable_stats(Stats::RunTime).context("statistics of BPF programs")?;
    let mut lab = Lab::new(setting.times(OPERATIONS))?;
    for count in REMEMBERED {
        lab.remember(count)?;
        let subject = format!("{count} connections remembered");
        let other = lab.cost(&mut |shell| shell.execute(&["true"], 1))?;
        tell::figure(&subject, "execution of no shell", other, "ns", String::new())?;
        let shell = lab.cost(&mut |shell| shell.execute(&["dash", "-c", ":"], 1))?;
        tell::figure(&subject, "execution of a shell without one", shell, "ns", String::new())?;
    }
    for length in LENGTHS {
        let text = "x".repeat(length);
        let long: Vec<_> = text.as_bytes().chunks(ARGUMENT).filter_map(|part| std::str::from_utf8(part).ok()).collect();
        let args: Vec<_> = ["sh", "-i"].into_iter().chain(long).collect();
        let cost = lab.cost(&mut |shell| shell.connect_and_execute(COUNTED.into(), &args, 1))?;
        let subject = format!("{length} bytes of arguments");
        tell::figure(&subject, "execution of an armed shell, recorded", cost, "ns", String::new())?;
    }
    for count in ALIVE {
        let count = setting.times(count);
        let _crowd = Crowd::new(count)?;
        let cost = lab.cost(&mut |shell| shell.execute(&["true"], 1))?;
        let subject = format!("{count} more processes");
        tell::figure(&subject, "execution of no shell", cost, "ns", String::new())?;
    }
    Ok(())
}

/// The program that sees executions, an empty one beside it, and who executes.
struct Lab {
    side: Side,
    program: &'static str,
    empty: Empty,
    shell: Actor,
    operations: usize,
}

impl Lab {
    fn new(operations: usize) -> Result<Self> {
        let mut side = Side::load(0, &mut |_| Ok(()))?;
        let program =
            side.programs(Fact::Exec).first().copied().context("the first choice for executions is refused")?;
        let attachments: Vec<_> = side.attachments().into_iter().filter(|one| one.program == program).collect();
        let empty = Empty::attach(&attachments)?;
        Ok(Self { side, program, empty, shell: Actor::start("bash")?, operations })
    }

    /// Has it remember so many connections: copies of one, as if of other processes.
    fn remember(&mut self, count: u32) -> Result<()> {
        self.shell.connect(COUNTED)?;
        let map = self.side.prepared.ebpf().map_mut("PENDING").context("no map PENDING")?;
        let mut pending = HashMap::<_, u32, [u8; size_of::<Arm>()]>::try_from(map)?;
        let (_, arm) = pending.iter().next().context("the connection is not remembered")??;
        // Above the largest number that a process can have (`PID_MAX_LIMIT`).
        (1..count).try_for_each(|number| pending.insert((1 << 22) + number, arm, 0)).context("PENDING")
    }

    /// What one operation costs there, while something is armed.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one operation")]
    fn cost(&mut self, operation: &mut dyn FnMut(&mut Actor) -> Result<()>) -> Result<f64> {
        let mut costs = Vec::new();
        for _ in 0..self.operations {
            self.shell.connect(COUNTED)?;
            self.side.drain();
            let before = self.read()?;
            operation(&mut self.shell)?;
            sleep(Duration::from_millis(1));
            let Reading { mine, empty } = self.read()? - before;
            if mine.count == 1 && empty.count == 1 {
                costs.push(mine.time_ns as f64 - empty.time_ns as f64);
            }
        }
        ensure!(costs.len() * 2 >= self.operations, "others disturb it too often");
        Ok(median(&costs))
    }

    fn read(&mut self) -> Result<Reading> {
        Ok(Reading { mine: self.side.runs(self.program)?, empty: self.empty.runs(self.program)? })
    }
}

/// Processes that do nothing. They end when this is dropped, and with this process.
struct Crowd(Vec<Pid>);

impl Crowd {
    fn new(count: usize) -> Result<Self> {
        let mut crowd = Self(Vec::with_capacity(count));
        for number in 0..count {
            // SAFETY: this process has one thread, so its child may do whatever it could do itself.
            let pid = unsafe { libc::fork() };
            ensure!(pid >= 0, "process {number}: {}", std::io::Error::last_os_error());
            match Pid::from_raw(pid) {
                Some(pid) => crowd.0.push(pid),
                None => idle(),
            }
        }
        Ok(crowd)
    }
}

/// What a process of the crowd does, for good.
fn idle() -> ! {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        std::process::abort();
    }
    loop {
        // SAFETY: it only waits.
        unsafe { libc::pause() };
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::KILL);
        }
        for pid in &self.0 {
            let _ = waitpid(Some(*pid), rustix::process::WaitOptions::empty());
        }
    }
}
