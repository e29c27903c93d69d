//! What came over a guest's console: its messages, the last lines of the log beside them, and what is wrong with either.

use super::protocol::{Message, Outcome, PREFIX};
use std::collections::VecDeque;

/// Lines of the log that are kept.
const TAIL: usize = 60;

/// What the kernel says when something takes too long, and when something is wrong. Only the latter ends the machine.
const DELAYS: [&str; 3] = ["soft lockup", "blocked for more than", "detected stall"];
const ERRORS: [&str; 6] = ["Kernel panic", "BUG: ", "Oops: ", "WARNING: ", "general protection fault", BREAKPOINT];

/// What the kernel says of a breakpoint of which it does not know.
const BREAKPOINT: &str = "int3: 0000 [#";

/// One result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestResult {
    pub(crate) run: String,
    pub(crate) test: String,
    pub(crate) outcome: Outcome,
    pub(crate) details: String,
}

/// Everything that was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    /// Name and version of the kernel.
    pub(crate) kernel: Option<(String, String)>,
    /// The message about offsets and declarations.
    pub(crate) layout: Option<Message>,
    /// Run, connect, accept.
    pub(crate) hooks: Vec<(String, String, String)>,
    /// Results in the order in which they came.
    pub(crate) results: Vec<TestResult>,
    /// What programs cost: situation, program, instructions.
    pub(crate) costs: Vec<(String, String, u64)>,
    /// Hooks of which that cannot be measured, and why.
    pub(crate) refused: Vec<(String, String)>,
    /// Sums of the end: passed, failed, skipped.
    pub(crate) end: Option<(u64, u64, u64)>,
    /// Lines that were no messages, but should have been, and messages that came twice or late.
    pub(crate) garbled: Vec<String>,
    /// Lines in which the kernel says that something takes too long.
    pub(crate) delays: Vec<String>,
    /// Lines in which it says that something is wrong.
    pub(crate) errors: Vec<String>,
    tail: VecDeque<String>,
}

impl Transcript {
    /// Takes a line in.
    pub(crate) fn line(&mut self, line: &str) {
        match line.find(PREFIX) {
            None => self.log(line),
            Some(0) if self.end.is_none() => match serde_json::from_str(line.strip_prefix(PREFIX).unwrap_or(line)) {
                Ok(message) => self.message(message, line),
                Err(_) => self.garbled.push(line.to_owned()),
            },
            // Cut by a line of the kernel's, or behind the end.
            Some(_) => self.garbled.push(line.to_owned()),
        }
    }

    fn message(&mut self, message: Message, line: &str) {
        match message {
            Message::Kernel { release, version } if self.kernel.is_none() => self.kernel = Some((release, version)),
            Message::Layout { .. } if self.layout.is_none() => self.layout = Some(message),
            Message::Kernel { .. } | Message::Layout { .. } => self.garbled.push(line.to_owned()),
            Message::Hooks { run, connect, accept } => self.hooks.push((run, connect, accept)),
            Message::Result { run, test, outcome, details } => {
                self.results.push(TestResult { run, test, outcome, details });
            }
            Message::Refused { hook, reason } => self.refused.push((hook, reason)),
            Message::Cost { situation, program, instructions } => {
                self.costs.push((situation, program, instructions));
            }
            Message::End { passed, failed, skipped } => self.end = Some((passed, failed, skipped)),
        }
    }

    fn log(&mut self, line: &str) {
        let says = |words: &[&str]| is_kernels(line) && words.iter().any(|word| line.contains(word));
        if says(&DELAYS) {
            self.delays.push(line.to_owned());
        } else if says(&ERRORS) {
            self.errors.push(line.to_owned());
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// Whether the machine died of QEMU's own fault. The kernel changes its code by way of breakpoints. Before its version 8.1
    /// QEMU with several threads may keep the translation of a breakpoint that another processor took away while it was
    /// translated, and run it later.
    pub(crate) fn emulator_failed(&self) -> bool {
        self.errors.first().is_some_and(|error| error.contains(BREAKPOINT))
    }

    /// The last lines of the log.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    /// How many results there are of a kind.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        self.results.iter().filter(|result| result.outcome == outcome).map(|_| 1).sum()
    }
}

/// Whether the kernel has written a line, which begins with the time since boot, as in `[    2.345678] `.
fn is_kernels(line: &str) -> bool {
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    time.is_some_and(|(time, _)| time.trim().parse::<f64>().is_ok())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn said(message: &Message) -> String {
        format!("{PREFIX}{}", serde_json::to_string(message).unwrap())
    }

    pub(crate) fn result(run: &str, test: &str, outcome: Outcome) -> Message {
        Message::Result { run: run.to_owned(), test: test.to_owned(), outcome, details: "details".to_owned() }
    }

    #[test]
    fn messages_are_told_from_the_log() {
        let mut transcript = Transcript::default();
        transcript.line("[    0.000000] Linux version 6.1");
        transcript.line(&said(&result("auto", "a", Outcome::Passed)));
        transcript.line("log of a program");
        transcript.line(&said(&Message::End { passed: 1, failed: 0, skipped: 0 }));
        assert_eq!((transcript.count(Outcome::Passed), transcript.end), (1, Some((1, 0, 0))));
        assert_eq!(transcript.tail().count(), 2);
        assert!(transcript.garbled.is_empty() && transcript.errors.is_empty() && transcript.delays.is_empty());
    }

    #[test]
    fn what_should_have_been_a_message_is_kept() {
        let whole = said(&result("auto", "a", Outcome::Passed));
        for wrong in [&whole[..20], &format!("[    1.000000] {whole}"), &format!("{PREFIX}{{}}")] {
            let mut transcript = Transcript::default();
            transcript.line(wrong);
            assert_eq!((transcript.garbled.len(), transcript.results.len()), (1, 0), "{wrong}");
        }
    }

    #[test]
    fn nothing_comes_behind_the_end() {
        let mut transcript = Transcript::default();
        transcript.line(&said(&Message::End { passed: 0, failed: 0, skipped: 0 }));
        transcript.line(&said(&result("auto", "a", Outcome::Passed)));
        assert_eq!((transcript.garbled.len(), transcript.results.len()), (1, 0));
    }

    #[test]
    fn a_breakpoint_that_nobody_set_is_qemus() {
        for (first, expected) in [
            ("[   49.654545] Oops: int3: 0000 [#1] SMP NOPTI", true),
            ("[    3.093098] int3: 0000 [#1] PREEMPT SMP NOPTI", true),
            ("[   49.654545] Oops: general protection fault: 0000 [#1]", false),
            ("a test says int3: 0000 [#1]", false),
        ] {
            let mut transcript = Transcript::default();
            transcript.line(first);
            transcript.line("[   50.000000] Kernel panic - not syncing: Fatal exception");
            assert_eq!(transcript.emulator_failed(), expected, "{first}");
        }
        let mut transcript = Transcript::default();
        transcript.line("[   49.000000] BUG: kernel NULL pointer dereference, address: 0");
        transcript.line("[   49.654545] Oops: int3: 0000 [#2] SMP NOPTI");
        assert!(!transcript.emulator_failed());
    }

    #[test]
    fn errors_are_the_kernels_own() {
        let mut transcript = Transcript::default();
        transcript.line("[   30.123456] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!");
        transcript.line("[   30.123457] BUG: kernel NULL pointer dereference, address: 0");
        transcript.line("a test says BUG: x");
        transcript.line("[here] BUG: x");
        assert_eq!((transcript.delays.len(), transcript.errors.len()), (1, 1));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut transcript = Transcript::default();
        (0..100).for_each(|number| transcript.line(&number.to_string()));
        assert_eq!((transcript.tail().count(), transcript.tail().next()), (TAIL, Some("40")));
    }
}
