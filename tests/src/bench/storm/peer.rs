//! The tools that the sensor is compared with: what people use to see executions and connections.

use super::audit::Audit;
use super::tool::Tool;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same detection, but for the arguments, which this tracepoint does not show, and for the addresses, which these system calls do not.
const SCRIPT: &str = r#"
tracepoint:sock:inet_sock_set_state /args->newstate == 2 && args->protocol == 6/ {
    if (comm == "bash" || comm == "dash" || comm == "sh" || comm == "tcsh" || comm == "csh" || comm == "zsh" || comm == "ksh" || comm == "fish" || comm == "socat") {
        @armed[pid] = nsecs;
    }
}
tracepoint:syscalls:sys_exit_accept,tracepoint:syscalls:sys_exit_accept4 /args->ret >= 0/ {
    if (comm == "bash" || comm == "dash" || comm == "sh" || comm == "tcsh" || comm == "csh" || comm == "zsh" || comm == "ksh" || comm == "fish" || comm == "socat") {
        @armed[pid] = nsecs;
    }
}
tracepoint:sched:sched_process_exec /@armed[pid]/ {
    if (nsecs - @armed[pid] <= 5000000000 && (comm == "bash" || comm == "dash" || comm == "sh" || comm == "tcsh" || comm == "csh" || comm == "zsh" || comm == "ksh" || comm == "fish")) {
        printf("%d %s\n", pid, comm);
    }
}
tracepoint:sched:sched_process_exit /@armed[pid]/ { delete(@armed[pid]); }
"#;

/// A tool.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Its programs, each with its arguments.
    programs: &'static [(&'static str, &'static [&'static str])],
    unpacked: Option<PathBuf>,
}

/// All of them.
pub(crate) fn all(unpacked: Option<&Path>) -> Vec<Peer> {
    let peer = |name, programs| Peer { name, programs, unpacked: unpacked.map(Path::to_owned) };
    vec![
        peer("bpftrace, the same detection", &[("bpftrace", &["-B", "line", "-e", SCRIPT])]),
        peer("execsnoop and tcpstates of bcc", &[("execsnoop", &[]), ("tcpstates", &[])]),
        peer(AUDITD, &[("auditd", &[])]),
        peer("forkstat, executions alone", &[("stdbuf", &["-oL", "forkstat", "-e", "exec"])]),
        peer("perf trace", &[("perf", &["trace", "-a", "-e", "execve,execveat,connect,accept,accept4"])]),
    ]
}

const AUDITD: &str = "auditd, execve, connect and accept";

impl Peer {
    /// Starts it, and waits until it sees something.
    pub(crate) fn start(&self) -> Result<Tool> {
        if self.name == AUDITD {
            let audit = Audit::new(self.command("auditctl")?)?;
            let mut daemon = self.command("auditd")?;
            daemon.arg("-n").arg("-c").arg(audit.directory());
            return Tool::start(vec![daemon], Some(audit));
        }
        let mut commands = Vec::new();
        for (program, arguments) in self.programs {
            let mut command = self.command(program)?;
            for argument in *arguments {
                // A program that another one starts.
                match self.find(argument) {
                    Some(path) if *program == "stdbuf" => command.arg(path),
                    _ => command.arg(argument),
                };
            }
            if *program == "stdbuf" {
                let started = arguments.iter().find(|argument| !argument.starts_with('-')).context("no program")?;
                self.find(started).with_context(|| format!("{started} is not installed"))?;
            }
            commands.push(command);
        }
        Tool::start(commands, None)
    }

    fn command(&self, program: &str) -> Result<Command> {
        let path = self.find(program).with_context(|| format!("{program} is not installed"))?;
        let mut command = Command::new(path);
        if let Some(unpacked) = &self.unpacked {
            let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
            let places = ["usr/lib", "lib"].map(|place| unpacked.join(place).join(&triple).display().to_string());
            command.env("LD_LIBRARY_PATH", places.join(":"));
        }
        Ok(command)
    }

    /// The program that is installed, or the one that is unpacked.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let places = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/sbin"].map(PathBuf::from);
        let unpacked =
            self.unpacked.iter().flat_map(|tree| ["usr/bin", "usr/sbin", "sbin", "bin"].map(|place| tree.join(place)));
        places.into_iter().chain(unpacked).map(|place| place.join(program)).find(|path| path.is_file())
    }
}
