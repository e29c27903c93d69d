//! Waits until a point in time, and wakes up once for it.
//!
//! The runtime's own timers are kept in a wheel whose finest steps are a millisecond: for a wait of seconds it wakes up twice more,
//! each time to move the timer to a finer wheel. The kernel's timers do not (timerfd_create(2)).

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the kernel's, registered with the runtime. It stands still while the host is asleep, as [`Instant`] does.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Instant>,
}

impl Alarm {
    /// One that is not set. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the kernel gives no timer, or it cannot be registered.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: the descriptor stays inside the AsyncFd until both are dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, set: None })
    }

    /// Waits until then. If it is dropped before, the next call goes on with it or sets it anew.
    ///
    /// # Errors
    ///
    /// When the timer cannot be set, or the runtime shuts down.
    pub async fn rings(&mut self, at: Instant) -> io::Result<()> {
        loop {
            if self.set != Some(at) {
                self.set(at.saturating_duration_since(Instant::now()))?;
                self.set = Some(at);
            }
            self.timer.readable().await?.clear_ready();
            // It may have rung for an earlier time, just before it was set to this one.
            if Instant::now() >= at {
                self.set = None;
                return Ok(());
            }
        }
    }

    fn set(&self, after: Duration) -> io::Result<()> {
        // A timer that is set to zero never rings.
        let after = after.max(Duration::from_nanos(1));
        let after = Timespec::try_from(after).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: after };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voluntary_switches() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    }

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn it_rings_at_its_time_and_wakes_up_once_for_it() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let at = Instant::now() + Duration::from_millis(600);
            let before = voluntary_switches();
            alarm.rings(at).await.unwrap();
            assert!(Instant::now() >= at);
            assert_eq!(voluntary_switches() - before, 1);
        });
    }

    #[test]
    fn a_time_that_is_past_rings_at_once_and_the_same_time_rings_again() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let at = Instant::now();
            for _ in 0..3 {
                alarm.rings(at).await.unwrap();
            }
        });
    }

    #[test]
    fn one_that_was_not_waited_for_is_set_anew() {
        block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let (late, soon) = (Instant::now() + Duration::from_secs(3600), Instant::now() + Duration::from_millis(5));
            for _ in 0..3 {
                // Given up before it rings.
                tokio::select! {
                    biased;
                    result = alarm.rings(late) => panic!("{result:?}"),
                    () = tokio::task::yield_now() => {}
                }
                tokio::select! {
                    biased;
                    result = alarm.rings(soon) => result.unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            }
            alarm.rings(soon).await.unwrap();
            assert!(Instant::now() >= soon);
            // Rung, and not heard of before it was set to a later time.
            alarm.set(Duration::ZERO).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            tokio::task::yield_now().await;
            let at = Instant::now() + Duration::from_millis(20);
            alarm.rings(at).await.unwrap();
            assert!(Instant::now() >= at);
        });
    }
}
