//! A sign of life in a file, for whoever cannot be told by systemd's protocol, such as the probes of Kubernetes.
//!
//! The loop that reads the kernel's buffers writes the time of the boot clock into it, so that a loop that is stuck is told from
//! a quiet host. The file is held open: writing needs no right that was given up after the start.

use crate::event::BootTime;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// How often the time is written at most. The loop turns at least every five seconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// A sign that is older means that the loop is stuck.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Digits of the time in nanoseconds, zeros in front: each writing covers the one before.
const DIGITS: usize = 20;

/// The file, written by a running sensor.
#[derive(Debug)]
pub struct Heartbeat {
    file: File,
    last: Option<BootTime>,
    failed: bool,
}

impl Heartbeat {
    /// Makes the file, or empties the one that an earlier sensor has left: until the first beat there is no sign of life.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::create(path)?, last: None, failed: false })
    }

    /// Writes the time, unless that was done within the last second. A failure is logged once; those who look see no sign then.
    pub fn beat(&mut self, now: BootTime) {
        let since = |last: BootTime| Duration::from_nanos(now.0.saturating_sub(last.0));
        if self.last.is_some_and(|last| since(last) < INTERVAL) {
            return;
        }
        self.last = Some(now);
        let result = self.file.write_all_at(format!("{:0DIGITS$}\n", now.0).as_bytes(), 0);
        if let Err(error) = &result
            && !self.failed
        {
            tracing::error!("the sign of life cannot be written: {error}");
        }
        self.failed = result.is_err();
    }
}

/// Why a sensor does not count as alive.
#[derive(Debug, thiserror::Error)]
pub enum NotAlive {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It holds no time: the sensor is starting, or the file is something else.
    #[error("no sign of life yet")]
    NoSign,
    /// The last sign is too old, or from before the last boot.
    #[error("no sign of life for {} s", .0.as_secs())]
    Old(Duration),
    /// It is from the future of the boot clock, that is from an earlier boot.
    #[error("the sign of life is from an earlier boot")]
    OtherBoot,
}

/// How long ago the sensor that writes this file has given its last sign, which is at most [`LIMIT`].
///
/// # Errors
/// There is no such sign.
pub fn age(path: &Path, now: BootTime) -> Result<Duration, NotAlive> {
    let mut text = String::new();
    let file = File::open(path).map_err(NotAlive::Unreadable)?;
    file.take(DIGITS as u64 + 1).read_to_string(&mut text).map_err(NotAlive::Unreadable)?;
    let whole = text.len() == DIGITS + 1;
    let at: u64 = text.trim_end().parse().ok().filter(|_| whole).ok_or(NotAlive::NoSign)?;
    let age = now.0.checked_sub(at).map(Duration::from_nanos).ok_or(NotAlive::OtherBoot)?;
    if age > LIMIT { Err(NotAlive::Old(age)) } else { Ok(age) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * SECOND)
    }

    #[test]
    fn a_sensor_is_alive_while_its_sign_is_young() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        assert!(matches!(age(&path, at(5)), Err(NotAlive::Unreadable(_))));
        let mut heartbeat = Heartbeat::create(&path).unwrap();
        assert!(matches!(age(&path, at(5)), Err(NotAlive::NoSign)));
        heartbeat.beat(at(100));
        assert_eq!(age(&path, at(103)).unwrap(), Duration::from_secs(3));
        assert_eq!(age(&path, at(120)).unwrap(), LIMIT);
        assert_eq!(age(&path, at(125)).unwrap_err().to_string(), "no sign of life for 25 s");
        assert!(matches!(age(&path, at(99)), Err(NotAlive::OtherBoot)));
        // A sensor that is started anew is not alive by the sign of the one before.
        drop(Heartbeat::create(&path).unwrap());
        assert!(matches!(age(&path, at(101)), Err(NotAlive::NoSign)));
    }

    #[test]
    fn the_time_is_written_once_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        let mut heartbeat = Heartbeat::create(&path).unwrap();
        heartbeat.beat(BootTime(u64::MAX));
        assert_eq!(age(&path, BootTime(u64::MAX)).unwrap(), Duration::ZERO);
        let mut heartbeat = Heartbeat::create(&path).unwrap();
        heartbeat.beat(at(7));
        heartbeat.beat(BootTime(8 * SECOND - 1));
        assert_eq!(age(&path, at(9)).unwrap(), Duration::from_secs(2));
        heartbeat.beat(at(8));
        assert_eq!(age(&path, at(9)).unwrap(), Duration::from_secs(1));
    }

    #[test]
    fn what_is_no_time_is_no_sign() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        for text in ["", "\n", "7\n", "0000000000000000000x\n", "00000000000000000007", "99999999999999999999\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(age(&path, at(9)), Err(NotAlive::NoSign)), "{text:?}");
        }
        std::fs::write(&path, [0xff; 21]).unwrap();
        assert!(matches!(age(&path, at(9)), Err(NotAlive::Unreadable(_))));
    }
}
