//! A spool against a list in memory, and files cut at every byte, changed at every byte, or gone.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use tempfile::TempDir;

/// In memory where that can be had: waiting for a disk some thousand times takes long.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn small(bytes: u64) -> Limits {
    Limits { bytes, segment: bytes / 4 }
}

fn open(directory: &Path) -> Spool {
    Spool::open(directory, small(1 << 20)).unwrap()
}

fn all(spool: &mut Spool) -> Vec<String> {
    let batch = spool.take(usize::MAX, usize::MAX).unwrap();
    batch.records.into_iter().map(|record| record.json).collect()
}

/// The spool gives these out, and again when it is opened anew, since they are not settled.
fn gives_out_for_good(mut spool: Spool, directory: &Path, numbers: Range<u64>) {
    assert_eq!(all(&mut spool), documents(numbers.clone()));
    drop(spool);
    assert_eq!(all(&mut open(directory)), documents(numbers));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    segment::list(directory).unwrap().iter().map(|segment| segment::path(directory, segment.first)).collect()
}

fn documents(numbers: Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{{\"n\":{number}}}")).collect()
}

fn fill(directory: &Path, numbers: Range<u64>) {
    let mut spool = open(directory);
    documents(numbers).iter().for_each(|json| spool.append(json).unwrap());
}

#[test]
fn what_is_settled_leaves_nothing_on_the_disk_and_does_not_come_back() {
    let folder = folder();
    let directory = folder.path().join("state/spool");
    fill(&directory, 0..5);
    let mut spool = open(&directory);
    assert_eq!(spool.numbers(), Numbers { found: 5, spooled: 5, ..Numbers::default() });
    let batch = spool.take(3, usize::MAX).unwrap();
    spool.settle(batch.to, 2).unwrap();
    assert_eq!(spool.numbers(), Numbers { found: 5, delivered: 2, dropped: 1, spooled: 2 });
    drop(spool);
    let mut spool = open(&directory);
    assert_eq!(all(&mut spool), documents(3..5));
    assert_eq!(files(&directory).len(), 1);
    spool.settle(5, 2).unwrap();
    assert!(files(&directory).is_empty());
    drop(spool);
    assert_eq!(open(&directory).numbers(), Numbers::default());
    fill(&directory, 5..6);
    assert_eq!(all(&mut open(&directory)), documents(5..6));
}

#[test]
fn files_are_private_and_used_by_one_process() {
    let folder = folder();
    let directory = folder.path().join("spool");
    let mut spool = open(&directory);
    spool.append("{}").unwrap();
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for entry in directory.read_dir().unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let refused = |directory: &Path| Spool::open(directory, small(1 << 20)).unwrap_err().to_string();
    assert_eq!(refused(&directory), "another process uses it");
    drop(spool);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(refused(&directory), "others can write to the directory");
}

#[test]
fn a_file_cut_anywhere_keeps_what_is_whole_and_takes_more() {
    let folder = folder();
    let original = folder.path().join("original");
    fill(&original, 0..4);
    let file = files(&original).pop().unwrap();
    let text = fs::read(&file).unwrap();
    let line = text.len() / 4;
    for end in 0..=text.len() {
        let directory = folder.path().join(format!("cut-{end}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(file.file_name().unwrap()), &text[..end]).unwrap();
        let whole = (end / line) as u64;
        let torn = u64::from(end % line != 0);
        let mut spool = open(&directory);
        let before = Numbers { found: whole + torn, spooled: whole, dropped: torn, delivered: 0 };
        assert_eq!(spool.numbers(), before, "{end}");
        spool.append("{\"n\":99}").unwrap();
        let mut expected = documents(0..whole);
        expected.push("{\"n\":99}".to_owned());
        assert_eq!(all(&mut spool), expected, "{end}");
        drop(spool);
        let mut again = open(&directory);
        assert_eq!((all(&mut again), again.numbers().dropped), (expected, 0), "{end}");
    }
}

#[test]
fn a_byte_changed_anywhere_costs_its_line_alone_and_is_counted() {
    let folder = folder();
    let original = folder.path().join("original");
    fill(&original, 0..4);
    let file = files(&original).pop().unwrap();
    let text = fs::read(&file).unwrap();
    let line = text.len() / 4;
    for place in 0..text.len() {
        for byte in [b'\n', b'~', text[place] ^ 1].into_iter().filter(|byte| *byte != text[place]) {
            let directory = folder.path().join(format!("changed-{place}-{byte}"));
            fs::create_dir(&directory).unwrap();
            let mut changed = text.clone();
            changed[place] = byte;
            fs::write(directory.join(file.file_name().unwrap()), changed).unwrap();
            let mut spool = open(&directory);
            spool.append("{\"n\":4}").unwrap();
            // Without the end of its line, a document takes the next one with it.
            let hurt = place / line..place / line + 1 + usize::from(place % line == line - 1);
            let expected: Vec<String> = documents(0..5)
                .into_iter()
                .enumerate()
                .filter(|(n, _)| *n == 4 || !hurt.contains(n))
                .map(|(_, json)| json)
                .collect();
            let batch = spool.take(usize::MAX, usize::MAX).unwrap();
            assert!(batch.records.iter().map(|record| &record.json).eq(&expected), "{place} {byte}: {batch:?}");
            spool.settle(batch.to, expected.len() as u64).unwrap();
            let numbers = spool.numbers();
            assert_eq!(numbers.found + 1, numbers.delivered + numbers.dropped, "{place} {byte}");
            assert!(numbers.dropped > 0 && numbers.spooled == 0, "{place} {byte}: {numbers:?}");
        }
    }
}

#[test]
fn a_file_that_is_damaged_to_its_end_or_gone_is_counted() {
    for gone in [false, true] {
        let folder = folder();
        let mut spool = open(folder.path());
        documents(0..3).iter().for_each(|json| spool.append(json).unwrap());
        let file = files(folder.path()).pop().unwrap();
        if gone {
            fs::remove_file(&file).unwrap();
        } else {
            let len = file.metadata().unwrap().len();
            fs::write(&file, "x".repeat(usize::try_from(len).unwrap())).unwrap();
        }
        assert_eq!(spool.take(9, 9).unwrap().records, []);
        assert_eq!(spool.numbers(), Numbers { dropped: 3, ..Numbers::default() });
        if !gone {
            spool.append("{\"n\":3}").unwrap();
            assert_eq!(all(&mut spool), documents(3..4));
        }
    }
}

#[test]
fn numbers_that_a_loss_of_power_took_are_not_given_again() {
    let folder = folder();
    fill(folder.path(), 0..9);
    let mut spool = open(folder.path());
    let batch = spool.take(7, usize::MAX).unwrap();
    spool.settle(batch.to, 7).unwrap();
    drop(spool);
    // The position was on the disk, the documents were not.
    let file = files(folder.path()).pop().unwrap();
    fs::write(file, "").unwrap();
    let mut spool = open(folder.path());
    spool.append("{\"n\":9}").unwrap();
    gives_out_for_good(spool, folder.path(), 9..10);
}

#[test]
fn without_its_position_everything_that_is_there_is_given_out() {
    let folder = folder();
    fill(folder.path(), 0..3);
    let mut spool = open(folder.path());
    spool.take(1, 9).unwrap();
    spool.settle(1, 1).unwrap();
    drop(spool);
    fs::write(folder.path().join("settled"), "0000000000 1").unwrap();
    assert_eq!(all(&mut open(folder.path())), documents(0..3));
}

#[test]
fn the_oldest_go_when_there_is_no_more_room() {
    let folder = folder();
    let mut spool = Spool::open(folder.path(), small(4000)).unwrap();
    let json = "x".repeat(80);
    for _ in 0..1000 {
        spool.append(&json).unwrap();
        let bytes: u64 = files(folder.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
        assert!(bytes <= 4000, "{bytes}");
    }
    let numbers = spool.numbers();
    assert_eq!(numbers.spooled + numbers.dropped, 1000);
    assert!((29..=40).contains(&numbers.spooled), "{numbers:?}");
    let batch = spool.take(usize::MAX, usize::MAX).unwrap();
    assert_eq!(batch.records.first().unwrap().number, numbers.dropped);
    assert_eq!(batch.records.len() as u64, numbers.spooled);
    // What is given up while it is on its way counts once.
    for _ in 0..1000 {
        spool.append(&json).unwrap();
    }
    spool.settle(batch.to, numbers.spooled).unwrap();
    let Numbers { delivered, spooled, dropped, found } = spool.numbers();
    assert_eq!((found, delivered, spooled + dropped), (0, 0, 2000));
    assert!(spool.append(&"x".repeat(4000)).is_err() && spool.append("a\nb").is_err());
    assert_eq!(spool.numbers().dropped, dropped + 2);
}

/// Lets no further file be made: where it would be, there are directories.
fn block(spool: &mut Spool, directory: &Path) {
    spool.disk.end_tail();
    (spool.next..spool.next + 99).for_each(|number| fs::create_dir(segment::path(directory, number)).unwrap());
}

fn unblock(directory: &Path) {
    files(directory).into_iter().filter(|path| path.is_dir()).for_each(|path| fs::remove_dir(path).unwrap());
}

#[test]
fn a_directory_that_takes_no_files_costs_nothing() {
    let folder = folder();
    let mut spool = open(folder.path());
    spool.append("{\"n\":0}").unwrap();
    block(&mut spool, folder.path());
    assert!(spool.append("{\"n\":1}").is_err() && spool.append("{\"n\":2}").is_err() && spool.sync().is_err());
    let batch = spool.take(2, usize::MAX).unwrap();
    assert!(batch.records.iter().map(|record| &record.json).eq(&documents(0..2)));
    spool.settle(batch.to, 2).unwrap();
    unblock(folder.path());
    spool.append("{\"n\":3}").unwrap();
    gives_out_for_good(spool, folder.path(), 2..4);
}

#[test]
fn memory_is_bounded_too() {
    let folder = folder();
    let mut spool = Spool::open(folder.path(), Limits::of(64 << 20)).unwrap();
    spool.append("{\"n\":0}").unwrap();
    block(&mut spool, folder.path());
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        assert!(spool.append(&large).is_err());
    }
    assert_eq!(spool.numbers(), Numbers { spooled: 8, dropped: 13, ..Numbers::default() });
    assert_eq!(all(&mut spool).len(), 8);
}

/// What is done to a spool.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    /// Takes so many; settles so many hundredths of them, so many of those delivered.
    Deliver(usize, usize, usize),
    Sync,
    /// As after SIGKILL.
    Reopen,
    /// The disk takes nothing from now on, or everything again.
    Full(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..120_usize).prop_map(Step::Append),
        3 => (1..12_usize, 0..=100_usize, 0..=100_usize).prop_map(|(take, settle, deliver)| Step::Deliver(take, settle, deliver)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(Step::Full),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_spool_is_a_list(steps in steps(), bytes in 1000..6000_u64) {
        let folder = folder();
        let mut spool = Spool::open(folder.path(), small(bytes)).unwrap();
        // What waits, oldest first; how much of it was given out; and what has become of the rest since the spool was opened.
        let mut waiting: VecDeque<String> = VecDeque::new();
        let mut given = 0;
        let mut expected = Numbers::default();
        let mut appended = 0;
        let mut full = false;
        for step in steps {
            match step {
                Step::Append(len) => {
                    let json = format!("{appended:0>10}{}", "x".repeat(len));
                    appended += 1;
                    prop_assert!(spool.append(&json).is_ok() || full);
                    waiting.push_back(json);
                }
                Step::Deliver(take, settle, deliver) => {
                    let batch = spool.take(take, usize::MAX).unwrap();
                    let next = waiting.iter().skip(given).take(take);
                    prop_assert!(batch.records.iter().map(|record| &record.json).eq(next));
                    given += batch.records.len();
                    let settled = given * settle / 100;
                    let delivered = (settled * deliver / 100) as u64;
                    spool.settle(spool.first + settled as u64, delivered).unwrap();
                    waiting.drain(..settled);
                    given -= settled;
                    expected.delivered += delivered;
                    expected.dropped += settled as u64 - delivered;
                }
                Step::Sync => prop_assert!(spool.sync().is_ok() || full),
                Step::Reopen => {
                    unblock(folder.path());
                    // Memory is gone.
                    waiting.truncate(waiting.len() - spool.memory.len());
                    drop(spool);
                    spool = Spool::open(folder.path(), small(bytes)).unwrap();
                    (given, full) = (0, false);
                    expected = Numbers { found: waiting.len() as u64, ..Numbers::default() };
                }
                Step::Full(true) if !full => {
                    block(&mut spool, folder.path());
                    full = true;
                }
                Step::Full(wanted) => {
                    unblock(folder.path());
                    full &= wanted;
                    if full {
                        block(&mut spool, folder.path());
                    }
                }
            }
            // What was given up for want of room is the oldest, and only as much as that asks for.
            let numbers = spool.numbers();
            let lost = waiting.len() - usize::try_from(numbers.spooled).unwrap();
            waiting.drain(..lost);
            given = given.saturating_sub(lost);
            expected.dropped += lost as u64;
            prop_assert_eq!(numbers, Numbers { spooled: waiting.len() as u64, ..expected });
            let kept: usize = waiting.iter().map(String::len).sum();
            prop_assert!(lost == 0 || kept as u64 >= bytes / 4, "{} of {} bytes", kept, bytes);
        }
    }
}
