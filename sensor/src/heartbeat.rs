//! A sign of life in a file: for whoever cannot be told by systemd's protocol, such as the probes of Kubernetes, and for the next
//! sensor, which says by it since when nobody has watched.
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
/// Longest line that is a sign.
const LINE: u64 = 256;

/// The file, written by a running sensor.
#[derive(Debug)]
pub struct Heartbeat {
    file: File,
    boot_id: String,
    last: Option<BootTime>,
    failed: bool,
}

impl Heartbeat {
    /// Makes the file, or empties the one that an earlier sensor has left: until the first beat there is no sign of life. Also gives
    /// when an earlier sensor of this boot gave its last.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, boot_id: &str) -> io::Result<(Self, Option<BootTime>)> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let before = read(&file, boot_id).ok();
        file.set_len(0)?;
        Ok((Self { file, boot_id: boot_id.to_owned(), last: None, failed: false }, before))
    }

    /// Writes the time, unless that was done within the last second.
    pub fn beat(&mut self, now: BootTime) {
        let since = |last: BootTime| Duration::from_nanos(now.0.saturating_sub(last.0));
        if self.last.is_none_or(|last| since(last) >= INTERVAL) {
            self.write(now);
        }
    }

    /// Writes the time, for the last time: the sensor is about to detach.
    pub fn end(mut self, now: BootTime) {
        self.write(now);
    }

    /// A failure is logged once; those who look see no sign then.
    fn write(&mut self, now: BootTime) {
        self.last = Some(now);
        let result = self.file.write_all_at(format!("{:0DIGITS$} {}\n", now.0, self.boot_id).as_bytes(), 0);
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
    /// The last sign is too old.
    #[error("no sign of life for {} s", .0.as_secs())]
    Old(Duration),
    /// It is from another boot.
    #[error("the sign of life is from an earlier boot")]
    OtherBoot,
}

/// How long ago the sensor that writes this file has given its last sign, which is at most [`LIMIT`].
///
/// # Errors
/// There is no such sign.
pub fn age(path: &Path, now: BootTime, boot_id: &str) -> Result<Duration, NotAlive> {
    let at = read(&File::open(path).map_err(NotAlive::Unreadable)?, boot_id)?;
    let age = now.0.checked_sub(at.0).map(Duration::from_nanos).ok_or(NotAlive::NoSign)?;
    if age > LIMIT { Err(NotAlive::Old(age)) } else { Ok(age) }
}

/// The sign that a file holds.
fn read(file: &File, boot_id: &str) -> Result<BootTime, NotAlive> {
    let mut text = String::new();
    file.take(LINE).read_to_string(&mut text).map_err(NotAlive::Unreadable)?;
    let (time, of) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or(NotAlive::NoSign)?;
    let whole = time.len() == DIGITS && time.bytes().all(|byte| byte.is_ascii_digit());
    let at = time.parse().ok().filter(|_| whole).ok_or(NotAlive::NoSign)?;
    if of == boot_id { Ok(BootTime(at)) } else { Err(NotAlive::OtherBoot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BOOT: &str = "b7d0e4a8-6c39-4f0e-8f6b-2f7d1c0a9e55";

    fn at(seconds: u64) -> BootTime {
        BootTime(seconds * SECOND)
    }

    #[test]
    fn a_sensor_is_alive_while_its_sign_is_young() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        let age = |now| age(&path, now, BOOT);
        assert!(matches!(age(at(5)), Err(NotAlive::Unreadable(_))));
        let (mut heartbeat, before) = Heartbeat::create(&path, BOOT).unwrap();
        assert!(matches!(age(at(5)), Err(NotAlive::NoSign)) && before.is_none());
        heartbeat.beat(at(100));
        assert_eq!(age(at(103)).unwrap(), Duration::from_secs(3));
        assert_eq!(age(at(120)).unwrap(), LIMIT);
        assert_eq!(age(at(125)).unwrap_err().to_string(), "no sign of life for 25 s");
        assert!(matches!(age(at(99)), Err(NotAlive::NoSign)));
        // A sensor that is started anew is not alive by the sign of the one before.
        let (_, before) = Heartbeat::create(&path, BOOT).unwrap();
        assert!(matches!(age(at(101)), Err(NotAlive::NoSign)));
        assert_eq!(before, Some(at(100)));
    }

    #[test]
    fn the_time_is_written_once_a_second_and_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        let age = |now| age(&path, now, BOOT).unwrap();
        let (mut heartbeat, _) = Heartbeat::create(&path, BOOT).unwrap();
        heartbeat.beat(BootTime(u64::MAX));
        assert_eq!(age(BootTime(u64::MAX)), Duration::ZERO);
        let (mut heartbeat, _) = Heartbeat::create(&path, BOOT).unwrap();
        heartbeat.beat(at(7));
        heartbeat.beat(BootTime(8 * SECOND - 1));
        assert_eq!(age(at(9)), Duration::from_secs(2));
        heartbeat.beat(at(8));
        assert_eq!(age(at(9)), Duration::from_secs(1));
        heartbeat.end(BootTime(8 * SECOND + 1));
        assert_eq!(age(BootTime(8 * SECOND + 1)), Duration::ZERO);
    }

    #[test]
    fn a_sign_of_another_boot_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        Heartbeat::create(&path, "another").unwrap().0.beat(at(7));
        assert!(matches!(age(&path, at(9), BOOT), Err(NotAlive::OtherBoot)));
        assert_eq!(Heartbeat::create(&path, BOOT).unwrap().1, None);
    }

    #[test]
    fn what_is_no_time_is_no_sign() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        let line = |time: &str| format!("{time} {BOOT}\n");
        let short = format!("00000000000000000007 {BOOT}");
        for text in
            ["", "\n", "7\n", " \n", &line("7"), &line("+0000000000000000007"), &line("99999999999999999999"), &short]
        {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(age(&path, at(9), BOOT), Err(NotAlive::NoSign)), "{text:?}");
        }
        std::fs::write(&path, [0xff; 21]).unwrap();
        assert!(matches!(age(&path, at(9), BOOT), Err(NotAlive::Unreadable(_))));
    }
}
