//! Text with colours, as a terminal shows it.

use super::drawing::{escaped, svg};
use std::fmt::Write as _;

/// Hundredths of pixels that a character is wide, pixels that a line is high, and pixels around all of it.
const CELL: (usize, usize) = (783, 18);
const MARGIN: usize = 14;

/// The colours of a dark terminal, by the numbers that set them (SGR of ECMA-48).
const STYLE: &str = "text { font: 13px ui-monospace, monospace; fill: #e6edf3; white-space: pre } .s1 { font-weight: 700 } .s2 { fill: #8b98a5 }
.s31 { fill: #ff9a8f } .s33 { fill: #f2c063 } .s35 { fill: #f19be4 } .s36 { fill: #7cd0ec }";

/// The picture of a text as wide as a terminal of so many columns.
pub(super) fn picture(text: &str, columns: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let mut body = String::new();
    for (place, line) in lines.iter().enumerate() {
        let y = MARGIN + (place + 1) * CELL.1 - 5;
        let _ = writeln!(body, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", spans(line));
    }
    let size = ((columns * CELL.0).div_ceil(100) + 2 * MARGIN, lines.len() * CELL.1 + 2 * MARGIN);
    let ground = "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#12171c\"/>\n";
    svg(size, "An alert on a terminal", STYLE, &(ground.to_owned() + &body))
}

/// A line with its colours as classes.
fn spans(line: &str) -> String {
    let mut all = String::new();
    let mut classes = Vec::new();
    for (place, part) in line.split("\u{1b}[").enumerate() {
        let text = match part.split_once('m').filter(|_| place > 0) {
            Some(("0", text)) => {
                classes.clear();
                text
            }
            Some((number, text)) => {
                classes.push(format!("s{number}"));
                text
            }
            None => part,
        };
        match (text.is_empty(), classes.is_empty()) {
            (true, _) => {}
            (_, true) => all += &escaped(text),
            _ => all += &format!("<tspan class=\"{}\">{}</tspan>", classes.join(" "), escaped(text)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes() {
        assert_eq!(spans("a\u{1b}[1m\u{1b}[33m<b\u{1b}[0m c m"), "a<tspan class=\"s1 s33\">&lt;b</tspan> c m");
    }
}
