//! A lab: one test's own network and processes, with addresses that no other test uses, so that all tests can share a
//! sensor and run side by side. Nothing of it outlives the test.
//!
//! The processes of a lab are children of the suite in a process namespace of their own. /proc stays the host's, so they
//! are known by the numbers that the sensor sees.

mod network;
mod processes;

pub(crate) use network::Listener;
pub(crate) use processes::parent_of;

use crate::actor::VARIABLE;
use crate::actor::step::Step;
use crate::namespace::{Namespaces, inside_new};
use crate::net::set_up_loopback;
use crate::player::{Guard, Player};
use crate::sensor::Sensor;
use crate::skip::skip;
use crate::wait::until;
use anyhow::{Context, Result};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, PoisonError};

/// What all labs of a run have in common.
pub(crate) struct Setting<'a> {
    /// The run's directory.
    pub(crate) directory: &'a Path,
    /// The suite's own program, on the same file system.
    pub(crate) program: &'a Path,
    /// The sensor.
    pub(crate) binary: &'a Path,
    /// The configuration that chooses the hooks.
    pub(crate) hooks: &'a str,
    /// Whether this system was made for the tests.
    pub(crate) disposable: bool,
}

/// A test's surroundings.
pub(crate) struct Lab {
    number: u16,
    directory: PathBuf,
    program: PathBuf,
    binary: PathBuf,
    hooks: String,
    disposable: bool,
    shared: Option<Arc<Sensor>>,
    namespaces: Namespaces,
    /// Kills every process of the lab when it ends.
    init: Player,
    pub(crate) canaries: AtomicU16,
    ignored: Mutex<Vec<u32>>,
}

impl Lab {
    /// Sets up lab `number` below the directory of `setting`, with the shared sensor if the test uses it.
    pub(crate) fn new(number: u16, setting: &Setting<'_>, shared: Option<Arc<Sensor>>) -> Result<Self> {
        let Setting { directory: suite, program, binary, hooks, disposable } = *setting;
        let directory = suite.join(format!("lab-{number}"));
        std::fs::create_dir_all(directory.join("bin"))?;
        // Interactive shells look for their start-up files here, and zsh asks questions if there is none.
        File::create(directory.join(".zshrc"))?;
        let mut init = Command::new(program);
        let init = inside_new(|| {
            let player = Player::spawn(&mut init, vec![Step::Report("init".to_owned()), Step::Reign])?;
            set_up_loopback(&[remote(number), local(number), LINK_LOCAL], remote_v6(number))?;
            Ok(player)
        });
        let mut init = init.context("namespaces")?;
        let namespaces = Namespaces::of(init.pid())?;
        until("the IPv6 address to be usable", || {
            namespaces.inside(|| Ok(TcpListener::bind((remote_v6(number), 0)).ok()))
        })?;
        init.reached("init")?;
        let (program, binary, hooks) = (program.to_owned(), binary.to_owned(), hooks.to_owned());
        Ok(Self {
            number,
            directory,
            program,
            binary,
            hooks,
            disposable,
            shared,
            namespaces,
            init,
            canaries: AtomicU16::new(0),
            ignored: Mutex::default(),
        })
    }

    /// The lab's number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Leaves it open whether there is an alert about this process.
    pub(crate) fn ignore(&self, pid: u32) {
        self.ignored.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    }

    /// Whether it is open.
    pub(crate) fn ignores(&self, pid: u32) -> bool {
        self.ignored.lock().unwrap_or_else(PoisonError::into_inner).contains(&pid)
    }

    /// The first process of the lab, which adopts the others.
    pub(crate) fn init_pid(&self) -> u32 {
        self.init.pid()
    }

    /// The sensor that all tests share.
    pub(crate) fn sensor(&self) -> Result<&Sensor> {
        self.shared.as_deref().context("this test needs the tag that gives it the shared sensor")
    }

    /// Path of the sensor's binary.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The configuration that chooses the hooks of this run.
    pub(crate) fn hooks(&self) -> &str {
        &self.hooks
    }

    /// Whether this system was made for the tests, so that what concerns all of it may be changed.
    pub(crate) fn is_disposable(&self) -> bool {
        self.disposable
    }

    /// The lab's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a sensor for this test alone, with the hooks that this run of the suite is about.
    pub(crate) fn start_sensor(&self) -> Result<Sensor> {
        self.start_sensor_with("sensor", "")
    }

    /// The same with a directory of its own, and more configuration.
    pub(crate) fn start_sensor_with(&self, directory: &str, config: &str) -> Result<Sensor> {
        Sensor::start(&self.binary, &self.directory.join(directory), &format!("{}{config}", self.hooks))
    }

    /// The same, without the file of events: what is about a sensor as it runs every day.
    pub(crate) fn start_sensor_without_events(&self, config: &str) -> Result<Sensor> {
        Sensor::start_without_events(&self.binary, &self.directory.join("sensor"), &format!("{}{config}", self.hooks))
    }

    /// An address that no other lab has, for the far side.
    pub(crate) fn remote(&self) -> IpAddr {
        remote(self.number).into()
    }

    /// Another one, for the near side.
    pub(crate) fn local(&self) -> IpAddr {
        local(self.number).into()
    }

    /// An IPv6 address that no other lab has.
    pub(crate) fn remote_v6(&self) -> IpAddr {
        remote_v6(self.number).into()
    }

    /// Whether an address is one of this lab alone.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        [self.remote(), self.local(), self.remote_v6()].contains(&address)
    }

    /// This program under another name: an actor's file.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join("bin").join(name);
        match std::fs::hard_link(&self.program, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(path),
            result => result.map(|()| path).context("program"),
        }
    }

    /// A symbolic link to a file, named `name`.
    pub(crate) fn link(&self, name: &str, target: &Path) -> Result<PathBuf> {
        let path = self.directory.join("bin").join(name);
        std::os::unix::fs::symlink(target, &path)?;
        Ok(path)
    }

    /// Starts an actor that begins as `file` and is called `args`.
    pub(crate) fn play(&self, file: &Path, args: &[&str], steps: Vec<Step>) -> Result<Player> {
        let mut command = self.command(file);
        if let [name, rest @ ..] = args {
            command.arg0(name).args(rest);
        }
        self.namespaces.inside(|| Player::spawn(&mut command, steps))
    }

    /// Starts a real program, looked up on PATH; the test is skipped where it is not installed.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Result<Guard> {
        let mut command = self.command(&which(program)?);
        command.arg0(program).args(args).stdin(Stdio::null());
        self.namespaces.inside(|| Guard::spawn(&mut command))
    }

    fn command(&self, file: &Path) -> Command {
        let mut command = Command::new(file);
        let output = || File::options().create(true).append(true).open(self.directory.join(OUTPUT));
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", &self.directory).env("TERM", "dumb");
        command.env_remove(VARIABLE).current_dir(&self.directory);
        for set in [Command::stdout, Command::stderr] {
            set(&mut command, output().map_or_else(|_| Stdio::null(), Stdio::from));
        }
        command
    }

    /// What the lab's programs have written.
    pub(crate) fn output(&self) -> String {
        std::fs::read(self.directory.join(OUTPUT))
            .map_or_else(|_| String::new(), |all| String::from_utf8_lossy(&all).into())
    }
}

/// An address of an excluded network that every lab has.
pub(crate) const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 7, 7);

const OUTPUT: &str = "output";

/// Where a program is installed, or a skip.
pub(crate) fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    found.map_or_else(|| skip(format!("{program} is not installed")), Ok)
}

fn remote(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    // TEST-NET-2, then the network set aside for benchmarks.
    if high == 0 { Ipv4Addr::new(198, 51, 100, low) } else { Ipv4Addr::new(198, 18, high, low) }
}

fn local(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    if high == 0 { Ipv4Addr::new(203, 0, 113, low) } else { Ipv4Addr::new(198, 19, high, low) }
}

fn remote_v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 1)
}
