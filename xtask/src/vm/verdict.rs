//! Whether a guest did what was expected: everything that must hold, each failure in words that name it.

use super::expected::{Expected, FACTS};
use super::fixture::Fixture;
use super::machine::{Ended, Ran};
use super::protocol::{Message, Outcome, Plan};
use super::transcript::Transcript;
use crate::tally::Tally;
use std::collections::BTreeSet;

/// What came of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Results of tests; every fault counts as one that failed.
    pub(crate) tally: Tally,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
    /// What is worth knowing and not wrong.
    pub(crate) notes: Vec<String>,
}

/// What a guest was given and what it must come to.
pub(crate) struct Case<'a> {
    /// Version of the kernel's package.
    pub(crate) version: &'a str,
    /// What it was to do.
    pub(crate) plan: &'a Plan,
    /// What is expected of its hooks and tests.
    pub(crate) expected: &'a Expected,
    /// What is committed about its type information.
    pub(crate) fixture: Option<&'a Fixture>,
    /// Whether all tests are run, or only some, among which there may be none that tells the hooks.
    pub(crate) whole: bool,
}

impl Case<'_> {
    /// Judges what came over the console, and how the machine ended.
    pub(crate) fn judge(&self, transcript: &Transcript, ran: &Ran) -> Verdict {
        let Ran { ended, stood_still } = ran;
        let mut faults = self.machine(transcript, ended);
        let delays = transcript.delays.iter().map(|delay| format!("the kernel says: {delay}"));
        let mut notes: Vec<String> =
            stood_still.iter().map(|time| format!("this host stood still for {} s", time.as_secs())).collect();
        // A guest cannot tell its own delays from the host's.
        if notes.is_empty() { &mut faults } else { &mut notes }.extend(delays);
        faults.extend(self.kernel(transcript));
        let (layout, moved) = self.layout(transcript);
        faults.extend(layout);
        notes.extend(moved);
        faults.extend(self.runs(transcript));
        let (results, passes, skips) = self.results(transcript);
        faults.extend(results);
        let tally = Tally {
            passed: transcript.count(Outcome::Passed) - passes,
            failed: u64::try_from(faults.len()).unwrap_or(u64::MAX),
            skipped: transcript.count(Outcome::Skipped) - skips,
        };
        Verdict { tally, faults, notes }
    }

    /// The machine went on to its end, and nothing was lost on the way.
    fn machine(&self, transcript: &Transcript, ended: &Ended) -> Vec<String> {
        let last =
            transcript.results.last().map_or("any test".to_owned(), |last| format!("{} {}", last.run, last.test));
        let mut faults: Vec<String> =
            transcript.errors.iter().map(|error| format!("the kernel says: {error}")).collect();
        match ended {
            Ended::Off if transcript.end.is_none() && transcript.errors.is_empty() => {
                faults.push(format!("the guest went off behind {last}, without a sign of its end"));
            }
            Ended::Off if transcript.end.is_none() => faults.push(format!("the guest broke off behind {last}")),
            Ended::Off => {}
            Ended::Failed(reason) => faults.push(reason.clone()),
            Ended::Silent(limit) => {
                faults.push(format!("the guest hangs: nothing was heard for {} s behind {last}", limit.as_secs()));
            }
            Ended::TooLong(limit) => {
                faults.push(format!("the guest was not at its end after {} s, but behind {last}", limit.as_secs()));
            }
        }
        faults.extend(transcript.garbled.iter().map(|line| format!("the guest said something unintelligible: {line}")));
        let told = [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|outcome| transcript.count(outcome));
        if let Some((passed, failed, skipped)) = transcript.end
            && told != [passed, failed, skipped]
        {
            faults.push(format!("the guest counts {passed}, {failed} and {skipped} results, {told:?} have arrived"));
        }
        faults
    }

    /// It was the kernel that it should be.
    fn kernel(&self, transcript: &Transcript) -> Option<String> {
        match &transcript.kernel {
            None => Some("the guest has not told which kernel it is".to_owned()),
            Some((_, version)) if version.split_whitespace().any(|word| word == self.version) => None,
            Some((release, version)) => {
                Some(format!("the kernel is {release} {version}, and {} was to be booted", self.version))
            }
        }
    }

    fn layout(&self, transcript: &Transcript) -> (Vec<String>, Vec<String>) {
        let Some(found) = fixture(self.version, transcript) else {
            return (vec!["the guest has told nothing of the kernel's types".to_owned()], Vec::new());
        };
        let comparison = found.compare(self.fixture);
        (comparison.faults, comparison.notes)
    }

    /// Every run was made, with the hooks that were expected, and had tests.
    fn runs(&self, transcript: &Transcript) -> Vec<String> {
        let mut faults = Vec::new();
        for run in &self.plan.runs {
            let tests = transcript.results.iter().filter(|result| result.run == run.name).count();
            if tests == 0 {
                faults.push(format!("run {}: no test was run", run.name));
            }
            let Some((_, connect, accept)) = transcript.hooks.iter().find(|(name, ..)| *name == run.name) else {
                if self.whole {
                    faults.push(format!("run {}: the sensor has not told its hooks", run.name));
                }
                continue;
            };
            for (fact, found) in FACTS.into_iter().zip([connect, accept]) {
                let expected = self.expected.attached(&run.name, fact);
                if found != expected {
                    faults.push(format!("run {}: {fact} is seen by {found}, {expected} was expected", run.name));
                }
            }
        }
        faults
    }

    /// What is wrong with the results, how many of them passed and should have been skipped, and the other way round.
    fn results(&self, transcript: &Transcript) -> (Vec<String>, u64, u64) {
        let mut faults = Vec::new();
        let (mut passes, mut skips) = (0, 0);
        let mut seen = BTreeSet::new();
        for result in &transcript.results {
            let name = format!("{}: {}", result.run, result.test);
            let skip_expected = self.expected.skips(&result.run, &result.test);
            match result.outcome {
                Outcome::Failed => faults.push(format!("{name}\n{}", result.details)),
                Outcome::Skipped if !skip_expected => {
                    skips += 1;
                    faults.push(format!("{name} was skipped, and should not have been: {}", result.details));
                }
                Outcome::Passed if skip_expected => {
                    passes += 1;
                    faults.push(format!("{name} was run, and was expected to be skipped"));
                }
                _ => {}
            }
            if !seen.insert(name.clone()) {
                faults.push(format!("{name} was told twice"));
            }
        }
        (faults, passes, skips)
    }
}

/// What the guest has told of its kernel's types, as it would be committed.
pub(crate) fn fixture(version: &str, transcript: &Transcript) -> Option<Fixture> {
    let Some(Message::Layout { offsets, prototypes }) = &transcript.layout else { return None };
    Some(Fixture { version: version.to_owned(), prototypes: prototypes.clone(), offsets: offsets.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::expected::tests::of;
    use super::super::transcript::tests::{result, said};
    use super::*;
    use std::time::Duration;

    const VERSION: &str = "6.12.1-1";

    /// A guest that does everything right.
    fn good() -> Vec<Message> {
        let text = include_str!("../../../tests/kernels/x86_64/6.12.json");
        let fixture: Fixture = serde_json::from_str(text).unwrap();
        let mut messages = vec![
            Message::Kernel { release: "6.12.1-cloud".to_owned(), version: format!("#1 SMP Debian {VERSION} (x)") },
            Message::Layout { offsets: fixture.offsets, prototypes: fixture.prototypes },
        ];
        for run in ["auto", "kprobe", "tracepoint"] {
            let hook = if run == "auto" { "fentry" } else { run }.to_owned();
            messages.push(Message::Hooks { run: run.to_owned(), connect: hook.clone(), accept: hook });
            messages.push(result(run, "a", Outcome::Passed));
            messages.push(result(run, "always", Outcome::Skipped));
        }
        messages.push(Message::End { passed: 3, failed: 0, skipped: 3 });
        messages
    }

    fn judge(messages: &[Message], log: &[&str], ended: &Ended) -> Verdict {
        judge_on(messages, log, ended, None)
    }

    fn judge_on(messages: &[Message], log: &[&str], ended: &Ended, stood_still: Option<Duration>) -> Verdict {
        let expected = of("6.12");
        let text = include_str!("../../../tests/kernels/x86_64/6.12.json");
        let fixture = Fixture { version: VERSION.to_owned(), ..serde_json::from_str(text).unwrap() };
        let plan = expected.plan(&[]);
        let case = Case { version: VERSION, plan: &plan, expected: &expected, fixture: Some(&fixture), whole: true };
        let mut transcript = Transcript::default();
        messages.iter().for_each(|message| transcript.line(&said(message)));
        log.iter().for_each(|line| transcript.line(line));
        case.judge(&transcript, &Ran { ended: ended.clone(), stood_still })
    }

    fn fault(messages: &[Message], log: &[&str], ended: &Ended) -> String {
        let Verdict { tally, faults, .. } = judge(messages, log, ended);
        assert_eq!(usize::try_from(tally.failed).unwrap(), faults.len());
        assert!(tally.failed > 0);
        faults.join("\n")
    }

    #[test]
    fn a_guest_that_does_everything_right_passes() {
        let Verdict { tally, faults, notes } = judge(&good(), &["a log"], &Ended::Off);
        assert_eq!((faults, notes), (Vec::<String>::new(), Vec::new()));
        assert_eq!(tally, Tally { passed: 3, failed: 0, skipped: 3 });
    }

    #[test]
    fn every_message_is_needed() {
        let good = good();
        for place in 0..good.len() {
            let mut messages = good.clone();
            let gone = messages.remove(place);
            assert!(judge(&messages, &[], &Ended::Off).tally.failed > 0, "{gone:?}");
        }
    }

    #[test]
    fn a_panic_is_named() {
        let text = fault(&good()[..5], &["[   12.345678] Kernel panic - not syncing: sysrq"], &Ended::Off);
        assert!(text.contains("Kernel panic") && text.contains("auto a"), "{text}");
    }

    #[test]
    fn a_hang_is_named() {
        let text = fault(&good()[..4], &[], &Ended::Silent(Duration::from_secs(7)));
        assert!(text.contains("hangs") && text.contains("7 s behind auto a"), "{text}");
        let text = fault(&good()[..4], &[], &Ended::TooLong(Duration::from_secs(7)));
        assert!(text.contains("not at its end"), "{text}");
    }

    #[test]
    fn what_the_kernel_says_counts_although_the_guest_goes_on() {
        let text = fault(&good(), &["[   30.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f"], &Ended::Off);
        assert!(text.contains("kernel/x.c"), "{text}");
        let lockup = ["[   30.000000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"];
        let text = fault(&good(), &lockup, &Ended::Off);
        assert!(text.contains("soft lockup"), "{text}");
        let Verdict { faults, notes, .. } = judge_on(&good(), &lockup, &Ended::Off, Some(Duration::from_secs(21)));
        assert_eq!((faults.len(), notes.len()), (0, 2));
        assert!(notes[0].contains("21 s") && notes[1].contains("soft lockup"), "{notes:?}");
    }

    #[test]
    fn failed_and_unexpected_results_are_named() {
        let with = |message: Message| {
            let mut messages = good();
            let end = messages.pop();
            let Message::Result { outcome, .. } = message else { panic!() };
            messages.push(message);
            let Some(Message::End { passed, failed, skipped }) = end else { panic!() };
            let more = |wanted| u64::from(outcome == wanted);
            messages.push(Message::End {
                passed: passed + more(Outcome::Passed),
                failed: failed + more(Outcome::Failed),
                skipped: skipped + more(Outcome::Skipped),
            });
            fault(&messages, &[], &Ended::Off)
        };
        let text = with(result("auto", "b", Outcome::Failed));
        assert!(text.contains("auto: b") && text.contains("details"), "{text}");
        let text = with(result("auto", "b", Outcome::Skipped));
        assert!(text.contains("auto: b was skipped"), "{text}");
        let text = with(result("kernel", "always", Outcome::Passed));
        assert!(text.contains("kernel: always was run"), "{text}");
        let text = with(result("auto", "a", Outcome::Passed));
        assert!(text.contains("twice"), "{text}");
    }

    #[test]
    fn another_hook_or_kernel_is_named() {
        let mut messages = good();
        for message in &mut messages {
            if let Message::Hooks { run, accept, .. } = message
                && run == "auto"
            {
                "kprobe".clone_into(accept);
            }
        }
        let text = fault(&messages, &[], &Ended::Off);
        assert!(text.contains("accept is seen by kprobe, fentry was expected"), "{text}");
        let mut messages = good();
        messages[0] = Message::Kernel { release: "6.1".to_owned(), version: "Debian 6.1.1-1".to_owned() };
        let text = fault(&messages, &[], &Ended::Off);
        assert!(text.contains("6.1.1-1") && text.contains(VERSION), "{text}");
    }
}
