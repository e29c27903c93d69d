use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SECOND: u64 = 1_000_000_000;

fn subject(process: usize, destination: usize) -> Subject {
    let port = u16::try_from(destination).unwrap();
    let destination = (destination > 0).then(|| SocketAddr::from(([203, 0, 113, 7], port)));
    Subject { process: format!("process {process}"), rule: "r", destination }
}

fn limits(collapse: Option<u64>, per_minute: u32) -> Limits {
    Limits { collapse: collapse.map(Duration::from_secs), per_minute: NonZeroU32::new(per_minute) }
}

fn at(seconds: u64) -> BootTime {
    BootTime(seconds * SECOND)
}

/// Decides, and keeps what is collapsed, as the pipeline does.
fn judged(noise: &mut Noise, subject: &Subject, now: BootTime, alert: &str) -> Decision {
    let decision = noise.judge(subject, now);
    if decision == Decision::Collapse {
        noise.keep(subject, alert.to_owned());
    }
    decision
}

#[test]
fn what_a_process_repeats_is_told_once_with_its_number() {
    let mut noise = Noise::new(limits(Some(60), 0));
    let one = subject(1, 1);
    assert_eq!(judged(&mut noise, &one, at(10), "a"), Decision::Tell);
    for second in 11..20 {
        assert_eq!(judged(&mut noise, &one, at(second), &format!("at {second}")), Decision::Collapse);
    }
    assert!(noise.due(at(69)).is_empty());
    let report = Report::Repeated { alert: "at 19".to_owned(), count: 9, first: at(11), last: at(19) };
    assert_eq!(noise.due(at(70)), [report]);
    assert_eq!(judged(&mut noise, &one, at(71), "b"), Decision::Tell, "another time, another alert");
    assert!(noise.finish().is_empty(), "of one there is no number to tell");
}

#[test]
fn another_process_or_another_destination_is_told_at_once() {
    let mut noise = Noise::new(limits(Some(60), 0));
    for one in [subject(1, 1), subject(2, 1), subject(1, 2), subject(1, 0)] {
        assert_eq!(judged(&mut noise, &one, at(1), "a"), Decision::Tell, "{one:?}");
        assert_eq!(judged(&mut noise, &one, at(1), "a"), Decision::Collapse, "{one:?}");
    }
}

#[test]
fn beyond_the_limit_alerts_are_counted_for_their_destination_alone() {
    let mut noise = Noise::new(limits(None, 3));
    let decisions: Vec<_> = (0..5).map(|process| noise.judge(&subject(process, 1), at(process as u64))).collect();
    use Decision::{Hold, Tell};
    assert_eq!(decisions, [Tell, Tell, Tell, Hold, Hold]);
    assert_eq!(noise.judge(&subject(9, 2), at(5)), Tell);
    assert!(noise.due(at(59)).is_empty());
    let destination = subject(0, 1).destination;
    assert_eq!(noise.due(at(60)), [Report::Held { rule: "r", destination, count: 2, first: at(3), last: at(4) }]);
    assert_eq!(noise.judge(&subject(10, 1), at(61)), Tell, "another minute");
}

#[test]
fn without_limits_all_is_told() {
    let mut noise = Noise::new(Limits::default());
    assert!((0..1000).all(|_| noise.judge(&subject(1, 1), at(1)) == Decision::Tell));
    assert!(noise.finish().is_empty());
}

#[test]
fn a_time_that_has_passed_is_told_before_the_next_begins_though_nobody_asked() {
    let mut noise = Noise::new(limits(Some(10), 1));
    assert_eq!(judged(&mut noise, &subject(1, 1), at(0), ""), Decision::Tell);
    assert_eq!(judged(&mut noise, &subject(1, 1), at(1), "one"), Decision::Collapse);
    assert_eq!(judged(&mut noise, &subject(2, 1), at(2), ""), Decision::Hold);
    assert_eq!(judged(&mut noise, &subject(1, 1), at(100), ""), Decision::Tell);
    let reports = noise.due(at(100));
    assert!(matches!(&reports[..], [Report::Repeated { count: 1, .. }, Report::Held { count: 1, .. }]), "{reports:?}");
}

#[test]
fn limits_that_change_leave_nothing_untold() {
    let mut noise = Noise::new(limits(Some(60), 1));
    judged(&mut noise, &subject(1, 1), at(0), "");
    judged(&mut noise, &subject(1, 1), at(1), "");
    judged(&mut noise, &subject(2, 1), at(1), "");
    noise.set_limits(Limits::default());
    assert_eq!(judged(&mut noise, &subject(1, 1), at(2), ""), Decision::Tell);
    assert_eq!(noise.due(at(60)).len(), 2);
}

fn told(reports: &[Report]) -> (u64, u64) {
    reports.iter().fold((0, 0), |(repeated, held), report| match report {
        Report::Repeated { count, .. } => (repeated + count, held),
        Report::Held { count, .. } => (repeated, held + count),
    })
}

proptest! {
    /// Each alert is told at once, or is in exactly one of the numbers that are told later; a process that was never heard of
    /// is never collapsed; the limit holds in each minute; and the memory stays within its bounds.
    #[test]
    fn every_alert_is_told_or_counted_once(
        collapse in proptest::option::of(1..90_u64),
        per_minute in 0..6_u32,
        most in 1..6_usize,
        alerts in proptest::collection::vec((0..8_usize, 0..4_usize, 0..30_u64, 0..40_usize), 0..200),
    ) {
        let mut noise = Noise::bounded(limits(collapse, per_minute), most, 64);
        let (mut now, mut known) = (0, BTreeSet::new());
        let (mut tell, mut collapsed, mut held) = (0, 0, 0);
        let (mut repeated_told, mut held_told) = (0, 0);
        let mut told_at: Vec<(usize, u64)> = Vec::new();
        for (process, destination, later, len) in &alerts {
            now += later;
            let new = known.insert((process, destination));
            match judged(&mut noise, &subject(*process, *destination), at(now), &"x".repeat(*len)) {
                Decision::Tell => {
                    tell += 1;
                    told_at.push((*destination, now));
                }
                Decision::Collapse => {
                    prop_assert!(!new && collapse.is_some());
                    collapsed += 1;
                }
                Decision::Hold => {
                    prop_assert!(per_minute > 0);
                    held += 1;
                }
            }
            prop_assert!(noise.repeats.len() <= most && noise.rates.len() <= most && noise.bytes <= 64);
            if later % 3 == 0 {
                let (repeated, held) = told(&noise.due(at(now)));
                repeated_told += repeated;
                held_told += held;
            }
        }
        let (repeated, held_last) = told(&noise.finish());
        prop_assert_eq!((repeated_told + repeated, held_told + held_last), (collapsed, held));
        prop_assert_eq!(tell + collapsed + held, alerts.len() as u64);
        prop_assert!(noise.bytes == 0 && noise.repeats.is_empty() && noise.rates.is_empty());
        // Where nothing had to be forgotten, the limit is one: twice of it where two minutes meet.
        if per_minute > 0 && most >= 4 {
            for (destination, from) in &told_at {
                let within = told_at.iter().filter(|(other, at)| other == destination && (*from..from + 60).contains(at));
                prop_assert!(within.count() <= 2 * per_minute as usize);
            }
        }
    }
}
