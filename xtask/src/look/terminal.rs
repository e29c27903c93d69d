//! Alerts on terminals of several widths: what tmux shows is the plain text, line by line, and nothing else about the terminal has changed.

use super::Scene;
use super::check::Report;
use super::pty::{is_harmless, without_colours, written};
use super::tmux::{TITLE, Terminal};
use anyhow::{Result, ensure};

/// Columns.
pub(super) const WIDTHS: [u16; 3] = [60, 80, 200];

/// What is run, each on every width.
const COMMANDS: [&[&str]; 4] = [&["show", "alerts"], &["replay", "events"], &["show", "all"], COMPLAINING];
/// What this says of broken lines and absent files is as long as it is: the terminal breaks it.
const COMPLAINING: &[&str] = &["show", "broken", "\u{1b}]0;owned\u{7}"];

/// Properties of the terminal that no text may change: its title, whether the cursor is shown and where, the screen, the mouse.
const PROPERTIES: [(&str, &str); 6] = [
    ("pane_title", TITLE),
    ("cursor_flag", "1"),
    ("cursor_x", "0"),
    ("alternate_on", "0"),
    ("mouse_any_flag", "0"),
    ("insert_flag", "0"),
];

pub(super) fn look(scene: &Scene, report: &mut Report) {
    for columns in WIDTHS {
        for arguments in COMMANDS {
            let name = format!("{columns} columns: sensor {}", arguments.join(" ").escape_debug());
            report.check(&name, on_a_terminal(scene, columns, arguments));
        }
    }
}

fn on_a_terminal(scene: &Scene, columns: u16, arguments: &[&str]) -> Result<()> {
    let folder = scene.fixture.folder.path();
    let plain = written(&scene.sensor, arguments, folder, columns, false)?;
    is_harmless(&plain)?;
    let coloured = written(&scene.sensor, arguments, folder, columns, true)?;
    ensure!(without_colours(&coloured)? == plain, "in colour it is another text");
    let sensor = scene.sensor.to_string_lossy();
    // A program that says nothing keeps the terminal as it is.
    let script = "\"$0\" \"$@\"; exec sleep 600";
    let terminal = Terminal::start(columns, folder, &[&["sh", "-c", script, &sensor], arguments].concat())?;
    let wanted: Vec<&str> = plain.trim_end().lines().map(str::trim_end).collect();
    let shown = terminal.when(arguments == COMPLAINING, |lines| lines == wanted)?;
    for (place, (shown, wanted)) in shown.iter().zip(&wanted).enumerate() {
        ensure!(shown == wanted, "line {}:\n{shown}\ninstead of\n{wanted}", place + 1);
    }
    ensure!(shown.len() == wanted.len() && !wanted.is_empty(), "{} lines instead of {}", shown.len(), wanted.len());
    for (name, wanted) in PROPERTIES {
        let found = terminal.property(name)?;
        ensure!(found == wanted, "{name} is {found} instead of {wanted}");
    }
    Ok(())
}
