//! The steps, done.

use super::step::Step;
use super::{EXIT_FAILED, Message, Part, exec, process, socket, take_control};
use anyhow::{Context, Result, bail, ensure};
use rustix::net::ipproto;
use std::fs::File;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// An actor between two steps.
pub(crate) struct Actor {
    control: i32,
    /// The sockets that connect, listen and accept left; the last one is the current one.
    sockets: Vec<OwnedFd>,
}

impl Actor {
    /// Takes the part over from the environment or from the program before, and plays it to the end.
    pub(crate) fn run(part: &Part) -> Result<ExitCode> {
        let mut actor = Self { control: take_control(part.control)?, sockets: Vec::new() };
        Ok(actor.play(&part.steps))
    }

    /// Plays in a thread that is all that is left of the process.
    fn run_to_end(&mut self, steps: &[Step]) -> ! {
        std::process::exit(i32::from(self.play(steps) != ExitCode::SUCCESS))
    }

    fn play(&mut self, steps: &[Step]) -> ExitCode {
        for step in steps {
            if let Err(error) = self.step(step) {
                let doing: String = format!("{step:?}").chars().take(200).collect();
                let told = self.tell(&Message::Failed(format!("{doing}: {error:#}")));
                return ExitCode::from(if told.is_ok() { EXIT_FAILED } else { EXIT_FAILED + 1 });
            }
        }
        ExitCode::SUCCESS
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Report(label) => {
                let (pid, tid) = process::numbers()?;
                self.tell(&Message::Reached { label: label.clone(), pid, tid })
            }
            Step::Wait => {
                ensure!(self.heard()?, "the test has let go");
                Ok(())
            }
            Step::Hold => self.heard().map(drop),
            Step::Reign => {
                process::let_children_go()?;
                self.heard().map(drop)
            }
            Step::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Step::Name(name) => process::set_name(name),
            Step::Enter(directory) => Ok(std::env::set_current_dir(directory)?),
            Step::Session => {
                let (master, terminal) = process::begin_session()?;
                self.hold(master)?;
                self.hold(terminal)
            }
            Step::User(user) => process::become_user(*user),
            Step::Descend(depth, file) => process::descend(*depth, file),
            Step::Scribble(byte) => process::scribble(*byte),
            Step::Connect(connect) => self.hold(socket::connect(connect)?),
            Step::Listen(at) => self.hold(socket::listen(*at, None)?),
            Step::ListenMultipath(at) => self.hold(socket::listen(*at, Some(ipproto::MPTCP))?),
            Step::Accept(how) => match socket::accept(self.socket()?, *how)? {
                Some(accepted) => self.hold(accepted),
                None => Ok(()),
            },
            Step::LocalPair => self.hold(socket::local_pair()?),
            Step::Close => self.sockets.pop().context("no current socket").map(drop),
            Step::On(descriptors) => descriptors.iter().try_for_each(|descriptor| match descriptor {
                0 => Ok(rustix::stdio::dup2_stdin(self.socket()?)?),
                1 => Ok(rustix::stdio::dup2_stdout(self.socket()?)?),
                2 => Ok(rustix::stdio::dup2_stderr(self.socket()?)?),
                other => bail!("{other} is no standard stream"),
            }),
            Step::Pipe => {
                let (reader, writer) = std::io::pipe()?;
                self.hold(writer.into())?;
                self.hold(reader.into())
            }
            Step::Terminal => {
                let (master, terminal) = process::terminal()?;
                self.hold(master)?;
                self.hold(terminal)
            }
            Step::Exec(program) => Err(exec::exec(program, self.control)),
            Step::Spawn(file, args) => exec::spawn(file, args),
            Step::Fork { child, reap, pids } => match process::fork(pids)? {
                None => self.run_to_end(child),
                Some(_) if !reap => Ok(()),
                Some(pid) => process::reap(pid),
            },
            Step::Thread(steps) => {
                let done = std::thread::scope(|scope| scope.spawn(|| self.play(steps)).join());
                ensure!(done.is_ok_and(|code| code == ExitCode::SUCCESS), "the thread failed");
                Ok(())
            }
            Step::RepeatFor(ms, steps) => {
                let end = Instant::now() + Duration::from_millis(*ms);
                while Instant::now() < end {
                    steps.iter().try_for_each(|step| self.step(step))?;
                }
                Ok(())
            }
            Step::LeaveLeader(steps) => {
                let (mut actor, steps) =
                    (Self { control: self.control, sockets: std::mem::take(&mut self.sockets) }, steps.clone());
                std::thread::spawn(move || actor.run_to_end(&steps));
                process::end_thread()
            }
            Step::Root(directory) => process::change_root(directory),
            Step::Container(directory) => process::contain(directory),
            Step::Repeat(times, steps) => {
                (0..*times).try_for_each(|_| steps.iter().try_for_each(|step| self.step(step)))
            }
        }
    }

    fn hold(&mut self, socket: OwnedFd) -> Result<()> {
        self.sockets.push(socket);
        Ok(())
    }

    fn socket(&self) -> Result<BorrowedFd<'_>> {
        self.sockets.last().map(AsFd::as_fd).context("no current socket")
    }

    fn tell(&self, message: &Message) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        Ok(self.stream().write_all(&line)?)
    }

    /// Waits for a byte from the test; false if the test has let go.
    fn heard(&self) -> Result<bool> {
        Ok(self.stream().read(&mut [0])? == 1)
    }

    fn stream(&self) -> ManuallyDrop<File> {
        // SAFETY: the descriptor was handed over for as long as the process lives, and nothing else in it reads, writes
        // or closes it; ManuallyDrop leaves it open for the next use and for the next program.
        ManuallyDrop::new(unsafe { File::from_raw_fd(self.control) })
    }
}
