//! What the programs of the kernel side cost.
//!
//! While statistics are on (`BPF_ENABLE_STATS` of bpf(2)) the kernel adds up how long each program runs. Beside each program an empty
//! one of the same kind is attached to the same place: what that one takes is the price of calling a program and of measuring it, and is
//! subtracted. An operation is done again and again, and each time both are read before and after it; the median is reported, so
//! that an interrupt in one of the runs changes nothing. The counters of the kernel side must say that every operation came to its
//! expected end.
//!
//! Where the machine's clock goes on by one nanosecond with each instruction, the nanoseconds are instructions
//! (`cargo xtask vm --suite cost`); elsewhere they are time (`cargo xtask bench programs`).

pub(crate) mod actor;
pub(crate) mod empty;
pub(crate) mod program;
pub(crate) mod side;
mod situation;

use crate::net::set_up_loopback;
use crate::tiny;
use actor::Actor;
use anyhow::{Context, Result, bail};
use aya::sys::{Stats, enable_stats};
use empty::Empty;
use program::{Program, Reading};
use rustix::process::{Resource, Rlimit, setrlimit};
use sensor::config::Config;
use side::Side;
use situation::{Before, SITUATIONS, Situation};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Of so many attempts one must be undisturbed where others use the machine.
const ATTEMPTS: usize = 10;

/// An address that no rule excludes, and one that is.
pub(crate) const COUNTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const COUNTED_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const EXCLUDED: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Programs that exit at once.
const PROGRAMS: [&str; 4] = ["true", "dash", "sh", "socat"];

/// What there is to say while it is measured.
pub(crate) enum Heard {
    /// A hook that the kernel refuses, such as `exec=tracepoint`, and its reason.
    Refused { hook: String, reason: String },
    /// What a program costs.
    Cost(Cost),
    /// Everything that was measured of it, for people.
    Log(String),
}

/// What a program costs in a situation.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) situation: &'static str,
    pub(crate) program: &'static str,
    /// How often it runs in one operation.
    pub(crate) runs: u64,
    /// Nanoseconds that all these runs together take more than those of an empty program, for each time that it happened.
    pub(crate) time_ns: i64,
}

/// What is measured, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Operations in each situation.
    pub(crate) operations: usize,
    /// Others use the machine too: operations into which something of theirs falls are left out.
    pub(crate) shared: bool,
    /// The empty programs are attached before the others, not after them.
    pub(crate) empty_first: bool,
    /// Times that it happens in one operation, one behind the other; beyond 1, what cannot is left out.
    pub(crate) in_a_row: u32,
}

/// Prepares the calling process, its network and [`actor::PROGRAMS`], which must be its own.
pub(crate) fn prepare() -> Result<()> {
    // Up to 5.10 the kernel counts maps against a limit that is far too low. Who may not raise it learns so when maps are refused.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    set_up_loopback(&[COUNTED], COUNTED_V6).context("addresses")?;
    std::fs::create_dir_all(actor::PROGRAMS)?;
    for program in PROGRAMS {
        tiny::write(&actor::path(program)).context(program)?;
    }
    Ok(())
}

/// Measures the programs of the hooks with these numbers (see [`side::enough`]), side by side, in every situation.
pub(crate) fn measure(
    numbers: impl IntoIterator<Item = usize>,
    terms: Terms,
    heard: &mut dyn FnMut(Heard) -> Result<()>,
) -> Result<()> {
    let _statistics = enable_stats(Stats::RunTime).context("statistics of BPF programs")?;
    let mut bench = Bench::new(&numbers.into_iter().collect::<Vec<_>>(), terms, heard)?;
    for situation in &SITUATIONS {
        bench.measure(situation, heard).with_context(|| situation.name)?;
    }
    Ok(())
}

/// Everything that takes part.
struct Bench {
    sides: Vec<Side>,
    empty: Empty,
    shell: Actor,
    other: Actor,
    terms: Terms,
}

impl Bench {
    fn new(numbers: &[usize], terms: Terms, heard: &mut dyn FnMut(Heard) -> Result<()>) -> Result<Self> {
        let mut sides = numbers.iter().map(|number| Side::load(*number, heard)).collect::<Result<Vec<_>>>()?;
        let attachments: Vec<_> = sides.iter_mut().flat_map(Side::attachments).collect();
        let empty = Empty::attach(&attachments).context("empty programs")?;
        if terms.empty_first {
            // What is refused was reported the first time.
            drop(sides);
            sides = numbers.iter().map(|number| Side::load(*number, &mut |_| Ok(()))).collect::<Result<_>>()?;
        }
        Ok(Self { sides, empty, shell: Actor::start("bash")?, other: Actor::start("nginx")?, terms })
    }

    /// Measures one situation, and reports what each program costs there.
    fn measure(&mut self, situation: &Situation, heard: &mut dyn FnMut(Heard) -> Result<()>) -> Result<()> {
        let mut programs: Vec<Program> = Vec::new();
        for (side, of) in self.sides.iter_mut().enumerate() {
            let names = of.programs(situation.fact).into_iter();
            programs.extend(names.map(|name| Program::new(side, name)));
        }
        let Terms { operations, shared, in_a_row, .. } = self.terms;
        if programs.is_empty() || (in_a_row > 1 && !situation.is_storm()) {
            return Ok(());
        }
        if situation.before == Before::Quiet {
            // More than what the early-out adds to the span.
            std::thread::sleep(Config::default().rule.span + Duration::from_secs(2));
        }
        let most = if shared { operations * ATTEMPTS } else { operations };
        let mut done = 0;
        let mut disturbed = Ok(());
        for _ in 0..most {
            match self.once(situation, &programs)? {
                Ok(readings) => {
                    programs.iter_mut().zip(readings).for_each(|(program, reading)| program.add(reading));
                    done += 1;
                }
                Err(error) if shared => disturbed = Err(error),
                Err(error) => return Err(error),
            }
            if done == operations {
                break;
            }
        }
        if done < operations {
            disturbed.context("others disturb it too often")?;
            bail!("{done} of {operations} operations were done");
        }
        heard(Heard::Log(situation.name.to_owned()))?;
        for program in programs {
            let usual = if shared { operations / 2 } else { operations * 9 / 10 };
            let (cost, log) = program.median(situation.name, usual)?;
            heard(Heard::Log(log))?;
            heard(Heard::Cost(Cost { time_ns: cost.time_ns / i64::from(in_a_row), ..cost }))?;
        }
        Ok(())
    }

    /// Does one operation; what each program has cost. The inner error says what was not as it should be.
    fn once(&mut self, situation: &Situation, programs: &[Program]) -> Result<Result<Vec<Reading>>> {
        if situation.before == Before::Armed {
            self.shell.connect(COUNTED)?;
        }
        self.sides.iter_mut().for_each(Side::drain);
        let counters: Vec<_> = self.sides.iter().map(Side::counters).collect();
        let before = self.read(programs)?;
        situation.perform(&mut self.shell, &mut self.other, self.terms.in_a_row)?;
        // Whatever the kernel has put off is done before this processor has nothing to do.
        std::thread::sleep(Duration::from_millis(1));
        let after = self.read(programs)?;
        for (side, before) in self.sides.iter().zip(&counters).filter(|(side, _)| side.sees(situation.fact)) {
            if let Err(error) = situation.check(before, &side.counters(), self.terms.in_a_row) {
                return Ok(Err(error));
            }
        }
        let readings: Vec<_> = after.into_iter().zip(before).map(|(after, before)| after - before).collect();
        Ok(programs.iter().zip(&readings).try_for_each(|(program, reading)| program.check(reading)).map(|()| readings))
    }

    /// Reads each program, and the empty one beside it.
    fn read(&mut self, programs: &[Program]) -> Result<Vec<Reading>> {
        let both = |program: &Program| {
            let side = self.sides.get_mut(program.side).context("no such side")?;
            Ok(Reading { mine: side.runs(program.name)?, empty: self.empty.runs(program.name)? })
        };
        programs.iter().map(both).collect()
    }
}

/// The address of an operation's far end.
fn address(counts: bool) -> IpAddr {
    if counts { COUNTED.into() } else { EXCLUDED.into() }
}
