//! A network namespace for the calling thread, with one address on its loopback device: a connection to it takes the whole way
//! through TCP, and nothing of it leaves the namespace.
//!
//! By the ioctl interface of netdevice(7), which needs no more than a socket.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Moves the calling thread into a new network namespace, which is gone when its last process and socket are.
///
/// # Errors
///
/// When the namespace is refused, which needs `CAP_SYS_ADMIN`, or its device cannot be set up.
pub(super) fn enter(address: Ipv4Addr) -> io::Result<()> {
    // SAFETY: the flag does not touch the file descriptor table.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut up = request("lo");
    up.ifr_ifru.ifru_flags = flags(libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING);
    ioctl(&socket, libc::SIOCSIFFLAGS, &up)?;
    // Beside 127.0.0.1.
    let mut set = request("lo:1");
    set.ifr_ifru.ifru_addr = internet(address);
    ioctl(&socket, libc::SIOCSIFADDR, &set)
}

fn request(device: &str) -> libc::ifreq {
    // SAFETY: a structure of bytes and integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

/// The flags that netdevice(7) knows fit into its field.
fn flags(flags: libc::c_int) -> libc::c_short {
    libc::c_short::try_from(flags).unwrap_or(libc::c_short::MAX)
}

/// As in a `sockaddr_in`: the port, then the address in network order.
fn internet(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().skip(2).zip(address.octets()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    libc::sockaddr { sa_family: AddressFamily::INET.as_raw(), sa_data: data }
}

fn ioctl(socket: &OwnedFd, request: libc::Ioctl, argument: &libc::ifreq) -> io::Result<()> {
    // SAFETY: both requests read an `ifreq`, and the kernel keeps no pointer to it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, std::ptr::from_ref(argument)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
