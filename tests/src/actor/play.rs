//! The steps, done.

use super::step::{Accept, Connect, How, Outcome, Step};
use super::{EXIT_FAILED, Message, Part, compat, exec, process, take_control, uring};
use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

/// An actor between two steps.
pub(crate) struct Actor {
    control: i32,
    steps: Vec<Step>,
    /// The socket that the last connect, listen or accept left.
    socket: Option<OwnedFd>,
}

impl Actor {
    /// Takes the part over from the environment or from the program before.
    pub(crate) fn new(part: Part) -> Result<Self> {
        Ok(Self { control: take_control(part.control)?, steps: part.steps, socket: None })
    }

    /// Plays to the end.
    pub(crate) fn run(mut self) -> ExitCode {
        let steps = std::mem::take(&mut self.steps);
        self.play(steps)
    }

    fn play(&mut self, steps: Vec<Step>) -> ExitCode {
        for step in steps {
            let doing = format!("{step:.200?}");
            if let Err(error) = self.step(step) {
                let told = self.tell(&Message::Failed(format!("{doing}: {error:#}")));
                return ExitCode::from(if told.is_ok() { EXIT_FAILED } else { EXIT_FAILED + 1 });
            }
        }
        ExitCode::SUCCESS
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Report(label) => {
                let (pid, tid) = process::numbers()?;
                self.tell(&Message::Reached { label, pid, tid })
            }
            Step::Wait => ensure_go(self.heard()?),
            Step::Hold => self.heard().map(drop),
            Step::Reign => {
                process::let_children_go()?;
                self.heard().map(drop)
            }
            Step::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                Ok(())
            }
            Step::Name(name) => process::set_name(&name),
            Step::Connect(connect) => self.connect(&connect),
            Step::Listen(at) => {
                let socket = socket(at, None, SocketFlags::CLOEXEC)?;
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &at)?;
                rustix::net::listen(&socket, 16)?;
                self.socket = Some(socket);
                Ok(())
            }
            Step::Accept(how) => {
                self.socket = Some(accept(self.socket()?, how)?);
                Ok(())
            }
            Step::Close => {
                self.socket = None;
                Ok(())
            }
            Step::Stdio => {
                let socket = self.socket()?;
                rustix::stdio::dup2_stdin(socket)?;
                rustix::stdio::dup2_stdout(socket)?;
                Ok(rustix::stdio::dup2_stderr(socket)?)
            }
            Step::Exec(program) => Err(exec::exec(&program, self.control)),
            Step::Fork { child, reap, pids } => match process::fork(&pids)? {
                None => std::process::exit(i32::from(self.play(child) != ExitCode::SUCCESS)),
                Some(_) if !reap => Ok(()),
                Some(pid) => process::reap(pid),
            },
            Step::Thread(steps) => {
                let done = std::thread::scope(|scope| scope.spawn(|| self.play(steps)).join());
                ensure!(done.is_ok_and(|code| code == ExitCode::SUCCESS), "the thread failed");
                Ok(())
            }
            Step::Scribble(byte) => process::scribble(byte),
            Step::Spawn { file, args, times } => (0..times).try_for_each(|_| exec::spawn(&file, &args)),
        }
    }

    fn socket(&self) -> Result<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd).context("no current socket")
    }

    fn connect(&mut self, connect: &Connect) -> Result<()> {
        let protocol = (connect.how == How::Multipath).then_some(ipproto::MPTCP);
        let flags = if connect.how == How::Nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        // Shells leave the socket open for the program that they execute, so no CLOEXEC here.
        let socket = socket(connect.to, protocol, flags)?;
        if let Some(from) = connect.from {
            rustix::net::bind(&socket, &SocketAddr::new(from, 0)).context("bind")?;
        }
        let result = match connect.how {
            How::Plain | How::Nonblocking | How::Multipath => rustix::net::connect(&socket, &connect.to),
            How::FastOpen => fast_open(socket.as_fd(), connect.to),
            How::Uring => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Submitter)?,
            How::UringWorker => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Worker)?,
            How::UringPoll => uring::connect(socket.as_raw_fd(), connect.to, uring::By::Poller)?,
            How::Compat => compat::connect(socket.as_raw_fd(), connect.to)?,
        };
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(Errno::CONNREFUSED) => Outcome::Refused,
            Err(Errno::INPROGRESS) => Outcome::InProgress,
            Err(Errno::NETUNREACH) => Outcome::NoRoute,
            Err(Errno::ADDRNOTAVAIL) => Outcome::NoPort,
            Err(error) => return Err(error).context("connect"),
        };
        if outcome != connect.outcome {
            bail!("connect ended with {outcome:?}, {:?} was expected", connect.outcome);
        }
        self.socket = Some(socket);
        Ok(())
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

    fn stream(&self) -> std::mem::ManuallyDrop<File> {
        // SAFETY: the descriptor was handed over for as long as the process lives, and nothing else in it reads, writes
        // or closes it; ManuallyDrop leaves it open for the next use and for the next program.
        std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(self.control) })
    }
}

fn ensure_go(go: bool) -> Result<()> {
    ensure!(go, "the test has let go");
    Ok(())
}

fn socket(for_address: SocketAddr, protocol: Option<rustix::net::Protocol>, flags: SocketFlags) -> Result<OwnedFd> {
    let family = if for_address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    rustix::net::socket_with(family, SocketType::STREAM, flags, protocol).context("socket")
}

fn fast_open(socket: BorrowedFd<'_>, to: SocketAddr) -> Result<(), Errno> {
    /// `MSG_FASTOPEN`, which rustix has no name for.
    const FAST_OPEN: u32 = 0x2000_0000;
    rustix::net::sendto(socket, b"x", rustix::net::SendFlags::from_bits_retain(FAST_OPEN), &to).map(drop)
}

fn accept(listener: BorrowedFd<'_>, how: Accept) -> Result<OwnedFd> {
    match how {
        Accept::Plain => Ok(rustix::net::accept(listener)?),
        Accept::Four => Ok(rustix::net::accept_with(listener, SocketFlags::CLOEXEC)?),
        Accept::Uring => uring::accept(listener.as_raw_fd()),
        Accept::Compat => compat::accept(listener.as_raw_fd()),
    }
}
