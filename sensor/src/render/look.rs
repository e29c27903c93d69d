//! How a terminal wants text: how wide, and whether in colour.

use rustix::termios::tcgetwinsize;
use std::env;
use std::io::IsTerminal;
use std::os::fd::AsFd;

/// Columns of what is no terminal, or does not tell.
const USUAL: usize = 100;
/// Narrower and wider than this, a terminal is treated as if it were so: a picture needs some room, and nobody reads longer lines.
const BOUNDS: (usize, usize) = (24, 400);

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Whether in colour.
    pub colour: bool,
}

impl Look {
    /// That of an output: its width if it is a terminal, and in colour if it is one and nobody minds (`NO_COLOR`, `TERM=dumb`).
    #[must_use]
    pub fn of(output: &(impl AsFd + IsTerminal)) -> Self {
        Self::plain().measured(output).coloured(output.is_terminal() && colour_is_welcome())
    }

    /// That of a file.
    #[must_use]
    pub fn plain() -> Self {
        Self { width: USUAL, colour: false }
    }

    /// As wide as the output is now, as tty_ioctl(4) has it.
    #[must_use]
    pub fn measured(self, output: &impl AsFd) -> Self {
        let columns = tcgetwinsize(output).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self { width: columns.map_or(self.width, |columns| columns.clamp(BOUNDS.0, BOUNDS.1)), ..self }
    }

    fn coloured(self, colour: bool) -> Self {
        Self { colour, ..self }
    }
}

/// As <https://no-color.org> asks.
fn colour_is_welcome() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}
