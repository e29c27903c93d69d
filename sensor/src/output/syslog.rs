//! Alerts to a syslog server by RFC 5424: over TLS (RFC 5425), over TCP with counted octets (RFC 6587, 3.4.1), or to a UNIX
//! socket of datagrams.
//!
//! Syslog has no confirmation. Over TCP and TLS a message counts as delivered once the far end's kernel has acknowledged all of
//! it; what the server does not read of that when it is killed is lost. A message whose connection broke before is sent again, and
//! may then be there twice.

mod fit;
mod message;

use super::remote::{Failure, Transport, Verdict};
use super::tls;
use message::message;
use rustix::io::Errno;
use rustix::ioctl::{Getter, ioctl};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait for a connection to one address.
const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for bytes to be taken and acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that are sent but not acknowledged (`SIOCOUTQ` in `include/uapi/linux/sockios.h`, tcp(7)).
const UNACKNOWLEDGED: rustix::ioctl::Opcode = 0x5411;

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A UNIX socket of datagrams.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String, u16),
    /// The same with TLS.
    Tls(String, u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Tls(host, port) => write!(f, "tls://{}:{port}", bracketed(host)),
        }
    }
}

/// A host as it stands in an address.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The way to a syslog server.
#[derive(Debug)]
pub struct Syslog {
    place: Place,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
}

/// A connection that is open.
#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Syslog {
    /// Prepares the way; nothing is sent yet. Reads the certificates, if it takes any.
    ///
    /// # Errors
    ///
    /// When there are no authorities to trust.
    pub fn new(place: Place, ca_file: Option<&Path>) -> io::Result<Self> {
        let tls = match place {
            Place::Tls(..) => Some(Arc::new(client(ca_file)?)),
            Place::Unix(_) | Place::Tcp(..) => None,
        };
        Ok(Self { place, tls, connection: None })
    }

    /// The open connection, or a new one.
    fn connected(&mut self, host: &str, port: u16) -> io::Result<Connection> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_open()
        {
            return Ok(connection);
        }
        let tcp = connect(host, port)?;
        let Some(tls) = &self.tls else { return Ok(Connection::Tcp(tcp)) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Connection::Tls(Box::new(stream)))
    }

    /// Sends all of them over a connection, and waits until the far end has them.
    fn stream(&mut self, host: &str, port: u16, documents: &[&str]) -> io::Result<()> {
        let mut connection = self.connected(host, port)?;
        let mut frames = Vec::new();
        for document in documents {
            let message = message(document);
            frames.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
        }
        connection.write(&frames)?;
        connection.wait_for_acknowledgement()?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Transport for Syslog {
    fn send(&mut self, documents: &[&str]) -> Result<Vec<Verdict>, Failure> {
        let later = |error: io::Error| Failure::Later { reason: described(&error), after: None };
        match self.place.clone() {
            Place::Unix(path) => {
                let socket = UnixDatagram::unbound().map_err(later)?;
                socket.set_write_timeout(Some(PATIENCE)).map_err(later)?;
                socket.connect(path).map_err(later)?;
                Ok(documents.iter().map(|document| datagram(&socket, document)).collect())
            }
            Place::Tcp(host, port) | Place::Tls(host, port) => {
                self.stream(&host, port, documents).map_err(later)?;
                Ok(vec![Verdict::Delivered; documents.len()])
            }
        }
    }
}

fn datagram(socket: &UnixDatagram, document: &str) -> Verdict {
    match socket.send(message(document).as_bytes()) {
        Ok(_) => Verdict::Delivered,
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => Verdict::Rejected(error.to_string()),
        Err(error) => Verdict::Later(error.to_string()),
    }
}

/// An error in words that say what to do where it is about TLS.
fn described(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => format!("TLS: {error}; see ca_file and the name in to"),
        None => error.to_string(),
    }
}

/// TLS that trusts these authorities alone.
fn client(ca_file: Option<&Path>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(tls::authorities(ca_file)?);
    if good == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no certificate of an authority can be used"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
}

/// Tries every address of a host.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Whether the far end has not closed it. Takes in what came from there, which nobody needs.
    fn is_open(&mut self) -> bool {
        let mut bytes = [0; 1024];
        if self.socket().set_nonblocking(true).is_err() {
            return false;
        }
        let open = loop {
            let read = match self {
                Self::Tcp(stream) => stream.read(&mut bytes),
                Self::Tls(stream) => stream.read(&mut bytes),
            };
            match read {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        open && self.socket().set_nonblocking(false).is_ok()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Waits until the far end's kernel has every byte.
    fn wait_for_acknowledgement(&self) -> io::Result<()> {
        let (start, mut pause) = (Instant::now(), Duration::from_micros(100));
        loop {
            // SAFETY: for a TCP socket this request writes one `int`, as tcp(7) says, and the getter provides one.
            let request = unsafe { Getter::<UNACKNOWLEDGED, i32>::new() };
            // SAFETY: the descriptor is a TCP socket, see above.
            let left = unsafe { ioctl(self.socket(), request) }?;
            if let Some(error) = self.socket().take_error()? {
                return Err(error);
            }
            if left == 0 {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not acknowledge what it is sent"));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
