//! A spool in a process of its own, which is killed at any moment, or whose disk takes no more.
//!
//! The process is this program again, run for one test alone that does nothing unless a variable tells it to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "the process tells this test what it has done")]

use sensor::output::spool::{Limits, Numbers, Spool};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const VARIABLE: &str = "SENSOR_TEST_SPOOL";
const BYTES: u64 = 64 << 20;

fn document(number: u64) -> String {
    format!("{{\"n\":{number},\"x\":\"{}\"}}", "y".repeat(usize::try_from(number % 700).unwrap()))
}

/// Appends one document after the other, and says each number once the document is there, until it is killed.
#[test]
fn appends_when_told_to() {
    let Some(directory) = std::env::var_os(VARIABLE) else { return };
    let mut spool = Spool::open(Path::new(&directory), Limits::of(BYTES)).unwrap();
    let mut out = std::io::stdout();
    for number in 0.. {
        let taken = spool.append(&document(number)).is_ok();
        writeln!(out, "\n{} {number}", if taken { "disk" } else { "memory" }).unwrap();
        if number % 10 == 9 {
            // Half of what waits goes.
            let batch = spool.take(5, usize::MAX).unwrap();
            spool.settle(batch.to, 5).unwrap();
            writeln!(out, "\nsettled {}", batch.to).unwrap();
        }
    }
}

/// The process, behind a shell that sets it up.
fn process(directory: &Path, setup: &str) -> Child {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{setup} exec \"$0\" --exact appends_when_told_to --nocapture"));
    shell.arg(std::env::current_exe().unwrap()).env(VARIABLE, directory);
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Reads what it says until `enough`, then kills it: the documents that the disk took, those that it did not, those settled.
fn until(mut child: Child, enough: impl Fn(u64, u64) -> bool) -> (u64, u64, u64) {
    let (mut disk, mut memory, mut settled) = (0, 0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        match line.unwrap().split_once(' ') {
            Some(("disk", _)) => disk += 1,
            Some(("memory", _)) => memory += 1,
            Some(("settled", number)) => settled = number.parse().unwrap(),
            _ => {}
        }
        if enough(disk, memory) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (disk, memory, settled)
}

#[test]
fn a_kill_at_any_moment_costs_nothing_that_was_taken() {
    for round in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let (told, _, settled) = until(process(folder.path(), ""), |disk, _| disk > 37 * (round + 1));
        let mut spool = Spool::open(folder.path(), Limits::of(BYTES)).unwrap();
        let Numbers { spooled, dropped, .. } = spool.numbers();
        let batch = spool.take(usize::MAX, usize::MAX).unwrap();
        // It was ahead of what it had told, by a settlement at most of what is read here.
        assert!(batch.records[0].number >= settled, "round {round}");
        assert!(batch.to >= told, "round {round}: {} of {told}", batch.to);
        assert_eq!(batch.records.len() as u64, spooled);
        assert!(dropped <= 1, "round {round}: {dropped}");
        for (record, number) in batch.records.iter().zip(batch.records[0].number..) {
            assert_eq!((record.number, &record.json), (number, &document(number)), "round {round}");
        }
    }
}

#[test]
fn a_disk_that_takes_no_more_of_a_file_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes: a file may have 8 KiB, an eighth of what ends one by itself.
    let child = process(folder.path(), "trap '' XFSZ; ulimit -f 16;");
    let (disk, memory, _) = until(child, |_, memory| memory > 20);
    assert!(disk > 0 && memory > 20, "{disk} {memory}");
    let mut spool = Spool::open(folder.path(), Limits::of(BYTES)).unwrap();
    assert_eq!(spool.numbers().dropped, 0);
    let batch = spool.take(usize::MAX, usize::MAX).unwrap();
    // Each that did not fit went to the next file, together with the one after it.
    for (record, number) in batch.records.iter().zip(batch.records[0].number..) {
        assert_eq!((record.number, &record.json), (number, &document(number)));
    }
    assert!(batch.to + 1 >= disk + memory, "{} of {disk} and {memory}", batch.to);
}
