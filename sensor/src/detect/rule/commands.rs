//! Whether a shell reads its commands from its standard input, by its arguments: POSIX `sh`, with what bash and others add.

use super::Unsearched;
use crate::event::facts::{Facts, Field};

/// Options that take the argument behind them, where that is not a part of them.
const WITH_ARGUMENT: [&str; 7] = ["-o", "+o", "-O", "+O", "--rcfile", "--init-file", "--emulate"];

/// Whether the arguments name neither a command (`-c`) nor a script. Without any they do not; what was not searched may name one.
pub(super) fn are_read(facts: &Facts<'_>, unsearched: Unsearched) -> bool {
    if unsearched == Unsearched::Absent && facts.unsearched(Field::Args) {
        return false;
    }
    let mut args = facts.values(Field::Args).skip(1);
    while let Some(arg) = args.next() {
        let is_option = arg.len() > 1 && arg.starts_with(['-', '+']);
        if arg == "-s" {
            // Whatever follows are the positional parameters.
            return true;
        }
        if matches!(arg, "-" | "--") {
            return args.next().is_none();
        }
        if !is_option || is_command(arg) {
            return false;
        }
        if WITH_ARGUMENT.contains(&arg) {
            args.next();
        }
    }
    true
}

/// `-c`, also among other letters (`-lc`); or a long option of the same meaning, as fish has it.
fn is_command(option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => long == "command" || long.starts_with("command="),
        None => option
            .strip_prefix('-')
            .is_some_and(|flags| flags.contains('c') && flags.bytes().all(|one| one.is_ascii_alphabetic())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(args: &[&str]) -> bool {
        let document = json!({"@timestamp": 0, "process": {"args": args}});
        are_read(&Facts::from_value(&document).unwrap(), Unsearched::Holds)
    }

    #[test]
    fn a_shell_without_a_command_and_a_script_reads_its_input() {
        for args in [
            &["bash"][..],
            &[],
            &["-bash"],
            &["sh", "-i"],
            &["bash", "-li"],
            &["bash", "--login", "--norc"],
            &["bash", "--rcfile", "/tmp/x", "-i"],
            &["bash", "-o", "emacs"],
            &["sh", "-s", "a", "b"],
            &["sh", "-"],
            &["sh", "--"],
            &["zsh", "+x", "-f"],
        ] {
            assert!(read(args), "{args:?}");
        }
    }

    #[test]
    fn a_command_or_a_script_is_read_instead() {
        for args in [
            &["sh", "-c", "id"][..],
            &["bash", "-lc", "id"],
            &["bash", "-i", "-c", "id"],
            &["fish", "--command=id"],
            &["bash", "script"],
            &["bash", "-x", "script", "-i"],
            &["bash", "-o", "posix", "script"],
            &["sh", "--", "script"],
            &["sh", ""],
        ] {
            assert!(!read(args), "{args:?}");
        }
    }

    #[test]
    fn what_was_not_searched_may_be_a_command() {
        let document = json!({"@timestamp": 0, "process": {"args": ["sh"]}, "sensor": {"args": {"unsearched": true}}});
        let facts = Facts::from_value(&document).unwrap();
        assert!(are_read(&facts, Unsearched::Holds) && !are_read(&facts, Unsearched::Absent));
    }
}
