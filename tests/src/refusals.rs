//! System calls that a program was refused by its own filter, as the kernel's log has them.

use anyhow::{Result, ensure};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

/// A line about a call that a filter refuses (`AUDIT_SECCOMP` of linux/audit.h). Where a daemon takes them, none are here.
const REFUSED: &str = "type=1326 ";

/// The kernel's log from a moment on; nothing where it cannot be read.
pub(crate) struct Refusals(Option<File>);

impl Refusals {
    /// From now on. What is older is about processes of which one may have had the same number.
    pub(crate) fn from_now() -> Self {
        let from_end = || {
            let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
            log.seek(SeekFrom::End(0))?;
            std::io::Result::Ok(log)
        };
        Self(from_end().ok())
    }

    /// Checks that a process was refused nothing. Where the log cannot be read nothing is known, and nothing is wrong.
    pub(crate) fn none_of(&self, pid: u32) -> Result<()> {
        let Some(mut log) = self.0.as_ref() else { return Ok(()) };
        let mut line = [0; 8192];
        let own = format!(" pid={pid} ");
        loop {
            match log.read(&mut line) {
                Ok(len) => {
                    let text = String::from_utf8_lossy(line.get(..len).unwrap_or_default());
                    ensure!(!(text.contains(REFUSED) && text.contains(&own)), "the sensor was refused a call: {text}");
                }
                // Lines that were overwritten meanwhile; the next read goes on behind them.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Writes a line to the kernel's log as a program may; whether that is allowed here.
    fn log(line: &str) -> bool {
        File::options().write(true).open("/dev/kmsg").is_ok_and(|mut log| writeln!(log, "{line}").is_ok())
    }

    #[test]
    fn a_refusal_counts_once_it_is_watched_for() {
        // More than any process has (`PID_MAX_LIMIT`).
        const NOBODY: u32 = 5_000_001;
        let line = format!("a test writes: {REFUSED} pid={NOBODY} comm=\"test\"");
        if !log(&line) || Refusals::from_now().0.is_none() {
            eprintln!("SKIPPED refusals: the kernel's log is not for this user");
            return;
        }
        let refusals = Refusals::from_now();
        refusals.none_of(NOBODY).unwrap();
        assert!(log(&line));
        refusals.none_of(NOBODY - 1).unwrap();
        let refusals = Refusals::from_now();
        assert!(log(&line));
        assert!(refusals.none_of(NOBODY).is_err());
    }
}
