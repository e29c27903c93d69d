//! Between the user side and those who ask for its numbers: it makes them when somebody asks, at a turn of its loop, and never else.

use super::UserSide;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long an answer waits for the user side. One that is stuck is told of by the numbers that it left last.
const PATIENCE: Duration = Duration::from_millis(500);

/// The user side's end.
#[derive(Debug)]
pub struct Board {
    numbers: watch::Sender<UserSide>,
    shared: Arc<Shared>,
}

/// The end of those who ask.
#[derive(Clone, Debug)]
pub struct Reader {
    numbers: watch::Receiver<UserSide>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    asked: Notify,
    polled: Mutex<Instant>,
}

impl Board {
    /// Both ends, with the numbers of now.
    #[must_use]
    pub fn new(first: UserSide) -> (Self, Reader) {
        let shared = Arc::new(Shared { asked: Notify::new(), polled: Mutex::new(Instant::now()) });
        let (numbers, receiver) = watch::channel(first);
        (Self { numbers, shared: Arc::clone(&shared) }, Reader { numbers: receiver, shared })
    }

    /// Waits until somebody asks. Nothing is lost if it is dropped before.
    pub async fn asked(&self) {
        self.shared.asked.notified().await;
    }

    /// Answers all who have asked.
    pub fn answer(&self, numbers: UserSide) {
        self.numbers.send_replace(numbers);
    }

    /// The buffers have been read now.
    pub fn polled(&self) {
        *self.shared.polled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Reader {
    /// The numbers of now; of a user side that is stuck, those that it left last.
    pub async fn ask(&self) -> UserSide {
        let mut numbers = self.numbers.clone();
        numbers.mark_unchanged();
        self.shared.asked.notify_one();
        // Neither too late nor gone is an error: what was left is then all there is.
        let _ = timeout(PATIENCE, numbers.changed()).await;
        numbers.borrow().clone()
    }

    /// How long the buffers have not been read.
    #[must_use]
    pub fn silent(&self) -> Duration {
        self.shared.polled.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// One whose user side has not read the buffers for so long.
    #[cfg(test)]
    pub(super) fn stuck(numbers: UserSide, silent: Duration) -> Self {
        let (board, reader) = Board::new(numbers);
        *board.shared.polled.lock().unwrap() -= silent;
        reader
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn numbers(violations: u64) -> UserSide {
        UserSide { violations, ..UserSide::default() }
    }

    #[tokio::test]
    async fn numbers_are_made_for_those_who_ask_and_for_nobody_else() {
        let (board, reader) = Board::new(numbers(0));
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let side = tokio::spawn(async move {
            loop {
                board.asked().await;
                board.answer(numbers(count.fetch_add(1, Ordering::Relaxed) + 1));
            }
        });
        for turn in 1..=3 {
            assert_eq!(reader.ask().await.violations, turn);
            assert_eq!(made.load(Ordering::Relaxed), turn);
        }
        let (one, two) = tokio::join!(reader.ask(), reader.ask());
        assert!(one.violations >= 4 && two.violations >= 4, "both have an answer of now");
        side.abort();
    }

    #[tokio::test]
    async fn a_user_side_that_is_stuck_or_gone_has_left_its_last_numbers() {
        let (board, reader) = Board::new(numbers(0));
        board.answer(numbers(7));
        assert_eq!(reader.ask().await.violations, 7);
        drop(board);
        assert_eq!(reader.ask().await.violations, 7);
    }
}
