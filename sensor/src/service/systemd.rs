//! What systemd is told: sd_notify(3), over a socket that is opened once, so that none can be made later.

use super::store;
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::Instant;

/// The way to whoever has started the sensor as a service; without one nothing happens.
#[derive(Debug)]
pub struct Systemd {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
    /// The last status, which is not told again.
    status: String,
}

/// When the watchdog is to be told.
#[derive(Clone, Copy, Debug)]
struct Watchdog {
    /// A quarter of the time after which systemd takes the sensor for stuck: told twice as often as systemd asks for.
    every: Duration,
    told: Instant,
}

impl Systemd {
    /// Goes by the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. A socket that cannot be used is warned of.
    #[must_use]
    pub fn connect() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|address| match open(&address) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("systemd cannot be told anything: {}: {error}", address.display());
                None
            }
        });
        let [period, process] = ["WATCHDOG_USEC", "WATCHDOG_PID"].map(|name| std::env::var(name).ok());
        let watchdog = watchdog(period.as_deref(), process.as_deref()).filter(|_| socket.is_some());
        Self { socket, watchdog, status: String::new() }
    }

    /// The sensor is attached, or a reload is over, whatever has come of it.
    pub fn ready(&mut self, status: &str) {
        // In this order: whoever waits for the sensor to be ready finds its status.
        self.status(status);
        self.tell(&[NotifyState::Ready]);
    }

    /// What the sensor is doing, on one line. What systemd knows already is not told again.
    pub fn status(&mut self, status: &str) {
        // A line of its own would be another message.
        let line: String = status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line != self.status {
            self.tell(&[NotifyState::Status(&line)]);
            self.status = line;
        }
    }

    /// A reload begins; [`Systemd::ready`] ends it.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        self.tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The reader has looked at what there is to read, and handled it. Only this feeds the watchdog.
    pub fn polled(&mut self) {
        if self.feed_at().is_some_and(|at| Instant::now() >= at) {
            self.tell(&[NotifyState::Watchdog]);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.told = Instant::now();
            }
        }
    }

    /// When the reader has to have looked again, though there may be nothing to read.
    #[must_use]
    pub fn feed_at(&self) -> Option<Instant> {
        self.watchdog.map(|watchdog| watchdog.told + watchdog.every)
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Has descriptors kept for the next start, see [`store::keep`].
    ///
    /// # Errors
    /// There are too many, or systemd cannot be told.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| store::keep(socket, name, descriptors))
    }

    /// Has what is kept under a name let go.
    ///
    /// # Errors
    /// Systemd cannot be told.
    pub fn let_go(&self, name: &str) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| store::let_go(socket, name))
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let message = states.iter().map(|state| format!("{state}\n")).collect::<String>();
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!("systemd cannot be told {}: {error}", message.trim_end());
        }
    }
}

/// As sd_watchdog_enabled(3) has it: the period in microseconds, and the process that is meant if that is said.
fn watchdog(period: Option<&str>, process: Option<&str>) -> Option<Watchdog> {
    let micros: u64 = period?.parse().ok()?;
    let meant = process.is_none_or(|process| process.parse() == Ok(std::process::id()));
    (meant && micros > 0).then(|| Watchdog { every: Duration::from_micros(micros) / 4, told: Instant::now() })
}

/// A path, or behind an `@` an abstract name. Sending never waits: a systemd that does not listen must not hold up the reader.
fn open(address: &OsStr) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> (UnixDatagram, Systemd) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, Systemd { socket: Some(theirs), watchdog: None, status: String::new() })
    }

    fn told(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1000];
        let len = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..len].to_vec()).unwrap())
    }

    #[test]
    fn a_status_is_one_message_and_told_once() {
        let (socket, mut systemd) = listening();
        systemd.status("bad\nMAINPID=1");
        systemd.status("bad\nMAINPID=1");
        assert_eq!(told(&socket).as_deref(), Some("STATUS=bad MAINPID=1\n"));
        assert_eq!(told(&socket), None);
    }

    #[test]
    fn the_watchdog_is_fed_by_polls_alone_and_not_by_each() {
        let (socket, mut systemd) = listening();
        systemd.polled();
        assert_eq!((told(&socket), systemd.feed_at()), (None, None));
        let every = Duration::from_secs(3600);
        systemd.watchdog = Some(Watchdog { every, told: Instant::now() });
        systemd.polled();
        assert_eq!(told(&socket), None);
        systemd.watchdog = Some(Watchdog { every: Duration::ZERO, told: Instant::now() });
        systemd.polled();
        assert_eq!(told(&socket).as_deref(), Some("WATCHDOG=1\n"));
    }

    #[test]
    fn the_watchdog_goes_by_the_environment() {
        let own = std::process::id().to_string();
        for (period, process, expected) in [
            (Some("4000000"), None, Some(Duration::from_secs(1))),
            (Some("4000000"), Some(&*own), Some(Duration::from_secs(1))),
            (Some("4000000"), Some("1"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some(&*own), None),
        ] {
            assert_eq!(watchdog(period, process).map(|watchdog| watchdog.every), expected, "{period:?} {process:?}");
        }
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let (socket, mut systemd) = listening();
        systemd.reloading();
        let message = told(&socket).unwrap();
        let micros = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse::<u64>().unwrap();
        assert!(micros > 0);
        systemd.ready("as before");
        assert_eq!(told(&socket).as_deref(), Some("STATUS=as before\n"));
        assert_eq!(told(&socket).as_deref(), Some("READY=1\n"));
    }

    #[test]
    fn both_kinds_of_addresses_are_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("sensor-notify-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, address) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            open(&address).unwrap().send(b"x").unwrap();
            assert_eq!(told(&socket).as_deref(), Some("x"));
        }
        assert!(open(OsStr::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_listener_that_reads_nothing_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let socket = Some(open(path.as_os_str()).unwrap());
        let systemd = Systemd { socket, watchdog: None, status: String::new() };
        for _ in 0..2000 {
            systemd.stopping();
        }
    }
}
