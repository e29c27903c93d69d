//! Processes that end with whoever has started them.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the process that `command` starts end when the calling thread does.
pub(crate) fn ends_with_parent(command: &mut Command) {
    // SAFETY: a system call and no allocation between fork and exec.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
}
