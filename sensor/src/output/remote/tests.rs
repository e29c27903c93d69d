//! A far end that does as it is told: takes, refuses, fails, hangs.

use super::*;
use crate::output::queue::{Queue, Stats};
use crate::output::spool::{Limits, Numbers};
use serde_json::json;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Channel, channel};

type Answer = Box<dyn Fn(&[&str]) -> Result<Vec<Verdict>, Failure> + Send>;

/// Tells what it was sent, and answers as it is told next.
struct Told {
    sent: Channel<Vec<String>>,
    answers: Receiver<Answer>,
}

impl Transport for Told {
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
        let _ = self.sent.send(documents.iter().map(|document| (*document).to_owned()).collect());
        match self.answers.recv() {
            Ok(answer) => answer(documents),
            Err(_) => later("gone"),
        }
    }
}

struct Scene {
    queue: Queue,
    sent: Receiver<Vec<String>>,
    answers: Channel<Answer>,
}

fn scene(directory: &Path) -> Scene {
    let (sent_sender, sent) = channel();
    let (answers, answers_receiver) = channel();
    let spool = Spool::open(directory, Limits::of(1 << 20)).unwrap();
    let remote = Remote::start("test", spool, Told { sent: sent_sender, answers: answers_receiver }).unwrap();
    Scene { queue: Queue::start("test", remote).unwrap(), sent, answers }
}

impl Scene {
    fn send(&mut self, number: u64) {
        self.queue.send(Arc::new(json!(number).into()));
    }

    /// Has the documents from 1 to `last` wait for their turn, behind 0, which is on its way.
    fn send_behind_first(&mut self, last: u64) {
        self.send(0);
        self.sent();
        (1..=last).for_each(|number| self.send(number));
        self.until(stats(last + 1, 0, last + 1, 0));
    }

    fn sent(&self) -> Vec<String> {
        self.sent.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    fn answer(&self, answer: impl Fn(&[&str]) -> Result<Vec<Verdict>, Failure> + Send + 'static) {
        self.answers.send(Box::new(answer)).unwrap();
    }

    fn until(&self, wanted: Stats) {
        let start = Instant::now();
        while self.queue.stats() != wanted {
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", self.queue.stats());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is an answer")]
fn good(documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
    Ok(vec![Verdict::Delivered; documents.len()])
}

fn later(reason: &str) -> Result<Vec<Verdict>, Failure> {
    Err(Failure::Later { reason: reason.to_owned(), after: None })
}

fn stats(queued: u64, delivered: u64, spooled: u64, dropped: u64) -> Stats {
    Stats { queued, delivered, spooled, dropped }
}

#[test]
fn what_cannot_be_sent_waits_and_is_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = scene(folder.path());
    scene.send(0);
    assert_eq!(scene.sent(), ["0"]);
    scene.send(1);
    scene.answer(|_| later("refused"));
    assert_eq!(scene.sent(), ["0"]);
    scene.until(stats(2, 0, 2, 0));
    scene.answer(good);
    assert_eq!(scene.sent(), ["1"]);
    scene.answer(good);
    scene.until(stats(2, 2, 0, 0));
    assert_eq!(scene.queue.close(), stats(2, 2, 0, 0));
}

#[test]
fn each_document_of_a_batch_has_its_own_fate() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = scene(folder.path());
    scene.send_behind_first(4);
    scene.answer(good);
    assert_eq!(scene.sent(), ["1", "2", "3", "4"]);
    scene.answer(|_| {
        let [again, bad] = [Verdict::Later, Verdict::Rejected].map(|of| of("x".to_owned()));
        Ok(vec![Verdict::Delivered, again, bad, Verdict::Delivered])
    });
    assert_eq!(scene.sent(), ["2"]);
    // Settled is what stands in front of the one that is open.
    scene.until(stats(5, 2, 3, 0));
    scene.answer(good);
    scene.until(stats(5, 4, 0, 1));
    assert_eq!(scene.queue.close(), stats(5, 4, 0, 1));
}

#[test]
fn a_document_that_spoils_every_batch_is_found_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = scene(folder.path());
    scene.send_behind_first(8);
    let picky = |documents: &[&str]| match documents.contains(&"6") {
        true => Err(Failure::Smaller("six".to_owned())),
        false => good(documents),
    };
    (0..20).for_each(|_| scene.answer(picky));
    scene.until(stats(9, 8, 0, 1));
    let sent: Vec<Vec<String>> = scene.sent.try_iter().collect();
    assert!(sent.len() < 12, "{sent:?}");
    assert_eq!(scene.queue.close(), stats(9, 8, 0, 1));
}

#[test]
fn at_the_end_what_is_there_is_sent_if_the_far_end_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut scene = scene(folder.path());
    (0..5).for_each(|number| scene.send(number));
    (0..5).for_each(|_| scene.answer(good));
    assert_eq!(scene.queue.close(), stats(5, 5, 0, 0));
}

#[test]
fn a_far_end_that_is_stuck_or_away_does_not_hold_up_the_end_and_the_next_start_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    {
        let mut scene = scene(folder.path());
        scene.send(0);
        scene.sent();
        scene.send(1);
        // It never answers.
        let Scene { queue, answers, sent } = scene;
        assert_eq!(queue.close(), stats(2, 0, 2, 0));
        assert!(start.elapsed() < Duration::from_secs(30));
        // Only now does the sending thread end, and let go of the spool.
        drop(answers);
        while sent.recv_timeout(Duration::from_secs(60)) != Err(RecvTimeoutError::Disconnected) {}
    }
    let wait = || Spool::open(folder.path(), Limits::of(1 << 20)).map(|spool| spool.numbers());
    while wait().is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(wait().unwrap(), Numbers { found: 2, spooled: 2, ..Numbers::default() });
    let mut scene = scene(folder.path());
    scene.send(2);
    (0..3).for_each(|_| scene.answer(good));
    scene.until(stats(3, 3, 0, 0));
    assert_eq!(scene.queue.close(), stats(3, 3, 0, 0));
}
