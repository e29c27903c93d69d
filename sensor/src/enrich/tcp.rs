//! The kernel's table of TCP sockets as /proc/PID/net/tcp and tcp6 show it, for the network namespace of that process.

use std::io::{self, BufRead};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_ESTABLISHED` of the kernel's `include/net/tcp_states.h`.
pub const ESTABLISHED: u8 = 1;
/// `TCP_LISTEN`.
pub const LISTEN: u8 = 10;
/// `TCP_CLOSE`.
const CLOSE: u8 = 7;
/// Longest line that is read, in bytes; the kernel's have 150.
const MAX_LINE: u64 = 1024;

/// A socket of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Local end; an IPv4-mapped address is given as IPv4.
    pub local: SocketAddr,
    /// Remote end, likewise; port 0 for a listening socket.
    pub remote: SocketAddr,
    /// `TCP_…` of the kernel's `include/net/tcp_states.h`.
    pub state: u8,
    /// Inode, as in `socket:[INODE]`; 0 if no descriptor belongs to it any more.
    pub inode: u64,
}

impl Socket {
    /// Whether it is, or is about to be, joined to a remote end.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        !matches!(self.state, LISTEN | CLOSE) && self.remote.port() != 0
    }
}

/// Hands every socket of a table to `each`, until that says `false` or the table ends. Lines that make no sense are
/// passed over.
///
/// # Errors
/// Reading fails.
pub fn sockets(mut table: impl BufRead, mut each: impl FnMut(Socket) -> bool) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if io::Read::take(&mut table, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(socket) = std::str::from_utf8(&line).ok().and_then(socket)
            && !each(socket)
        {
            return Ok(());
        }
    }
}

/// Reads `SL: LOCAL REMOTE STATE TX:RX TR:WHEN RETRANSMITS UID TIMEOUT INODE …`.
fn socket(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace();
    let local = end(fields.nth(1)?)?;
    let remote = end(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket { local, remote, state, inode })
}

/// Reads `ADDRESS:PORT`. The address is printed as numbers of 32 bits in the machine's own order, though it lies in memory
/// in network order; the port is printed as a number.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |place: usize| {
        let digits = address.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (place, octets) in octets.chunks_exact_mut(4).enumerate() {
                octets.copy_from_slice(&word(place)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    fn all(table: &[u8]) -> Vec<Socket> {
        let mut found = Vec::new();
        sockets(table, |socket| {
            found.push(socket);
            true
        })
        .unwrap();
        found
    }

    fn socket_of(local: &str, remote: &str, state: u8, inode: u64) -> Socket {
        Socket { local: local.parse().unwrap(), remote: remote.parse().unwrap(), state, inode }
    }

    /// Lines as x86_64 and aarch64 print them.
    #[test]
    #[cfg(target_endian = "little")]
    fn lines_are_read() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0\n  \
            11: 0A02000A:C350 076433C6:01BB 01 00000000:00000000 02:000A7D8C 00000000  1000        0 815 2 0000000000000000 20 4 30 10 -1\n";
        assert_eq!(
            all(v4.as_bytes()),
            [
                socket_of("127.0.0.1:8080", "0.0.0.0:0", LISTEN, 4711),
                socket_of("10.0.2.10:50000", "198.51.100.7:443", ESTABLISHED, 815),
            ]
        );
        let v6 = "   0: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:D431 08 0:0 00:0 0 0 0 7 1\n   \
            1: 0000000000000000FFFF00000100007F:0016 0000000000000000FFFF00000200007F:D431 02 0:0 00:0 0 0 0 8 1\n";
        assert_eq!(
            all(v6.as_bytes()),
            [
                socket_of("[2001:db8::1]:22", "[2001:db8::2]:54321", 8, 7),
                socket_of("127.0.0.1:22", "127.0.0.2:54321", 2, 8),
            ]
        );
    }

    #[test]
    fn states_tell_connections() {
        for (state, expected) in [(1, true), (2, true), (3, true), (4, true), (7, false), (8, true), (10, false)] {
            assert_eq!(socket_of("1.2.3.4:1", "1.2.3.4:2", state, 1).is_connection(), expected, "{state}");
        }
        assert!(!socket_of("1.2.3.4:1", "0.0.0.0:0", 1, 1).is_connection());
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let good = "0: 0100007F:1F90 0100007F:0050 01 0:0 00:0 0 0 0 9 1\n";
        let long = "x".repeat(5000);
        let table =
            format!("\n0: 0100007F\n0: 0100007:1F90 00000000:0000 0A 0:0 00:0 0 0 0 9\n{long}\n\u{7f}é: é é\n{good}");
        assert_eq!(all(table.as_bytes()).len(), 1);
        let mut seen = 0;
        sockets(format!("{good}{good}").as_bytes(), |_| {
            seen += 1;
            false
        })
        .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_real_connection_is_in_the_table() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let table = std::fs::read("/proc/self/net/tcp").unwrap();
        let find =
            |local, remote| all(&table).into_iter().find(|socket| (socket.local, socket.remote) == (local, remote));
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let socket = find(local, remote).unwrap();
        assert_eq!(socket.state, ESTABLISHED);
        let nowhere = "0.0.0.0:0".parse().unwrap();
        assert_eq!(find(remote, nowhere).map(|socket| socket.state), Some(LISTEN));
        assert_ne!(socket.inode, 0);
    }

    proptest! {
        #[test]
        fn no_table_panics(table in proptest::collection::vec(any::<u8>(), 0..300), text in "([0-9A-F]{8}|[0-9A-F]{32}|[ :0é\n]){0,30}") {
            let _ = all(&table);
            let _ = all(text.as_bytes());
        }
    }
}
