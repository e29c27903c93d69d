//! What a program writes to a terminal of a certain width.

use anyhow::{Context, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

/// Characters that have no place in a text for a terminal: they move nothing a person sees, or turn its direction.
fn is_invisible(one: char) -> bool {
    matches!(one, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Runs the sensor on a pseudo-terminal; what it wrote, with the ends of lines as in a file.
pub(super) fn written(sensor: &Path, arguments: &[&str], folder: &Path, columns: u16, colour: bool) -> Result<String> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    tcsetwinsize(&master, Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let name = ptsname(&master, Vec::new())?.into_string()?;
    let side = || File::options().read(true).write(true).open(&name).with_context(|| name.clone());
    let mut command = Command::new(sensor);
    command.args(arguments).current_dir(folder).env("TERM", "xterm-256color").env_remove("NO_COLOR");
    if !colour {
        command.env("NO_COLOR", "1");
    }
    let mut child = command.stdin(side()?).stdout(side()?).stderr(side()?).spawn()?;
    // It holds the other side's descriptors: only without them does the last write end what is read here.
    drop(command);
    let mut bytes = Vec::new();
    // The kernel says EIO when nobody has the other side any more.
    let _ = File::from(master).read_to_end(&mut bytes);
    child.wait()?;
    Ok(String::from_utf8(bytes).context("what it wrote is no UTF-8")?.replace("\r\n", "\n"))
}

/// That a terminal only puts these characters there.
pub(super) fn is_harmless(text: &str) -> Result<()> {
    let bad = |one: &char| one.is_control() && *one != '\n' || is_invisible(*one);
    let found = text.chars().find(bad);
    ensure!(found.is_none(), "it writes {:?}", found.unwrap_or_default());
    Ok(())
}

/// A text without colours: sequences that set them (SGR of ECMA-48), which alone may be there.
pub(super) fn without_colours(text: &str) -> Result<String> {
    let mut plain = String::new();
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (numbers, rest) = part.split_once('m').context("a sequence that sets no colour")?;
        ensure!(numbers.chars().all(|one| one.is_ascii_digit() || one == ';'), "ESC [ {numbers}");
        plain.push_str(rest);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_are_taken_away() {
        assert_eq!(without_colours("\u{1b}[1m\u{1b}[38;5;1ma\u{1b}[0mb\n").unwrap(), "ab\n");
        for bad in ["\u{1b}[2J", "\u{1b}[1;1Ham"] {
            assert!(without_colours(bad).is_err(), "{bad:?}");
        }
        assert_eq!(without_colours("\u{1b}]0;m").unwrap(), "\u{1b}]0;m");
        assert!(is_harmless("\u{1b}]0;m").is_err() && is_harmless("a\u{202e}").is_err());
        assert!(is_harmless("\u{6f22} \u{2514}\u{2500}\n").is_ok());
    }

    #[test]
    fn it_is_a_terminal_of_that_width() {
        let text =
            written(Path::new("/bin/sh"), &["-c", "stty size; [ -t 1 ] && echo terminal"], Path::new("/"), 77, false);
        assert_eq!(text.unwrap(), "50 77\nterminal\n");
    }
}
