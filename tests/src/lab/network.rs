//! Connections between a test and the processes of its lab.

use crate::lab::Lab;
use crate::wait::until;
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

impl Lab {
    /// Listens in the lab, on any free port.
    pub(crate) fn listen(&self, address: IpAddr) -> Result<Listener> {
        let socket = self.namespaces.inside(|| Ok(TcpListener::bind((address, 0))?))?;
        socket.set_nonblocking(true)?;
        Ok(Listener { address: socket.local_addr()?, socket })
    }

    /// Connects from the lab, from its near side unless `from` says otherwise; waits for somebody to listen.
    pub(crate) fn connect(&self, from: IpAddr, to: SocketAddr) -> Result<TcpStream> {
        let family = if to.is_ipv4() { rustix::net::AddressFamily::INET } else { rustix::net::AddressFamily::INET6 };
        until(&format!("a listener at {to}"), || {
            let socket =
                self.namespaces.inside(|| Ok(rustix::net::socket(family, rustix::net::SocketType::STREAM, None)?))?;
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
            match rustix::net::connect(&socket, &to) {
                Ok(()) => Ok(Some(TcpStream::from(socket))),
                Err(rustix::io::Errno::CONNREFUSED) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Connects once from the lab, from whatever address and port the kernel takes.
    pub(crate) fn connect_as_is(&self, to: SocketAddr) -> Result<TcpStream> {
        self.namespaces.inside(|| Ok(TcpStream::connect(to)?))
    }

    /// Sets the ports that the lab's kernel chooses from.
    pub(crate) fn set_local_ports(&self, from: u16, to: u16) -> Result<()> {
        let file = "/proc/sys/net/ipv4/ip_local_port_range";
        self.namespaces.inside(|| std::fs::write(file, format!("{from} {to}")).context(file))
    }
}

/// A listener of the test.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Waits for a connection; the other end's address comes with it.
    pub(crate) fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        self.accept_unless(|| Ok(()))
    }

    /// The same, until `given_up` fails.
    pub(crate) fn accept_unless(&self, mut given_up: impl FnMut() -> Result<()>) -> Result<(TcpStream, SocketAddr)> {
        until(&format!("a connection to {}", self.address), || match self.socket.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false)?;
                Ok(Some((stream, peer)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => given_up().map(|()| None),
            Err(error) => Err(error.into()),
        })
    }
}
