//! The addresses of a fresh network namespace, put on its loopback device: a connection between two of them takes the
//! whole way through TCP, and no other device is needed.
//!
//! By the old ioctl interface (netdevice(7)), which needs no more than a socket.

use anyhow::{Result, ensure};
use rustix::net::{AddressFamily, SocketType};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Brings the loopback device up and gives it the addresses, each for itself alone, beside 127.0.0.1 and ::1.
pub(crate) fn set_up_loopback(v4: &[Ipv4Addr], v6: Ipv6Addr) -> Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut up = request("lo")?;
    up.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING)?;
    ioctl(&socket, libc::SIOCSIFFLAGS, &up)?;
    for (place, address) in v4.iter().enumerate() {
        let label = format!("lo:{}", place + 1);
        let mut set = request(&label)?;
        set.ifr_ifru.ifru_addr = sockaddr(*address);
        ioctl(&socket, libc::SIOCSIFADDR, &set)?;
        set.ifr_ifru.ifru_netmask = sockaddr(Ipv4Addr::BROADCAST);
        ioctl(&socket, libc::SIOCSIFNETMASK, &set)?;
    }
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    let loopback = 1; // The first device of every namespace.
    let set = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: v6.octets() },
        ifr6_prefixlen: 128,
        ifr6_ifindex: loopback,
    };
    ioctl(&socket, libc::SIOCSIFADDR, &set)
}

fn request(device: &str) -> Result<libc::ifreq> {
    // SAFETY: a structure of bytes and integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(device.len() < request.ifr_name.len(), "{device} is too long a name");
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::try_from(from)?;
    }
    Ok(request)
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    // In a sockaddr_in the port comes first, then the address in network order.
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    libc::sockaddr { sa_family: family, sa_data: data }
}

fn ioctl<T>(socket: &OwnedFd, request: libc::Ioctl, argument: &T) -> Result<()> {
    // SAFETY: each caller passes the structure that its request reads, and the kernel keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_ref(argument)) };
    ensure!(result == 0, "ioctl {request:#x}: {}", std::io::Error::last_os_error());
    Ok(())
}
