//! Lines of a file, one at a time, with a bound on their length.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};

/// Longest line that is read, in bytes: far more than the longest command line that Linux allows takes in JSON.
pub const LONGEST: usize = 16 << 20;

/// Reads the lines of an input. What is not needed any more of a line that is too long is never held.
pub struct Lines<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    bytes: u64,
}

/// Why there is no line.
#[derive(Debug)]
pub enum Broken {
    /// This line is no use; the next one may be.
    Line(TooLong),
    /// Nothing more can be read.
    Input(io::Error),
}

/// A line is longer than [`LONGEST`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the line is longer than {} MiB", LONGEST >> 20)
    }
}

impl<R: Read> Lines<R> {
    /// The lines of an input.
    pub fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(256 << 10, input), line: Vec::new(), number: 0, bytes: 0 }
    }

    /// The number of the line that was read last; the first one has 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not blank, without the line break; nothing at the end.
    ///
    /// # Errors
    /// When the line is too long, which leaves the ones behind it readable, or when reading fails.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Broken> {
        loop {
            self.line.clear();
            let most = LONGEST as u64 + 1;
            let read = self.input.by_ref().take(most).read_until(b'\n', &mut self.line).map_err(Broken::Input)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if self.line.last() == Some(&b'\n') {
                self.line.pop();
            } else if self.line.len() > LONGEST {
                self.bytes += self.input.skip_until(b'\n').map_err(Broken::Input)? as u64;
                self.line = Vec::new();
                return Err(Broken::Line(TooLong));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: impl Read) -> Vec<(u64, Result<Vec<u8>, String>)> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        loop {
            let line = match lines.read() {
                Ok(None) => return all,
                Ok(Some(line)) => Ok(line.to_vec()),
                Err(Broken::Line(reason)) => Err(reason.to_string()),
                Err(Broken::Input(error)) => Err(error.to_string()),
            };
            all.push((lines.number(), line));
        }
    }

    #[test]
    fn blank_lines_count_but_are_not_given() {
        let lines = all(&b"one\n\n \t\r\ntwo\r\n\nlast"[..]);
        let expected: [(u64, &[u8]); 3] = [(1, b"one"), (4, b"two\r"), (6, b"last")];
        assert_eq!(lines, expected.map(|(number, line)| (number, Ok(line.to_vec()))));
        assert_eq!(all(&b""[..]), []);
    }

    #[test]
    fn a_line_of_the_longest_length_is_read_and_a_longer_one_is_passed_over() {
        let mut input = vec![b'a'; LONGEST];
        input.extend(b"\nshort\n");
        input.extend(vec![b'b'; LONGEST + 1]);
        input.extend(b"\nlast");
        let lines = all(&input[..]);
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(lines[0].1.as_ref().map(Vec::len), Ok(LONGEST));
        assert_eq!(lines[1].1.as_deref(), Ok(&b"short"[..]));
        assert_eq!(lines[2].1.as_ref().unwrap_err(), "the line is longer than 16 MiB");
        assert_eq!(lines[3].1.as_deref(), Ok(&b"last"[..]));
    }

    #[test]
    fn an_endless_line_is_never_held() {
        let endless = io::repeat(b'x').take(200 << 20);
        let mut lines = Lines::new(endless.chain(&b"\n{}\n"[..]));
        assert!(matches!(lines.read(), Err(Broken::Line(TooLong))));
        assert!(lines.line.capacity() == 0);
        assert_eq!(lines.read().unwrap(), Some(&b"{}"[..]));
        assert_eq!((lines.number(), lines.bytes()), (2, (200 << 20) + 4));
    }
}
