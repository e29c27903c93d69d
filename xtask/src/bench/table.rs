//! The table of a part, as Markdown: for people, and for pages that quote it.

use super::Measured;
use super::figure::{Figure, Line};

/// The table.
pub(crate) fn of(Measured { part, seconds, lines, error }: &Measured) -> String {
    let mut text = format!("### {part} ({seconds:.0} s)\n");
    let figures: Vec<&Figure> = lines.iter().filter_map(measured).collect();
    if !figures.is_empty() {
        text += "\n| | | | |\n|---|---|---:|---|\n";
    }
    let mut last = "";
    for Figure { subject, quantity, value, unit, note } in figures {
        let said = if subject == last { "" } else { subject };
        last = subject;
        text += &format!("| {said} | {quantity} | {} {unit} | {note} |\n", rounded(*value));
    }
    for line in lines {
        if let Line::NotMeasured { subject, reason } = line {
            text += &format!("\nNot measured: {subject}: {reason}\n");
        }
    }
    if let Some(error) = error {
        text += &format!("\nFAILED: {error}\n");
    }
    text
}

fn measured(line: &Line) -> Option<&Figure> {
    match line {
        Line::Measured(figure) => Some(figure),
        Line::NotMeasured { .. } => None,
    }
}

/// With three digits that say something.
fn rounded(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(subject: &str, value: f64) -> Line {
        let [quantity, unit] = ["takes", "ns"].map(str::to_owned);
        Line::Measured(Figure { subject: subject.to_owned(), quantity, value, unit, note: "once".to_owned() })
    }

    #[test]
    fn what_is_missing_and_what_failed_stands_below() {
        let missing = Line::NotMeasured { subject: "auditd".to_owned(), reason: "not installed".to_owned() };
        let lines = vec![figure("exec", 12.34), missing, figure("exec", 1234.5), figure("fork", 0.126)];
        let part = Measured { part: "storm".to_owned(), seconds: 1.4, lines, error: Some("it broke".to_owned()) };
        assert_eq!(
            of(&part),
            "### storm (1 s)\n\n| | | | |\n|---|---|---:|---|\n\
             | exec | takes | 12.3 ns | once |\n|  | takes | 1234 ns | once |\n| fork | takes | 0.13 ns | once |\n\
             \nNot measured: auditd: not installed\n\nFAILED: it broke\n"
        );
    }
}
