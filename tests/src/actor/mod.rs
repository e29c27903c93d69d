//! An actor: this same program under another name, playing a shell, socat or any other program step by step.
//!
//! It is recognised by a variable of its environment, which holds the steps that are left and the descriptor to report
//! on; executing a program hands both on, so that one list of steps describes a process through all its programs. Its
//! arguments are thus free to be whatever the test wants the sensor to see.

mod compat;
mod exec;
mod play;
mod process;
mod socket;
pub(crate) mod step;
pub(crate) mod uring;

use crate::manager::{SERVICE, become_service};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// The variable that makes the program an actor.
pub(crate) const VARIABLE: &str = "SENSOR_TESTS_ACTOR";

/// What an actor is given, and hands on to the next program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Descriptor of the stream to the test; the standard input of the first program.
    pub(crate) control: i32,
    /// What to do.
    pub(crate) steps: Vec<step::Step>,
}

/// What an actor tells the test, one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A step was reached.
    Reached {
        /// Which.
        label: String,
        /// The process, in the namespace that /proc shows.
        pid: u32,
        /// The thread, likewise.
        tid: u32,
    },
    /// A step failed; the actor ends.
    Failed(String),
}

/// Value of [`VARIABLE`] that asks only whether the kernel has the 32-bit entry.
const PROBE: &str = "probe";

/// Skips the test where the kernel has no 32-bit entry. Asked in a child, which such a kernel ends by a signal.
pub(crate) fn probe_compat() -> Result<()> {
    let status = std::process::Command::new("/proc/self/exe").env(VARIABLE, PROBE).status()?;
    if status.success() { Ok(()) } else { crate::skip::skip("this kernel has no 32-bit entry") }
}

/// Plays the part that the environment holds. Does not return to the command line of the suite.
pub(crate) fn main(part: &str) -> ExitCode {
    if part == PROBE {
        return compat::probe();
    }
    if part == SERVICE {
        return become_service();
    }
    match serde_json::from_str::<Part>(part).context("the actor's part").and_then(|part| play::Actor::run(&part)) {
        Ok(code) => code,
        Err(_) => ExitCode::from(EXIT_FAILED),
    }
}

/// Exit status of an actor whose step failed.
pub(crate) const EXIT_FAILED: u8 = 70;

/// Lets go of descriptor `control` of the first program: moved away from the standard input, which becomes /dev/null.
fn take_control(control: i32) -> Result<i32> {
    if control != 0 {
        return Ok(control);
    }
    // Far above what shells and socat use for themselves, and open across exec.
    let moved = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 200).context("moving the control stream")?;
    rustix::io::fcntl_setfd(&moved, rustix::io::FdFlags::empty()).context("moving the control stream")?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stdin(&null).context("standard input")?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(moved))
}
