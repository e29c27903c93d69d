//! What an actor is told to do: a list of steps, carried in the environment from one executed program to the next.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One thing that an actor does; the next step follows when it is done, and a failure ends the actor with a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Tells the test that this step was reached, by which process and thread.
    Report(String),
    /// Waits until the test says go.
    Wait,
    /// Sleeps, in milliseconds.
    Sleep(u64),
    /// Sets the comm of the calling thread.
    Name(String),
    /// Connects; the socket becomes the current one.
    Connect(Connect),
    /// Listens on an address; the listener becomes the current socket.
    Listen(SocketAddr),
    /// The same for Multipath TCP.
    ListenMultipath(SocketAddr),
    /// Accepts one connection from the current listener; it becomes the current socket.
    Accept(Accept),
    /// Closes the current socket; the one before it becomes the current one.
    Close,
    /// Makes the current socket these of standard input, output and error, which are 0, 1 and 2.
    On(Vec<u8>),
    /// Makes a pipe; its reading end becomes the current socket, as it were.
    Pipe,
    /// Opens a terminal of its own, which becomes the current socket, as it were.
    Terminal,
    /// Replaces the program.
    Exec(Exec),
    /// Forks; the child goes its own way, and the parent waits for its end if `reap` is set.
    Fork {
        /// Steps of the child.
        child: Vec<Step>,
        /// Whether the parent waits for the child's end.
        reap: bool,
        /// Number the child gets, in the actor's namespace and then in the one around it; any free one if empty.
        pids: Vec<i32>,
    },
    /// Runs steps in another thread and waits for its end.
    Thread(Vec<Step>),
    /// Runs steps in another thread, and ends the first one: the process lives on without its leader.
    LeaveLeader(Vec<Step>),
    /// Makes a directory the root of the process.
    Root(PathBuf),
    /// Makes a directory the root of a mount namespace of its own, as a container has it.
    Container(PathBuf),
    /// Overwrites the process's arguments in its own memory, each byte of them with the given one.
    Scribble(u8),
    /// Spawns a program with these arguments, the first one being its own name, and waits for it.
    Spawn(PathBuf, Vec<Arg>),
    /// Takes steps again and again.
    Repeat(u32, Vec<Step>),
    /// Takes steps again and again for a time, in milliseconds.
    RepeatFor(u64, Vec<Step>),
    /// Makes a directory the working directory.
    Enter(PathBuf),
    /// Begins a session with a new pseudo-terminal, both ends of which stay open; the terminal becomes the current socket, as it were.
    Session,
    /// Gives up root: becomes this user for good.
    User(u32),
    /// Makes so many directories with long names one in the other, enters them, and links a file into the last one.
    Descend(u32, PathBuf),
    /// Connects to a listener of its own over a UNIX socket, and accepts that.
    LocalPair,
    /// As the first process of a namespace: lives until the test lets go, and lets no dead child stay.
    Reign,
    /// Waits until the test lets go.
    Hold,
}

/// How to connect, and what must come of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Connect {
    /// Remote end.
    pub(crate) to: SocketAddr,
    /// Local address to bind first.
    pub(crate) from: Option<IpAddr>,
    /// By which call.
    pub(crate) how: How,
    /// The only outcome that is no failure.
    pub(crate) outcome: Outcome,
}

/// The calls that make a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum How {
    /// connect(2) on a blocking socket.
    Plain,
    /// connect(2) on a non-blocking socket.
    Nonblocking,
    /// sendto(2) with `MSG_FASTOPEN`.
    FastOpen,
    /// connect(2) on a Multipath TCP socket.
    Multipath,
    /// connect(2) on a UDP socket.
    Datagram,
    /// `IORING_OP_CONNECT`, begun by the thread that submits it.
    Uring,
    /// `IORING_OP_CONNECT`, handed to a worker thread of the ring.
    UringWorker,
    /// `IORING_OP_CONNECT`, picked up by the ring's polling thread.
    UringPoll,
    /// connect(2) by the 32-bit entry to the kernel.
    Compat,
}

/// What came of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Connected, or data queued.
    Done,
    /// `ECONNREFUSED`.
    Refused,
    /// `EINPROGRESS`.
    InProgress,
    /// `ENETUNREACH`, before anything was sent.
    NoRoute,
    /// `EADDRNOTAVAIL`, before anything was sent.
    NoPort,
}

/// The calls that accept a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accept {
    /// accept(2).
    Plain,
    /// accept4(2).
    Four,
    /// accept4(2), with so many descriptors open that the new one has a high number.
    High,
    /// accept4(2) on a listener that does not wait and has nothing: it must fail, and the listener stays the current socket.
    Nothing,
    /// `IORING_OP_ACCEPT`.
    Uring,
    /// accept4(2) by the 32-bit entry to the kernel.
    Compat,
}

/// A program to execute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exec {
    /// Path of its file.
    pub(crate) file: Arg,
    /// Its arguments, the first one being its own name.
    pub(crate) args: Vec<Arg>,
    /// By path or by descriptor.
    pub(crate) by: By,
    /// What the new program does, if it is an actor too.
    pub(crate) then: Vec<Step>,
}

/// What names the program to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum By {
    /// The path.
    Path,
    /// A descriptor of the file.
    Descriptor,
    /// A descriptor of the file, which is removed before it is executed.
    Removed,
    /// A descriptor of a copy that has no path, named as the file is.
    Memory,
}

/// An argument: any bytes but zero. Written as text with one character a byte, so that JSON carries all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub(crate) struct Arg(pub(crate) Vec<u8>);

impl Arg {
    /// The argument as the system calls take it.
    pub(crate) fn os(&self) -> OsString {
        OsString::from_vec(self.0.clone())
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&Path> for Arg {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<Arg> for String {
    fn from(arg: Arg) -> Self {
        arg.0.iter().copied().map(char::from).collect()
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self(text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect())
    }
}

/// A plain connection that must succeed.
pub(crate) fn connect(to: SocketAddr) -> Step {
    connect_by(to, How::Plain, Outcome::Done)
}

/// A connection made in a certain way, with a certain outcome.
pub(crate) fn connect_by(to: SocketAddr, how: How, outcome: Outcome) -> Step {
    Step::Connect(Connect { to, from: None, how, outcome })
}

/// Executes an actor's program, which reports `end` and then holds.
pub(crate) fn exec(file: impl AsRef<Path>, args: &[&str]) -> Step {
    exec_then(file, args, vec![report("end"), Step::Hold])
}

/// Executes an actor's program, which goes on with the given steps.
pub(crate) fn exec_then(file: impl AsRef<Path>, args: &[&str], then: Vec<Step>) -> Step {
    let args = args.iter().copied().map(Arg::from).collect();
    Step::Exec(Exec { file: file.as_ref().into(), args, by: By::Path, then })
}

/// Makes the current socket the standard input, output and error.
pub(crate) fn stdio() -> Step {
    Step::On(vec![0, 1, 2])
}

/// Forks a child and waits for its end.
pub(crate) fn fork(child: Vec<Step>) -> Step {
    Step::Fork { child, reap: true, pids: Vec::new() }
}

/// Tells the test that this step was reached.
pub(crate) fn report(label: &str) -> Step {
    Step::Report(label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_of_any_bytes_survives_the_environment() {
        let arg = Arg((1..=u8::MAX).collect());
        let text = serde_json::to_string(&arg).unwrap();
        assert_eq!(serde_json::from_str::<Arg>(&text).unwrap(), arg);
    }
}
