//! The first process of a virtual machine in which the sensor is tested.
//!
//! The machine has nothing but an initramfs with this program, the suite, the sensor and a plan. In this order: mounts what
//! every system has, moves to a root of its own, brings the loopback device up, tells which kernel this is and what the
//! sensor finds in its type information, tries the hooks that must be refused, runs the suite as often as the plan says,
//! measures what the programs of the kernel side cost if the plan says so, tells the end and switches the machine off. Or it
//! starts the system on a disk, and does the same as one of its services ([`service`]). `xtask/src/vm` reads what is told, from
//! the serial console.

#[path = "../cost/mod.rs"]
mod cost;
mod facts;
mod fault;
mod instructions;
mod kernels;
#[path = "../net.rs"]
mod net;
#[path = "../../../xtask/src/vm/protocol.rs"]
mod protocol;
mod refusal;
mod service;
mod suite;
mod system;
mod tell;
#[path = "../tiny.rs"]
mod tiny;

use anyhow::{Context, Result};
use protocol::{PLAN, Plan};
use std::process::ExitCode;
use tell::Told;

fn main() -> ExitCode {
    if let Ok(next) = std::env::var(cost::actor::VARIABLE) {
        return match cost::actor::main(&next) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tell::log(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        };
    }
    let first = std::process::id() == 1;
    if !first && std::env::args().nth(1).as_deref() != Some(service::ARGUMENT) {
        tell::log("this program is the first process of a virtual machine; see `cargo xtask vm`");
        return ExitCode::from(2);
    }
    let mut told = Told::default();
    // Without the end being told the machine counts as failed, and what is logged here shows why.
    let done = if first { perform(&mut told) } else { service::test(&mut told) };
    if let Err(error) = done {
        tell::log(&format!("the guest failed: {error:#}"));
    }
    system::power_off();
    // The kernel panics when its first process ends.
    ExitCode::FAILURE
}

fn plan() -> Result<Plan> {
    let plan = std::fs::read(PLAN).context(PLAN)?;
    serde_json::from_slice(&plan).context(PLAN)
}

fn perform(told: &mut Told) -> Result<()> {
    let plan = plan()?;
    if plan.service {
        return service::start(&plan);
    }
    system::set_up(plan.disk.as_deref())?;
    system::keep_awake().context("processors")?;
    facts::tell(told)?;
    if let Some(fault) = plan.fault {
        return fault::commit(fault, told);
    }
    for refusal in &plan.refusals {
        refusal::try_out(refusal, told)?;
    }
    if !plan.runs.is_empty() {
        kernels::unsupported(told)?;
    }
    for run in &plan.runs {
        suite::run(run, told)?;
    }
    if plan.cost {
        instructions::measure(told)?;
    }
    told.end()
}
