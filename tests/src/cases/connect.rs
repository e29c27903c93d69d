//! Connections attempted: by which call, to where, and what came of them.

use super::scene::{SUITE, closed, needs_multipath, shell_after};
use super::{Case, case};
use crate::actor::step::{Connect, How, Outcome, Step, connect, connect_by};
use crate::actor::{probe_compat, uring};
use crate::lab::{LINK_LOCAL, Lab};
use crate::skip::skip;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) const CASES: &[Case] = &[
    case("connect: IPv4", |lab| reaches(lab, lab.remote(), How::Plain)),
    case("connect: IPv6", |lab| reaches(lab, lab.remote_v6(), How::Plain)),
    case("connect: IPv4 by an IPv6 socket", mapped),
    case("connect: from a bound address", bound),
    case("connect: refused", |lab| refused(lab, How::Plain)),
    case("connect: not waited for", not_waited_for),
    case("connect: no route is no connection", no_route),
    case("connect: no free port", no_free_port),
    case("connect: TCP Fast Open", |lab| reaches(lab, lab.remote(), How::FastOpen)),
    case("connect: Multipath TCP", multipath),
    case("connect: io_uring, by the caller", |lab| by_ring(lab, How::Uring)),
    case("connect: io_uring, by a worker", |lab| by_ring(lab, How::UringWorker)),
    case("connect: io_uring, by the polling thread", |lab| by_ring(lab, How::UringPoll)),
    case("connect: 32-bit call", compat),
    case("connect: 127.0.0.1 is excluded", |lab| excluded(lab, Ipv4Addr::LOCALHOST.into())),
    case("connect: 127.0.0.0/8 is excluded", |lab| excluded(lab, Ipv4Addr::new(127, 200, 3, 4).into())),
    case("connect: ::1 is excluded", |lab| excluded(lab, Ipv6Addr::LOCALHOST.into())),
    case("connect: 169.254.0.0/16 is excluded", |lab| excluded(lab, LINK_LOCAL.into())),
    case("connect: mapped loopback is excluded", |lab| excluded(lab, Ipv4Addr::LOCALHOST.to_ipv6_mapped().into())),
    case("connect: 0.0.0.0 becomes loopback", |lab| excluded(lab, Ipv4Addr::UNSPECIFIED.into())),
    case("connect: :: becomes loopback", |lab| excluded(lab, Ipv6Addr::UNSPECIFIED.into())),
    case("connect: UDP and UNIX are no connections", no_tcp),
    case("connect: another user's", other_user),
    case("connect: multicast is no connection", multicast),
];

/// A SYN was queued, by whichever call: one alert with both ends.
fn reaches(lab: &Lab, address: IpAddr, how: How) -> Result<()> {
    let far = lab.listen(address)?;
    let shell = shell_after(lab, vec![connect_by(far.address, how, Outcome::Done)])?;
    let (_connection, near) = far.accept()?;
    lab.expect(&[shell.alert().egress(near, far.address)])
}

/// The socket is IPv6, the connection is IPv4, and the rule judges the connection.
fn mapped(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let mapped = SocketAddr::new(to_mapped(lab.remote()), far.address.port());
    let shell = shell_after(lab, vec![connect(mapped)])?;
    let (_connection, near) = far.accept()?;
    lab.expect(&[shell.alert().egress(near, far.address)])
}

fn to_mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

/// Source and destination are different addresses, and are not mixed up.
fn bound(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let from = Connect { to: far.address, from: Some(lab.local()), how: How::Plain, outcome: Outcome::Done };
    let shell = shell_after(lab, vec![Step::Connect(from)])?;
    let (_connection, near) = far.accept()?;
    anyhow::ensure!(near.ip() == lab.local(), "the connection came from {near}");
    lab.expect(&[shell.alert().egress(near, far.address)])
}

/// The SYN was queued; that nobody listens comes to light later.
fn refused(lab: &Lab, how: How) -> Result<()> {
    let to = closed(lab);
    let shell = shell_after(lab, vec![connect_by(to, how, Outcome::Refused)])?;
    let expect = shell.alert().field("destination.ip", to.ip().to_string()).field("destination.port", to.port());
    lab.expect(&[expect.parent(std::process::id(), SUITE)])
}

/// connect returned before the other side had answered.
fn not_waited_for(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let shell = shell_after(lab, vec![connect_by(far.address, How::Nonblocking, Outcome::InProgress)])?;
    let (_connection, near) = far.accept()?;
    lab.expect(&[shell.alert().egress(near, far.address)])
}

/// Nothing leaves the host, so nothing counts, under every hook.
fn no_route(lab: &Lab) -> Result<()> {
    let nowhere = SocketAddr::from(([192, 0, 2, 1], 4444));
    let _shell = shell_after(lab, vec![connect_by(nowhere, How::Plain, Outcome::NoRoute)])?;
    lab.expect_none()
}

/// The route is known, but no local port is left: no SYN. The state tracepoint has fired by then, so it alone counts it;
/// a stated superset.
fn no_free_port(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    lab.set_local_ports(40000, 40000)?;
    let _taken = lab.connect_as_is(far.address)?;
    let shell = shell_after(lab, vec![connect_by(far.address, How::Plain, Outcome::NoPort)])?;
    lab.set_local_ports(32768, 60999)?;
    if lab.sensor()?.hooks().connect == "tracepoint" {
        lab.expect(&[shell.alert().field("destination.port", far.address.port())])
    } else {
        lab.expect_none()
    }
}

/// The hooks see the subflow, which is what is connected.
fn multipath(lab: &Lab) -> Result<()> {
    needs_multipath()?;
    reaches(lab, lab.remote(), How::Multipath)
}

/// No system call names the connection, and it may be made by a thread of the kernel's.
fn by_ring(lab: &Lab, how: How) -> Result<()> {
    if !uring::available() {
        return skip("this kernel has no io_uring, or it is switched off");
    }
    reaches(lab, lab.remote(), how)
}

/// What 32-bit programs call.
fn compat(lab: &Lab) -> Result<()> {
    probe_compat()?;
    reaches(lab, lab.remote(), How::Compat)
}

/// Connected, but to where the rule does not look.
fn excluded(lab: &Lab, address: IpAddr) -> Result<()> {
    // The unspecified and the mapped addresses are heard at the loopback address.
    let heard = match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    let far = lab.listen(heard)?;
    let _shell = shell_after(lab, vec![connect(SocketAddr::new(address, far.address.port()))])?;
    far.accept()?;
    lab.expect_none()
}

/// TCP refuses to connect to a group.
fn multicast(lab: &Lab) -> Result<()> {
    let group = SocketAddr::from(([224, 0, 0, 1], 4444));
    let _shell = shell_after(lab, vec![connect_by(group, How::Plain, Outcome::NoRoute)])?;
    lab.expect_none()
}

/// Sockets, but not of TCP.
fn no_tcp(lab: &Lab) -> Result<()> {
    let to = SocketAddr::new(lab.remote(), 4444);
    let _shell = shell_after(lab, vec![connect_by(to, How::Datagram, Outcome::Done), Step::LocalPair])?;
    lab.expect_none()
}

/// The alert names the user that the shell belongs to.
fn other_user(lab: &Lab) -> Result<()> {
    const NOBODY: u32 = 65534;
    let knock = connect_by(closed(lab), How::Plain, Outcome::Refused);
    let shell = shell_after(lab, vec![Step::User(NOBODY), knock])?;
    lab.expect(&[shell.alert().field("user.id", NOBODY.to_string())])
}
