//! The two ends of a TCP connection, from `struct sock`.

use crate::kernel::{Kptr, Probed, offset};
use sensor_common::address::{Address, is_mapped, mapped};
use sensor_common::layout::MISSING;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
/// What an MPTCP socket calls itself; its subflows are TCP.
const IPPROTO_MPTCP: u16 = 262;

/// Addresses and ports of a connection. Ports are in host order; the local one is 0 while the kernel has not chosen it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

/// The ends of a socket: `None` if it cannot be read, `Some(None)` if it is not TCP over IP.
#[inline(always)]
pub(crate) fn tcp_ends(sock: Kptr<Probed>) -> Option<Option<Ends>> {
    let family: u16 = sock.read(offset!(sock_family))?;
    let protocol: u16 = sock.read(offset!(sock_protocol))?;
    if protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP {
        return Some(None);
    }
    let v4 = |offset| Some(mapped(sock.read::<[u8; 4]>(offset)?));
    let (local, remote) = match family {
        AF_INET => (v4(offset!(sock_rcv_saddr))?, v4(offset!(sock_daddr))?),
        AF_INET6 if offset!(sock_v6_daddr) != MISSING && offset!(sock_v6_rcv_saddr) != MISSING => {
            let remote: Address = sock.read(offset!(sock_v6_daddr))?;
            if is_mapped(&remote) {
                // Of a mapped connection, the IPv4 members hold both ends at every time; the IPv6 ones do not.
                (v4(offset!(sock_rcv_saddr))?, remote)
            } else {
                (sock.read(offset!(sock_v6_rcv_saddr))?, remote)
            }
        }
        _ => return Some(None),
    };
    Some(Some(Ends {
        local,
        remote,
        local_port: sock.read(offset!(sock_num))?,
        remote_port: u16::from_be(sock.read(offset!(sock_dport))?),
    }))
}
