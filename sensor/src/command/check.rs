//! `sensor check`: reads the configuration as `sensor run` would, and prints what is in effect as TOML that can be pasted
//! back.

use super::exit::Exit;
use crate::config::{Config, DEFAULT_PATH};
use crate::detect::exception;
use crate::enrich::clock;
use std::io::{self, Write};
use std::path::Path;

/// Prints the configuration in effect to `out`, or the one line that is wrong with it to `log`.
///
/// `config` is the file named on the command line, if one was. Gives [`Exit::Config`] if the configuration is not valid,
/// [`Exit::Failed`] if `out` cannot be written.
pub fn run(config: Option<&Path>, out: &mut impl Write, log: &mut impl Write) -> Exit {
    let loaded = match Config::load(config) {
        Ok(loaded) => loaded,
        Err(error) => {
            // Nobody is left to be told if this fails.
            let _ = writeln!(log, "sensor: {error}");
            return Exit::Config;
        }
    };
    let (_, now) = clock::now();
    for warning in exception::warnings(&loaded.exception, now) {
        let _ = writeln!(log, "sensor: {warning}");
    }
    match print(&loaded, config, out) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            let _ = writeln!(log, "sensor: cannot print the configuration: {error}");
            Exit::Failed
        }
    }
}

fn print(loaded: &Config, config: Option<&Path>, out: &mut impl Write) -> io::Result<()> {
    let default = Path::new(DEFAULT_PATH);
    match config {
        // A name with a line end would leave the comment.
        Some(path) => writeln!(out, "# From {:?}.", path.display().to_string())?,
        None if default.exists() => writeln!(out, "# From {DEFAULT_PATH}.")?,
        None => writeln!(out, "# Built-in defaults: there is no {DEFAULT_PATH}.")?,
    }
    out.write_all(loaded.to_toml().as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path) -> (Exit, String, String) {
        let (mut out, mut log) = (Vec::new(), Vec::new());
        let exit = run(Some(path), &mut out, &mut log);
        (exit, String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap())
    }

    #[test]
    fn what_is_printed_is_in_effect_when_pasted_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a\nb.toml");
        let text = "rule.span = '7000ms'\nhost.name = 'a \"b\"'\nevidence = { redact = [], runtimes = ['/x'] }\n";
        std::fs::write(&path, text).unwrap();
        let (exit, out, log) = check(&path);
        assert_eq!((exit, &*log), (Exit::Ok, ""));
        let expected = "[rule]\nspan = \"7s\"\n\
            excluded = [\"127.0.0.0/8\", \"169.254.0.0/16\", \"224.0.0.0/4\", \"::1/128\"]\n\
            relays = [\"python*\", \"perl*\", \"ruby*\", \"php*\", \"lua*\", \"node\", \"java\", \"nc\", \"nc.*\", \"ncat\", \"netcat\", \
            \"socat\", \"telnet\", \"openssl\", \"gawk\", \"busybox\"]\ndisabled = []\n\n\
            # [[exception]] is not there: every match gives an alert\n\n\
            [evidence]\nenvironment = []\nredact = []\nruntimes = [\"/x\"]\n\n\
            [hooks]\nconnect = \"auto\"\naccept = \"auto\"\nfork = \"auto\"\n\n\
            [host]\n# id is not set: the machine id\nname = \"a \\\"b\\\"\"\n\n\
            [kernel]\n# btf is not set: /sys/kernel/btf/vmlinux\n\n\
            [rings]\nconnections = 524288\nexecutions = 4194304\n\n\
            [output]\nstdout = true\n# file is not set: no file\njournal = false\n\n\
            # [output.elasticsearch] is not there: alerts go to no server\n\n\
            # [output.syslog] is not there: alerts go to no syslog server\n\n\
            [output.spool]\ndirectory = \"/var/lib/sensor/spool\"\nbytes = 67108864\n\n\
            [noise]\ncollapse = \"60s\"\nper_minute = 3000\n\n\
            [life]\noutputs = [\"file\", \"journal\", \"elasticsearch\", \"syslog\"]\nheartbeat = \"300s\"\n\n\
            [metrics]\n# listen is not set: nobody can ask\n";
        assert!(out.starts_with("# From ") && out.ends_with(expected), "{out}");
        let again = directory.path().join("again.toml");
        std::fs::write(&again, &out).unwrap();
        assert_eq!(Config::load(Some(&again)).unwrap(), Config::load(Some(&path)).unwrap());
    }

    #[test]
    fn an_exception_that_hides_a_shell_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensor.toml");
        let text = "[[exception]]\nname = \"a\"\nreason = \"b\"\nexecutable = \"*/zsh\"\n";
        std::fs::write(&path, text).unwrap();
        let (exit, out, log) = check(&path);
        assert_eq!(log, "sensor: exception \"a\" is so wide that no reverse shell of zsh gives an alert\n");
        assert!(exit == Exit::Ok && out.contains(text), "{out}");
    }

    #[test]
    fn an_error_is_one_line_and_nothing_is_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensor.toml");
        std::fs::write(&path, "[rule]\nspam = '5s'\n").unwrap();
        for path in [&*path, directory.path(), &directory.path().join("absent")] {
            let (exit, out, log) = check(path);
            assert_eq!((exit, &*out), (Exit::Config, ""));
            assert!(log.starts_with(&format!("sensor: {}:", path.display())), "{log}");
            assert_eq!(log.matches('\n').count(), 1, "{log}");
        }
    }

    #[test]
    fn an_output_that_cannot_be_written_is_no_success() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sensor.toml");
        std::fs::write(&path, "").unwrap();
        let mut log = Vec::new();
        assert_eq!(run(Some(&path), &mut Full, &mut log), Exit::Failed);
        assert!(String::from_utf8(log).unwrap().starts_with("sensor: cannot print the configuration: "));
    }
}
