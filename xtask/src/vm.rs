//! Virtual machines: the end-to-end tests on real kernels, with each kind of hook.
//!
//! The kernels are Debian's, fetched once ([`kernels`]). Each boots in QEMU ([`machine`]) with an initramfs that holds the
//! tests and the sensor, linked statically ([`programs`], [`initramfs`]). A guest tells its results over its serial console
//! ([`protocol`], [`transcript`]); some have a distribution on a disk beside it ([`image`]). What is expected of it is committed
//! ([`expected`], [`fixture`]), and anything else is a failure ([`verdict`]). What was seen is written to `docs/kernels.md`
//! ([`document`]). On a processor that counts instructions it is measured what the programs of the kernel side cost ([`cost`]).

mod archive;
mod cost;
mod document;
mod expected;
mod faults;
mod fixture;
mod guests;
mod image;
mod initramfs;
mod kernels;
mod machine;
pub(crate) mod programs;
mod protocol;
mod series;
mod suite;
mod transcript;
mod verdict;

use crate::mirror::NoArchive;
use crate::setup;
use crate::tally::Tally;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use guests::{Guests, Outcome};
use image::Images;
use kernels::{Kernel, Store};
use machine::Accelerator;
pub(crate) use machine::{PROCESSORS, Processor};
use series::Wanted;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use suite::Tests;

/// Which kernels, and what to do there.
#[derive(Args)]
pub(crate) struct Options {
    /// Kernel series such as 6.12, `newest`, or `all`; if none is named, those that are usual for the processor
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<Wanted>,
    /// Processors of the machines
    #[arg(long, value_delimiter = ',', default_value = machine::X86_64.arch, value_parser = machine::PROCESSORS.map(|it| it.arch))]
    arch: Vec<String>,
    /// What to run
    #[arg(long, value_enum, value_delimiter = ',', default_value = "core")]
    suite: Vec<Suite>,
    /// Look for newer kernels, where otherwise those that are there are used
    #[arg(long)]
    newer: bool,
    /// Write down what the sensor finds in the kernels' type information, or what its programs cost, to be looked at and
    /// committed
    #[arg(long)]
    record: bool,
    /// Only tests whose names contain this
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// All tests that need no installed programs, with each hook
    Core,
    /// All tests on a distribution with its shells, with the hooks that the sensor chooses
    Shells,
    /// Instructions that the programs of the kernel side take, compared with those that are committed
    Cost,
    /// The sensor as a service of a distribution, from the start of the system on
    Systemd,
    /// Guests that go wrong, each of which must be noticed; on the newest of the kernels
    Faults,
}

/// Runs the suites and prints the sums on the last line.
pub(crate) fn vm(root: &Path, options: &Options) -> Result<ExitCode> {
    setup::for_building()?;
    setup::for_testing()?;
    let sum = perform(root, options)?;
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The series on which the usual tests have a distribution: that distribution's own.
const DISTRIBUTION: &str = "6.12";

/// How much of it all is a part of all tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What every change must pass: the usual kernels and what the programs cost there, and a distribution on one of them.
    Usual,
    /// Every kernel and processor, distributions on several kernels, and guests that go wrong.
    Full,
}

/// The suites as a part of all tests. Where there are no kernels to be had, each is a test skipped.
pub(crate) fn suites(root: &Path, extent: Extent, filter: Option<&str>) -> Result<Tally> {
    let mut sum = Tally::default();
    for mut part in parts(extent)? {
        part.filter = filter.map(str::to_owned);
        sum += match perform(root, &part) {
            Err(error) if error.is::<NoArchive>() => {
                println!("skipped {error:#}");
                Tally::SKIPPED
            }
            result => result?,
        };
    }
    Ok(sum)
}

fn parts(extent: Extent) -> Result<Vec<Options>> {
    let part = |processor: Processor, kernel, suite: &[Suite]| Options {
        kernel,
        arch: vec![processor.arch.to_owned()],
        suite: suite.to_vec(),
        newer: false,
        record: false,
        filter: None,
    };
    let usual = Vec::new;
    Ok(match extent {
        Extent::Usual => vec![
            part(machine::X86_64, usual(), &[Suite::Core, Suite::Cost]),
            part(machine::X86_64, vec![DISTRIBUTION.parse()?], &[Suite::Shells]),
        ],
        Extent::Full => vec![
            part(machine::X86_64, vec![Wanted::All], &[Suite::Core]),
            part(machine::X86_64, usual(), &[Suite::Cost, Suite::Shells, Suite::Systemd, Suite::Faults]),
            part(machine::AARCH64, usual(), &[Suite::Core]),
        ],
    })
}

fn perform(root: &Path, options: &Options) -> Result<Tally> {
    let wanted = |processor: &Processor| options.arch.iter().any(|arch| arch == processor.arch);
    let mut sum = Tally::default();
    for processor in PROCESSORS.into_iter().filter(wanted) {
        sum += on(processor, root, options)?;
    }
    Ok(sum)
}

fn on(processor: Processor, root: &Path, options: &Options) -> Result<Tally> {
    let Processor { arch, debian_arch, program, package, usual, .. } = processor;
    setup::for_program(program, package)?;
    setup::for_processor(arch, debian_arch)?;
    let usual = usual.iter().map(|series| series.parse()).collect::<Result<Vec<_>>>()?;
    let wanted = if options.kernel.is_empty() { &usual } else { &options.kernel };
    let kernels = Store::new(&root.join("target/vm"), debian_arch).obtain(wanted, options.newer)?;
    let programs = programs::build(root, arch)?;
    let accelerator = Accelerator::best(processor, kernels.iter().map(|kernel| &*kernel.image));
    let names: Vec<String> = kernels.iter().map(|kernel| format!("{} ({})", kernel.series, kernel.version)).collect();
    println!("{arch} guests with {}: {}", accelerator.name(), names.join(", "));
    let guests = Guests { root, processor, accelerator, programs: &programs };
    let mut sum = Tally::default();
    for suite in &options.suite {
        sum += match suite {
            Suite::Core => core(&guests, &kernels, options)?,
            Suite::Shells => distribution(&guests, &kernels, options, Tests::shells)?,
            Suite::Systemd => distribution(&guests, &kernels, options, Tests::service)?,
            Suite::Cost => cost::measure(&guests, &kernels, options.record)?,
            Suite::Faults => faults::all_noticed(&guests, &kernels)?,
        };
    }
    Ok(sum)
}

/// The tests that need nothing but the kernel.
fn core(guests: &Guests<'_>, kernels: &[Kernel], options: &Options) -> Result<Tally> {
    let outcomes = guests.all(&Tests::core(), kernels, options.filter.as_deref(), options.record)?;
    // A part of the tests says nothing about a hook.
    if options.filter.is_none() {
        let good: Vec<_> = outcomes.iter().filter(|outcome| outcome.tally.failed == 0).collect();
        let seen: Vec<_> = good.iter().map(|outcome| (&outcome.kernel, &outcome.expected)).collect();
        print!("{}", document::write(guests.root, guests.processor.arch, &seen)?);
    }
    Ok(sum(&outcomes))
}

/// Tests on a distribution.
fn distribution(
    guests: &Guests<'_>,
    kernels: &[Kernel],
    options: &Options,
    tests: fn(PathBuf) -> Tests,
) -> Result<Tally> {
    let Processor { arch, debian_arch, .. } = guests.processor;
    ensure!(
        arch == std::env::consts::ARCH,
        "a distribution is installed by its own programs, and {arch} is not this processor"
    );
    let image = Images::new(&guests.root.join("target/vm"), debian_arch).obtain(options.newer)?;
    let outcomes = guests.all(&tests(image), kernels, options.filter.as_deref(), options.record)?;
    Ok(sum(&outcomes))
}

fn sum(outcomes: &[Outcome]) -> Tally {
    outcomes.iter().fold(Tally::default(), |mut sum, outcome| {
        sum += outcome.tally;
        sum
    })
}
