//! System calls that a program was refused by its own filter, as the kernel's log has them.

use anyhow::{Result, ensure};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// A line about a call that a filter refuses (`AUDIT_SECCOMP` of linux/audit.h). Where a daemon takes them, none are here.
const REFUSED: &str = "type=1326 ";

/// Checks that a process was refused nothing. Where the log cannot be read nothing is known, and nothing is wrong.
pub(crate) fn none_of(pid: u32) -> Result<()> {
    let Ok(log) = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg") else { return Ok(()) };
    let (mut log, mut line) = (log, [0; 8192]);
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
