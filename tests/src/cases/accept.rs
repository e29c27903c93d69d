//! Connections accepted: by which call and at which address.

use super::scene::{SUITE, needs_multipath};
use super::{Case, case};
use crate::actor::step::{Accept, Connect, How, Outcome, Step, exec, fork, report, stdio};
use crate::actor::{probe_compat, uring};
use crate::expect::Expect;
use crate::lab::{LINK_LOCAL, Lab};
use crate::player::Player;
use crate::sensor::Sensor;
use crate::skip::skip;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub(super) const CASES: &[Case] = &[
    case("accept: accept4", |lab| accepts(lab, Accept::Four, lab.local(), lab.remote())),
    case("accept: accept", |lab| accepts(lab, Accept::Plain, lab.local(), lab.remote())),
    case("accept: IPv6", |lab| accepts(lab, Accept::Four, lab.remote_v6(), lab.remote_v6())),
    case("accept: IPv4 by an IPv6 socket", mapped),
    case("accept: Multipath TCP, by a peer that has it", |lab| multipath(lab, true)),
    case("accept: Multipath TCP, by a peer that has not", |lab| multipath(lab, false)),
    case("accept: io_uring", by_ring),
    case("accept: 32-bit call", compat),
    case("accept: at 127.0.0.1 is excluded", |lab| excluded(lab, Ipv4Addr::LOCALHOST.into())),
    case("accept: at ::1 is excluded", |lab| excluded(lab, Ipv6Addr::LOCALHOST.into())),
    case("accept: at 169.254.0.0/16 is excluded", |lab| excluded(lab, LINK_LOCAL.into())),
    case("accept: from an excluded network to another address counts", from_loopback),
    case("accept: a high descriptor", |lab| accepts(lab, Accept::High, lab.local(), lab.remote())),
    case("accept: nothing there is no connection", nothing),
    case("accept: UNIX is no connection", unix),
    case("accept: by a child of the process that listens", by_child),
    case("accept: by another thread", by_thread),
];

/// A socat that listens and becomes a shell with the first connection.
struct Server {
    player: Player,
    sh: PathBuf,
    at: SocketAddr,
}

impl Server {
    fn new(lab: &Lab, how: Accept, at: SocketAddr) -> Result<Self> {
        Self::that(lab, at, |shell| vec![Step::Accept(how), stdio(), shell])
    }

    /// What it does once it listens, given the step that makes it a shell.
    fn that(lab: &Lab, at: SocketAddr, then: impl FnOnce(Step) -> Vec<Step>) -> Result<Self> {
        let (socat, sh) = (lab.program("socat")?, lab.program("sh")?);
        let mut steps = vec![Step::Listen(at), report("listening")];
        steps.extend(then(exec(&sh, &["sh", "-i"])));
        let mut player = lab.play(&socat, &["socat", "TCP-LISTEN:4444", "EXEC:sh -i,nofork"], steps)?;
        player.reached("listening")?;
        Ok(Self { player, sh, at })
    }

    /// The alert after a connection from `peer`.
    fn alert(&mut self, peer: SocketAddr) -> Result<Expect> {
        let pid = self.player.reached("end")?.pid;
        Ok(Expect::alert(pid, &self.sh, &["sh", "-i"]).ingress(peer, self.at).parent(std::process::id(), SUITE))
    }
}

/// The source is the peer, the destination is the own address.
fn accepts(lab: &Lab, how: Accept, at: IpAddr, peer: IpAddr) -> Result<()> {
    let mut server = Server::new(lab, how, SocketAddr::new(at, 4444))?;
    let connection = lab.connect(peer, server.at)?;
    let alert = server.alert(connection.local_addr()?)?;
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().accept != "off", &alert)
}

fn expect_if(lab: &Lab, sensor: &Sensor, seen: bool, alert: &Expect) -> Result<()> {
    lab.expect_of(sensor, if seen { std::slice::from_ref(alert) } else { &[] })
}

/// One socket for both families: the connection is IPv4, and that is what counts.
fn mapped(lab: &Lab) -> Result<()> {
    let mut server = Server::new(lab, Accept::Four, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 4444))?;
    server.at.set_ip(lab.local());
    let connection = lab.connect(lab.remote(), server.at)?;
    let alert = server.alert(connection.local_addr()?)?;
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().accept != "off", &alert)
}

/// The descriptor's socket is none of TCP, the connection is.
fn multipath(lab: &Lab, both: bool) -> Result<()> {
    needs_multipath()?;
    let at = SocketAddr::new(lab.local(), 4444);
    let (socat, sh) = (lab.program("socat")?, lab.program("sh")?);
    let shell = exec(&sh, &["sh", "-i"]);
    let steps = vec![Step::ListenMultipath(at), report("listening"), Step::Accept(Accept::Four), shell];
    let mut player = lab.play(&socat, &["socat", "TCP-LISTEN:4444"], steps)?;
    player.reached("listening")?;
    let mut server = Server { player, sh, at };
    let how = if both { How::Multipath } else { How::Plain };
    let connect = Connect { to: at, from: Some(lab.remote()), how, outcome: Outcome::Done };
    let _peer = lab.play(&lab.program("curl")?, &["curl"], vec![Step::Connect(connect), Step::Hold])?;
    let pid = server.player.reached("end")?.pid;
    let alert = Expect::alert(pid, &server.sh, &["sh", "-i"]).field("network.direction", "ingress");
    let alert = alert.field("source.ip", lab.remote().to_string()).field("destination.ip", at.ip().to_string());
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().accept != "off", &alert.field("destination.port", at.port()))
}

/// No system call returns the connection: the tracepoints of accept are silent.
fn by_ring(lab: &Lab) -> Result<()> {
    if !uring::available() {
        return skip("this kernel has no io_uring, or it is switched off");
    }
    unseen_by_tracepoints(lab, Accept::Uring)
}

/// The tracepoints of system calls are silent for the 32-bit entry.
fn compat(lab: &Lab) -> Result<()> {
    probe_compat()?;
    unseen_by_tracepoints(lab, Accept::Compat)
}

fn unseen_by_tracepoints(lab: &Lab, how: Accept) -> Result<()> {
    let mut server = Server::new(lab, how, SocketAddr::new(lab.local(), 4444))?;
    let connection = lab.connect(lab.remote(), server.at)?;
    let alert = server.alert(connection.local_addr()?)?;
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().see_every_accept(), &alert)
}

/// The destination of an accepted connection is the own address.
fn excluded(lab: &Lab, at: IpAddr) -> Result<()> {
    let mut server = Server::new(lab, Accept::Four, SocketAddr::new(at, 4444))?;
    let _connection = lab.connect(at, server.at)?;
    server.player.reached("end")?;
    lab.expect_none()
}

/// The rule looks at the destination alone.
fn from_loopback(lab: &Lab) -> Result<()> {
    accepts(lab, Accept::Four, lab.local(), Ipv4Addr::new(127, 0, 0, 9).into())
}

/// accept has failed: the shell that follows is nobody's.
fn nothing(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let mut server = Server::that(lab, at, |shell| vec![Step::Accept(Accept::Nothing), shell])?;
    server.player.reached("end")?;
    lab.expect_none()
}

/// Accepted, but not by TCP.
fn unix(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let mut server = Server::that(lab, at, |shell| vec![Step::LocalPair, shell])?;
    server.player.reached("end")?;
    lab.expect_none()
}

/// The connection belongs to the process that called accept.
fn by_child(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let mut server = Server::that(lab, at, |shell| vec![fork(vec![Step::Accept(Accept::Four), shell])])?;
    let connection = lab.connect(lab.remote(), at)?;
    let alert = server.alert(connection.local_addr()?)?.parent(server.player.pid(), "socat");
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().accept != "off", &alert)
}

/// The connection is the process's.
fn by_thread(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let accept = Step::Thread(vec![Step::Name("worker".to_owned()), Step::Accept(Accept::Four)]);
    let mut server = Server::that(lab, at, |shell| vec![accept, shell])?;
    let connection = lab.connect(lab.remote(), at)?;
    let alert = server.alert(connection.local_addr()?)?;
    expect_if(lab, lab.sensor()?, lab.sensor()?.hooks().accept != "off", &alert)
}
