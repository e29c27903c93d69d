//! How a running sensor stands, in one line: what matters most first, since a narrow terminal shows no more.

use crate::stats::Stats;

/// What there is to say.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The user side's numbers.
    pub stats: Stats,
    /// Events that the hooks have looked at.
    pub seen: u64,
    /// Those of them that cannot matter.
    pub filtered: u64,
    /// What was lost.
    pub lost: u64,
    /// The hooks in use, such as `exec=tracepoint`.
    pub hooks: Vec<String>,
}

/// `2 alerts | 0 lost | 120 seen, 112 filtered, 6 connections, 2 executions | exec=tracepoint`
#[must_use]
pub fn line(status: &Status) -> String {
    let Status { stats: Stats { connections, executions, alerts, .. }, seen, filtered, lost, hooks } = status;
    format!(
        "{} | {lost} lost | {seen} seen, {filtered} filtered, {}, {} | {}",
        count(*alerts, "alert"),
        count(*connections, "connection"),
        count(*executions, "execution"),
        hooks.join(" ")
    )
}

fn count(number: u64, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_most_comes_first() {
        let stats = Stats { alerts: 1, connections: 6, executions: 2, ..Stats::default() };
        let hooks = ["exec=tracepoint", "accept=off"].map(str::to_owned).to_vec();
        let status = Status { stats, seen: 120, filtered: 112, lost: 3, hooks };
        let expected =
            "1 alert | 3 lost | 120 seen, 112 filtered, 6 connections, 2 executions | exec=tracepoint accept=off";
        assert_eq!(line(&status), expected);
    }
}
