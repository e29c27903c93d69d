//! Processes that connect, accept and execute: this program under another name, started by one more, as a login would do, and told
//! what to do one step after the other.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The variable that makes the program an actor; its value is the program to start, or empty for the one that does the work.
pub(crate) const VARIABLE: &str = "SENSOR_COST_ACTOR";

/// The process between the first one and the actor.
const LOGIN: &str = "sshd";

/// What an actor does.
#[derive(Debug, Serialize, Deserialize)]
enum Task {
    /// Connects, and closes the connection.
    Connect(SocketAddr),
    /// Accepts a connection, and closes it.
    Accept,
    /// Executes a program in a new process, which first connects if there is an address; so often, one behind the other.
    Execute(Vec<String>, Option<SocketAddr>, u32),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// It listens on this port.
    Listening(u16),
    Done,
    Failed(String),
}

/// Where programs lie.
pub(crate) const PROGRAMS: &str = "/usr/bin";

/// Where a program lies.
pub(crate) fn path(program: &str) -> PathBuf {
    Path::new(PROGRAMS).join(program)
}

/// An actor, seen from the one who tells it what to do. It ends when this is dropped.
pub(crate) struct Actor {
    process: Child,
    /// None when it is to end.
    tasks: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
    port: u16,
    /// For the actor to connect to.
    listener: TcpListener,
}

impl Actor {
    /// Starts one under a name.
    pub(crate) fn start(name: &str) -> Result<Self> {
        for name in [LOGIN, name] {
            let path = path(name);
            if path.exists() {
                continue;
            }
            std::fs::copy("/proc/self/exe", &path).with_context(|| path.display().to_string())?;
        }
        let mut command = Command::new(path(LOGIN));
        command.env_clear().env(VARIABLE, path(name)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context(LOGIN)?;
        let tasks = process.stdin.take().context("no input")?;
        let answers = BufReader::new(process.stdout.take().context("no output")?);
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let mut actor = Self { process, tasks: Some(BufWriter::new(tasks)), answers, port: 0, listener };
        let Answer::Listening(port) = actor.answer()? else { bail!("{name} does not listen") };
        actor.port = port;
        Ok(actor)
    }

    /// Lets it connect to this process.
    pub(crate) fn connect(&mut self, to: impl Into<IpAddr>) -> Result<()> {
        let to = SocketAddr::new(to.into(), self.listener.local_addr()?.port());
        self.perform(&Task::Connect(to))?;
        self.listener.accept()?;
        Ok(())
    }

    /// Lets it accept a connection from this process.
    pub(crate) fn accept(&mut self, at: IpAddr) -> Result<()> {
        let _connection = TcpStream::connect((at, self.port))?;
        self.perform(&Task::Accept)
    }

    /// Lets it execute a program in a new process, so often, one behind the other.
    pub(crate) fn execute(&mut self, args: &[&str], times: u32) -> Result<()> {
        self.perform(&Task::Execute(args.iter().map(|arg| (*arg).to_owned()).collect(), None, times))
    }

    /// The same where each of these processes first connects to this one.
    pub(crate) fn connect_and_execute(&mut self, to: IpAddr, args: &[&str], times: u32) -> Result<()> {
        let to = SocketAddr::new(to, self.listener.local_addr()?.port());
        self.perform(&Task::Execute(args.iter().map(|arg| (*arg).to_owned()).collect(), Some(to), times))?;
        for _ in 0..times {
            self.listener.accept()?;
        }
        Ok(())
    }

    fn perform(&mut self, task: &Task) -> Result<()> {
        let tasks = self.tasks.as_mut().context("the actor has ended")?;
        serde_json::to_writer(&mut *tasks, task)?;
        tasks.write_all(b"\n")?;
        tasks.flush()?;
        match self.answer()? {
            Answer::Done => Ok(()),
            answer => bail!("{task:?}: {answer:?}"),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the actor has ended early");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It ends when there are no more tasks, and so does the one that has started it.
        self.tasks = None;
        let _ = self.process.wait();
    }
}

/// The actor's own side: starts `next`, or does the work if it is empty.
pub(crate) fn main(next: &str) -> Result<()> {
    let ended = if next.is_empty() { work() } else { pass_on(next) };
    ended.context("an actor")
}

fn pass_on(next: &str) -> Result<()> {
    let status = Command::new(next).env(VARIABLE, "").status().with_context(|| next.to_owned())?;
    ensure!(status.success(), "{next}: {status}");
    Ok(())
}

fn work() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    say(&Answer::Listening(listener.local_addr()?.port()))?;
    for line in std::io::stdin().lines() {
        let task = serde_json::from_str(&line?)?;
        say(&match done(&task, &listener) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Failed(format!("{error:#}")),
        })?;
    }
    Ok(())
}

fn done(task: &Task, listener: &TcpListener) -> Result<()> {
    match task {
        Task::Connect(to) => drop(TcpStream::connect(to)?),
        Task::Accept => drop(listener.accept()?),
        Task::Execute(args, connect, times) => {
            let [name, rest @ ..] = args.as_slice() else { bail!("no program") };
            let mut command = Command::new(path(name));
            command.env_clear().arg0(name).args(rest);
            if let Some(to) = *connect {
                connects_first(&mut command, to);
            }
            for _ in 0..*times {
                let status = command.status()?;
                ensure!(status.success(), "{name}: {status}");
            }
        }
    }
    Ok(())
}

/// Has the process that `command` starts connect before it executes. Only for a process with one thread.
pub(crate) fn connects_first(command: &mut Command, to: SocketAddr) {
    let connect = move || {
        // Closed by the execution.
        std::mem::forget(TcpStream::connect(to)?);
        Ok(())
    };
    // SAFETY: this process has one thread, so its child may do whatever it could do itself.
    unsafe { command.pre_exec(connect) };
}

fn say(answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    let mut output = std::io::stdout().lock();
    output.write_all(&line)?;
    Ok(output.flush()?)
}
