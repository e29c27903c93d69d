//! The status line of `sensor run` below a shell with job control: alerts come above it, and a sensor in the background has none.

use super::check::Report;
use super::tmux::Terminal;
use super::{Scene, piped};
use anyhow::{Context, Result, ensure};
use std::thread::sleep;
use std::time::Duration;

const COLUMNS: u16 = 80;
const PROMPT: &str = "prompt>";
/// Time in which a status line is drawn some times over.
const A_WHILE: Duration = Duration::from_secs(2);

pub(super) fn look(scene: &Scene, report: &mut Report) {
    let name = "the status line of sensor run, through Ctrl-Z, bg, fg and Ctrl-C";
    if rustix::process::geteuid().is_root() {
        report.check(name, in_a_shell(scene));
    } else {
        report.has::<()>(name, Err(anyhow::anyhow!("it needs root")));
    }
}

fn in_a_shell(scene: &Scene) -> Result<()> {
    let folder = scene.fixture.folder.path();
    std::fs::write(folder.join("sensor.toml"), "")?;
    let prompt = format!("PS1={PROMPT} ");
    let terminal = Terminal::start(COLUMNS, folder, &["env", &prompt, "bash", "--norc", "--noprofile", "-i"])?;
    terminal.until("the prompt", is_prompt)?;
    // It ends with its shell, also where this fails: the terminal's end alone is a SIGHUP, by which it reads its configuration again.
    let run = format!("setpriv --pdeathsig KILL {} run --config sensor.toml", scene.sensor.display());
    terminal.press(&[&run, "Enter"])?;
    terminal.until("the status line", |lines| is_status(lines.last()))?;
    // Others may make some on this host meanwhile.
    let alerts = |lines: &[String]| lines.iter().filter(|line| line.contains("ALERT ")).count();

    a_shell(scene)?;
    let lines = terminal.until("an alert above the status line", |lines| {
        alerts(lines) > 0 && lines.last().is_some_and(|line| is_status(Some(line)) && !line.starts_with("0 alerts |"))
    })?;
    ensure!(count(&lines) == 1, "the status line stands there more than once:\n{}", lines.join("\n"));
    let last = lines.last().context("nothing")?;
    ensure!(last.chars().count() < usize::from(COLUMNS), "the status line is as wide as the terminal: {last}");
    let id = lines.iter().position(|line| line.trim_start().starts_with("alert id ")).context("no end of the alert")?;
    ensure!(lines.get(id + 1).is_some_and(String::is_empty), "behind the alert:\n{}", lines.join("\n"));

    terminal.press(&["C-z"])?;
    let stopped = terminal.until("the prompt after Ctrl-Z", is_prompt)?;
    terminal.press(&["bg", "Enter"])?;
    terminal.until("the prompt after bg", |lines| lines.len() > stopped.len() && is_prompt(lines))?;
    let before = alerts(&terminal.text(false)?);
    a_shell(scene)?;
    terminal.until("an alert in the background", |lines| alerts(lines) > before)?;
    sleep(A_WHILE);
    let lines = terminal.text(false)?;
    ensure!(count(&lines) == count(&stopped), "a status line in the background:\n{}", lines.join("\n"));

    terminal.press(&["Enter", "fg", "Enter"])?;
    terminal.until("the status line after fg", |lines| is_status(lines.last()))?;
    terminal.press(&["C-c"])?;
    let lines = terminal.until("the prompt after Ctrl-C", is_prompt)?;
    ensure!(count(&lines) == count(&stopped), "the status line is still there:\n{}", lines.join("\n"));
    Ok(())
}

/// Makes a harmless reverse shell, which every sensor on this host sees.
fn a_shell(scene: &Scene) -> Result<()> {
    piped(&scene.sensor, &["selftest", "--config", "sensor.toml"], scene.fixture.folder.path()).map(drop)
}

fn is_prompt(lines: &[String]) -> bool {
    lines.last().is_some_and(|line| line == PROMPT)
}

fn is_status(line: Option<&String>) -> bool {
    line.is_some_and(|line| line.contains(" lost | "))
}

fn count(lines: &[String]) -> usize {
    lines.iter().filter(|line| is_status(Some(line))).count()
}
