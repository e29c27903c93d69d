//! Drawings: the processes of an alert with what they did, and the timeline of a process.
//!
//! They have no styles of their own, which the page's policy would not allow: classes of the page's style, and attributes.

use super::super::picture::{Arrow, Picture};
use super::super::timeline::{Deed, Timeline};
use super::{escape, line, short};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr as _;

/// Height of a row.
const ROW: usize = 22;
/// Width by which a child stands to the right of its parent, and of a column of text of this size.
const STEP: usize = 26;
const COLUMN: usize = 8;
/// Things a process did that are drawn at most.
const MOST_ROWS: usize = 2000;

/// A drawing that grows downwards.
#[derive(Debug, Default)]
struct Drawing {
    body: String,
    rows: usize,
    width: usize,
}

impl Drawing {
    /// Middle of the row that comes next.
    fn middle(&self) -> usize {
        self.rows * ROW + ROW / 2
    }

    /// Ends a row with texts in their classes, of which the first begins here.
    fn texts(&mut self, left: usize, texts: &[(&str, &str)]) {
        let base = self.middle() + 4;
        let mut columns = 0;
        let _ = write!(self.body, "<text x=\"{left}\" y=\"{base}\">");
        for (class, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
            let text = escape(text);
            let _ = write!(self.body, "<tspan class=\"{class}\">{text}</tspan> ");
            columns += text.width() + 1;
        }
        self.body.push_str("</text>");
        self.width = self.width.max(left + columns * COLUMN);
        self.rows += 1;
    }

    fn path(&mut self, class: &str, data: &str) {
        let _ = write!(self.body, "<path class=\"{class}\" d=\"{data}\"/>");
    }

    fn dot(&mut self, left: usize, class: &str) {
        let _ = write!(self.body, "<circle class=\"{class}\" cx=\"{left}\" cy=\"{}\" r=\"4\"/>", self.middle());
    }

    fn finish(self, label: &str) -> String {
        let (width, height) = (self.width + COLUMN, self.rows * ROW);
        let label = escape(&short(label, 300));
        format!(
            "<svg role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">{}</svg>",
            self.body
        )
    }
}

/// The processes of an alert, the oldest at the top, each with a line from its parent; the connection, and the execution behind it.
pub(super) fn tree(picture: &Picture, grade: &str) -> String {
    let mut drawing = Drawing::default();
    if picture.older {
        drawing.texts(4, &[("quiet", "\u{2026} older ancestors are not in the document")]);
    }
    let mut above = None;
    for (level, program) in picture.programs.iter().enumerate() {
        let left = level * STEP + 8;
        let is_shell = level + 1 == picture.programs.len();
        let middle = drawing.middle();
        if let Some(above) = above {
            drawing.path("line", &format!("M{} {}V{middle}H{}", left - STEP + 2, above + 8, left - 3));
        }
        above = Some(middle);
        let name = if is_shell { format!("name {grade}") } else { "name".to_owned() };
        drawing.texts(left, &[(&name, &short(program.title(), 60)), ("quiet", &line(program))]);
        let command = program.command.as_ref().map(|command| short(command, 300)).unwrap_or_default();
        if !is_shell && !command.is_empty() {
            drawing.texts(left + STEP, &[("quiet", &command)]);
        }
        let connection = picture.connection.as_ref().filter(|arrow| arrow.by == level);
        let elapsed = picture.elapsed_ms.map(|elapsed| format!("{elapsed} ms"));
        let zero = elapsed.as_ref().map(|elapsed| format!("{:>1$}", "0 ms", elapsed.len()));
        let top = drawing.middle();
        if let Some(arrow) = connection {
            drawing.dot(left + STEP, "connection");
            ends(&mut drawing, left + STEP + 12, zero.as_deref().unwrap_or_default(), arrow);
        }
        if is_shell {
            let path = program.executable.as_ref().map(|path| short(path, 200)).unwrap_or_default();
            if connection.is_some() {
                drawing.path("arrow", &format!("M{0} {1}V{2}", left + STEP, top + 5, drawing.middle() - 5));
            }
            drawing.dot(left + STEP, "run");
            let elapsed = elapsed.unwrap_or_default();
            drawing.texts(left + STEP + 12, &[("quiet", &elapsed), ("", &path), ("name", &command)]);
        }
    }
    drawing.finish(picture.why.as_deref().unwrap_or("the processes of the alert"))
}

/// What a process did, from the top down, each with its distance from the first.
pub(super) fn timeline(timeline: &Timeline) -> String {
    let mut drawing = Drawing::default();
    let left = 12;
    for (place, entry) in timeline.entries.iter().take(MOST_ROWS).enumerate() {
        if place > 0 {
            let middle = drawing.middle();
            drawing.path("line", &format!("M{left} {}V{}", middle + 5 - ROW, middle - 5));
        }
        let when = if place == 0 { short(&entry.time, 40) } else { format!("+{} ms", timeline.millis_to(entry)) };
        match &entry.deed {
            Deed::Connection(arrow) => {
                drawing.dot(left, "connection");
                ends(&mut drawing, left + 12, &when, arrow);
            }
            Deed::Execution(path, command, streams) => {
                drawing.dot(left, "run");
                let [path, command, streams] = [short(path, 200), short(command, 300), short(streams, 200)];
                drawing.texts(left + 12, &[("quiet", &when), ("", &path), ("name", &command), ("quiet", &streams)]);
            }
            Deed::Other(action) => {
                drawing.dot(left, "other");
                drawing.texts(left + 12, &[("quiet", &when), ("", &short(action, 200))]);
            }
        }
    }
    if let Some(more) = timeline.entries.len().checked_sub(MOST_ROWS).filter(|more| *more > 0) {
        drawing.texts(left + 12, &[("quiet", &format!("and {more} more"))]);
    }
    drawing.finish(&format!("what {} did", timeline.program.title()))
}

fn ends(drawing: &mut Drawing, left: usize, when: &str, arrow: &Arrow) {
    let under = arrow.under.as_ref().map(|maker| short(maker, 60)).unwrap_or_default();
    let [local, remote] = [&arrow.local, &arrow.remote].map(|end| short(end, 60));
    let texts =
        [("quiet", when), ("", &under), ("", &local), ("remote", arrow.sign()), ("remote", &remote), ("", arrow.way())];
    drawing.texts(left, &texts);
}
