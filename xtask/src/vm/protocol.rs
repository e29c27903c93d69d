//! What the host and a guest tell each other: the plan, a file in the guest's initramfs, and messages, one a line on its
//! serial console.
//!
//! `xtask` and the guest's program both include this file, so that they cannot disagree.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the guest finds its plan.
pub(crate) const PLAN: &str = "/plan.json";

/// Where the guest finds what is to be installed on its disk, below the names that the files have there.
pub(crate) const INSTALLED: &str = "/installed";

/// How a message's line begins; everything else on the console is the kernel's or a program's log.
pub(crate) const PREFIX: &str = "@sensor ";

/// What a guest is to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The disk that becomes the root, such as `/dev/nvme0n1`; without one it lies in the guest's memory.
    pub(crate) disk: Option<String>,
    /// Start the system on the disk, with the sensor as one of its services, and run the tests of the service there.
    pub(crate) service: bool,
    /// Misbehave, to show that it is noticed.
    pub(crate) fault: Option<Fault>,
    /// Hooks that the sensor must refuse.
    pub(crate) refusals: Vec<Refusal>,
    /// Runs of the suite.
    pub(crate) runs: Vec<Run>,
    /// Measure what the programs of the kernel side cost.
    pub(crate) cost: bool,
}

/// A forced hook that must not be had on this kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// `connect` or `accept`.
    pub(crate) fact: String,
    /// The kind of hook, as in the configuration.
    pub(crate) kind: String,
    /// What the sensor's message must contain.
    pub(crate) message: String,
}

/// One run of the suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Its name in the results.
    pub(crate) name: String,
    /// Arguments of the suite.
    pub(crate) arguments: Vec<String>,
}

/// A way in which a guest goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// The kernel panics.
    Panic,
    /// The first process ends.
    InitEnds,
    /// The machine goes off in the middle of its work.
    PowerOff,
    /// Nothing happens any more.
    Hang,
    /// A message is not what was agreed.
    Garbage,
    /// A result is lost on the way.
    LostResult,
}

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Everything was as expected.
    Passed,
    /// Something was not.
    Failed,
    /// It could not be run.
    Skipped,
}

/// What a guest tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Which kernel it is, by uname(2).
    Kernel {
        /// Such as `6.1.0-56-cloud-amd64`.
        release: String,
        /// Such as `#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)`.
        version: String,
    },
    /// What the sensor finds in the kernel's type information.
    Layout {
        /// Path of each member that the sensor reads, and its offset in bytes; null if the kernel does not have it.
        offsets: BTreeMap<String, Option<u16>>,
        /// Functions at which programs are attached, and how they are declared; null if the kernel has no such function.
        prototypes: BTreeMap<String, Option<String>>,
    },
    /// What the sensor chose in a run.
    Hooks {
        /// The run.
        run: String,
        /// Kind of hook for connections attempted.
        connect: String,
        /// Kind of hook for connections accepted.
        accept: String,
    },
    /// How a test ended.
    Result {
        /// The run, or `kernel` for what is tested once.
        run: String,
        /// The test.
        test: String,
        /// How it ended.
        outcome: Outcome,
        /// What was seen in a failed test, or why it was skipped.
        details: String,
    },
    /// A hook of which it cannot be measured what its programs cost.
    Refused {
        /// Such as `exec=tracepoint`.
        hook: String,
        /// What the kernel says against it.
        reason: String,
    },
    /// What a program of the kernel side costs.
    Cost {
        /// What happens.
        situation: String,
        /// The program that sees it.
        program: String,
        /// Instructions that it takes, all its runs together.
        instructions: u64,
    },
    /// The plan was carried out; how many results of each kind were told.
    End {
        /// Tests that passed.
        passed: u64,
        /// Tests that failed.
        failed: u64,
        /// Tests that were skipped.
        skipped: u64,
    },
}
