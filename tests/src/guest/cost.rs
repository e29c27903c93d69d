//! What the programs of the kernel side cost, in instructions.
//!
//! For a machine whose clock goes on by one nanosecond with each instruction. With `kernel.bpf_stats_enabled` the kernel
//! adds up how long each program runs. Beside each program an empty one of the same kind is attached to the same place:
//! what that one takes is the price of calling a program and of measuring it, and is subtracted. An operation is done again and
//! again, and each time both are read before and after it; the median is told, so that an interrupt in one of the
//! runs changes nothing. The counters of the kernel side must say that every operation came to its expected end.

mod actor;
mod empty;
mod side;
mod situation;

pub(crate) use actor::{VARIABLE, main};

use crate::net::set_up_loopback;
use crate::protocol::Message;
use crate::tell::{Told, log};
use crate::tiny;
use actor::Actor;
use anyhow::{Context, Result, ensure};
use empty::Empty;
use rustix::process::{Resource, Rlimit, setrlimit};
use sensor::config::Config;
use side::{Runs, Side};
use situation::{Before, SITUATIONS, Situation};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Operations in each situation.
const OPERATIONS: usize = 200;

/// An address that no rule excludes, and one that is.
const COUNTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const COUNTED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const EXCLUDED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Programs that exit at once.
const PROGRAMS: [&str; 4] = ["true", "dash", "sh", "socat"];

/// Measures the programs of all hooks that this kernel takes, side by side, in every situation.
pub(crate) fn measure(told: &mut Told) -> Result<()> {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    std::fs::write(SWITCH, "1").context(SWITCH)?;
    // Up to 5.10 the kernel counts maps against a limit that is far too low.
    setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    set_up_loopback(&[COUNTED], COUNTED_V6).context("addresses")?;
    std::fs::create_dir_all(actor::PROGRAMS)?;
    for program in PROGRAMS {
        tiny::write(&actor::path(program)).context(program)?;
    }
    let mut bench = Bench::new(told)?;
    for situation in &SITUATIONS {
        bench.measure(situation, told).with_context(|| situation.name)?;
    }
    Ok(())
}

/// Everything that takes part.
struct Bench {
    sides: Vec<Side>,
    empty: Empty,
    shell: Actor,
    other: Actor,
}

impl Bench {
    fn new(told: &mut Told) -> Result<Self> {
        let mut sides = (0..side::enough()).map(|number| Side::load(number, told)).collect::<Result<Vec<_>>>()?;
        let attachments: Vec<_> = sides.iter_mut().flat_map(Side::attachments).collect();
        let empty = Empty::attach(&attachments).context("empty programs")?;
        Ok(Self { sides, empty, shell: Actor::start("bash")?, other: Actor::start("nginx")? })
    }

    /// Measures one situation, and tells what each program costs there.
    fn measure(&mut self, situation: &Situation, told: &mut Told) -> Result<()> {
        if situation.before == Before::Quiet {
            // More than what the early-out adds to the span.
            std::thread::sleep(Config::default().rule.span + Duration::from_secs(2));
        }
        let mut programs: Vec<Program> = Vec::new();
        for (side, of) in self.sides.iter_mut().enumerate() {
            let names = of.programs(situation.fact).into_iter();
            programs.extend(names.map(|name| Program { side, name, costs: BTreeMap::new() }));
        }
        for _ in 0..OPERATIONS {
            if situation.before == Before::Armed {
                self.shell.connect(COUNTED)?;
            }
            self.sides.iter_mut().for_each(Side::drain);
            let counters: Vec<_> = self.sides.iter().map(Side::counters).collect();
            let before = self.read(&programs)?;
            situation.perform(&mut self.shell, &mut self.other)?;
            // Whatever the kernel has put off is done before this processor has nothing to do.
            std::thread::sleep(Duration::from_millis(1));
            let after = self.read(&programs)?;
            for (side, before) in self.sides.iter().zip(&counters).filter(|(side, _)| side.sees(situation.fact)) {
                situation.check(before, &side.counters())?;
            }
            for (program, (before, after)) in programs.iter_mut().zip(before.into_iter().zip(after)) {
                program.add(before, after)?;
            }
        }
        log(situation.name);
        for program in programs {
            let (situation, name) = (situation.name.to_owned(), program.name.to_owned());
            told.tell(&Message::Cost { situation, program: name, instructions: program.median()? })?;
        }
        Ok(())
    }

    /// Reads each program, and the empty one beside it.
    fn read(&mut self, programs: &[Program]) -> Result<Vec<[Runs; 2]>> {
        let both = |program: &Program| {
            let side = self.sides.get_mut(program.side).context("no such side")?;
            Ok([side.runs(program.name)?, self.empty.runs(program.name)?])
        };
        programs.iter().map(both).collect()
    }
}

/// A program while it is measured.
struct Program {
    side: usize,
    name: &'static str,
    /// By how often it ran in an operation, what each of these has cost.
    costs: BTreeMap<u64, Vec<u64>>,
}

impl Program {
    /// Takes in what one operation has cost, by the readings of this program and of the empty one.
    fn add(&mut self, [mine_before, empty_before]: [Runs; 2], [mine, empty]: [Runs; 2]) -> Result<()> {
        let Self { name, costs, .. } = self;
        let (mine, empty) = (mine - mine_before, empty - empty_before);
        ensure!(mine.count == empty.count, "{name} ran {} times, an empty program {} times", mine.count, empty.count);
        costs.entry(mine.count).or_default().push(mine.time_ns.saturating_sub(empty.time_ns));
        Ok(())
    }

    /// The median of what it has cost; all of it goes to the log. It runs equally often in each operation, but for a few in which the end
    /// of an earlier connection falls.
    fn median(self) -> Result<u64> {
        let counts: Vec<_> = self.costs.iter().map(|(runs, costs)| format!("{} x {runs}", costs.len())).collect();
        let (runs, mut costs) =
            self.costs.into_iter().max_by_key(|(_, costs)| costs.len()).context("nothing was measured")?;
        let usual = costs.len() * 10 >= OPERATIONS * 9;
        ensure!(usual, "{} does not run equally often in each operation: {}", self.name, counts.join(", "));
        costs.sort_unstable();
        let different = costs.chunk_by(|one, next| one == next);
        let different: Vec<_> =
            different.filter_map(|same| Some(format!("{} x {}", same.len(), same.first()?))).collect();
        log(&format!("{}, {runs} runs each ({}): {}", self.name, counts.join(", "), different.join(", ")));
        costs.get(costs.len() / 2).copied().context("nothing was measured")
    }
}

/// The address of an operation's far end.
fn address(counts: bool) -> IpAddr {
    if counts { COUNTED.into() } else { EXCLUDED.into() }
}
