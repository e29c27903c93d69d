//! What a process is called: by its executable or by its comm, either is enough.

use super::scene::{SHELL, closed, shell_of};
use super::{Case, case};
use crate::actor::step::{Accept, By, Exec, How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::expect::{Expect, field};
use crate::lab::Lab;
use crate::player::Player;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) const CASES: &[Case] = &[
    case("name: each of the nine connects", each_connects),
    case("name: each of the eight is executed, socat is not", each_is_executed),
    case("name: other programs do not count", other_programs),
    case("name: a connection by BASH counts", |lab| connects_as(lab, "BASH", true)),
    case("name: an exec of BASH does not", executes_upper_case),
    case("name: what only begins like a shell does not count", |lab| connects_as(lab, "bashful", false)),
    case("name: a renamed shell connects", renamed_connects),
    case("name: a comm of control characters", odd_comm),
    case("name: another program that calls itself bash connects", calls_itself_bash),
    case("name: a connection by ksh93 under the name of ksh", |lab| link_connects(lab, "ksh", "ksh93")),
    case("name: a connection by socat1 under the name of socat", |lab| link_connects(lab, "socat", "socat1")),
    case("name: an accept by socat1 under the name of socat", link_accepts),
    case("name: an exec of ksh93 under the name of ksh", |lab| link_is_executed(lab, "ksh", "ksh93")),
    case("name: an exec of bash under another name", |lab| link_is_executed(lab, "innocent", "bash")),
    case("name: an exec of bash under the name of socat", |lab| link_is_executed(lab, "socat", "bash")),
    case("name: an exec of busybox under the name of sh", |lab| link_is_executed(lab, "sh", "busybox")),
    case("name: a parent socat1 under the name of socat", link_is_parent),
    case("name: the first argument does not count as a name", first_argument),
    case("name: a script", script),
    case("name: a script that gives the flag itself", script_without_flag),
    case("name: executed by descriptor", by_descriptor),
    case("name: executed by descriptor, the file removed", removed),
    case("name: executed from memory", from_memory),
    case("name: a path longer than any buffer", long_path),
    case("name: a path of spaces, newlines and bytes that are no UTF-8", odd_path),
];

const SHELLS: [&str; 8] = ["bash", "dash", "sh", "tcsh", "csh", "zsh", "ksh", "fish"];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// Connects as bash, then takes the steps.
fn bash(lab: &Lab, then: Step) -> Result<Player> {
    let bash = lab.program("bash")?;
    lab.play(&bash, &["bash"], vec![knock(lab), then])
}

/// Stage 1 takes the shells and socat.
fn each_connects(lab: &Lab) -> Result<()> {
    let names = SHELLS.into_iter().chain(["socat"]);
    let shells = names.map(|name| shell_of(lab, name, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    lab.expect(&shells.iter().map(super::scene::Shell::alert).collect::<Vec<_>>())
}

/// Stage 2 takes the shells alone.
fn each_is_executed(lab: &Lab) -> Result<()> {
    let (mut players, mut expected) = (Vec::new(), Vec::new());
    for name in SHELLS.into_iter().chain(["socat"]) {
        let file = lab.program(name)?;
        let mut player = bash(lab, exec(&file, &[name, "-i"]))?;
        let pid = player.reached("end")?.pid;
        players.push(player);
        if name != "socat" {
            expected.push(Expect::alert(pid, &file, &[name, "-i"]));
        }
    }
    lab.expect(&expected)
}

/// Neither in stage 1 nor in stage 2.
fn other_programs(lab: &Lab) -> Result<()> {
    let _connects = shell_of(lab, "python3", vec![knock(lab)])?;
    let mut is_executed = bash(lab, exec(lab.program("python3")?, &["python3", "-i"]))?;
    is_executed.reached("end")?;
    lab.expect_none()
}

fn connects_as(lab: &Lab, name: &str, counts: bool) -> Result<()> {
    let shell = shell_of(lab, name, vec![knock(lab)])?;
    lab.expect(if counts { vec![shell.alert()] } else { vec![] }.as_slice())
}

/// Stage 1 folds case, stage 2 does not.
fn executes_upper_case(lab: &Lab) -> Result<()> {
    bash(lab, exec(lab.program("BASH")?, &["bash", "-i"]))?.reached("end")?;
    lab.expect_none()
}

/// The comm is gone, the executable is still bash.
fn renamed_connects(lab: &Lab) -> Result<()> {
    let shell = shell_of(lab, "bash", vec![Step::Name("kworker/0:1".to_owned()), knock(lab)])?;
    let alert = shell.alert().field("sensor.sequence.0.process.name", "bash");
    lab.expect(&[alert.field("sensor.sequence.0.process.thread.name", "kworker/0:1")])
}

/// The output stays one JSON document a line, and the name is not changed.
fn odd_comm(lab: &Lab) -> Result<()> {
    const NAME: &str = "\n\u{1b}[2J\"}\\\u{7f}";
    let shell = shell_of(lab, "bash", vec![Step::Name(NAME.to_owned()), knock(lab)])?;
    lab.expect(&[shell.alert().field("sensor.sequence.0.process.thread.name", NAME)])
}

/// A superset of the rule on purpose: a multi-call program is known by its comm alone.
fn calls_itself_bash(lab: &Lab) -> Result<()> {
    let shell = shell_of(lab, "innocent", vec![Step::Name("bash".to_owned()), knock(lab)])?;
    let alert = shell.alert().field("sensor.sequence.0.process.name", "innocent");
    lab.expect(&[alert.field("sensor.sequence.0.process.thread.name", "bash")])
}

/// A symbolic link: the comm is its name, the executable's name is that of the file behind it.
fn link(lab: &Lab, name: &str, target: &str) -> Result<(PathBuf, PathBuf)> {
    let target = lab.program(target)?;
    Ok((lab.link(name, &target)?, target))
}

fn link_connects(lab: &Lab, name: &str, target: &str) -> Result<()> {
    let (link, file) = link(lab, name, target)?;
    let bash = lab.program("bash")?;
    let mut player = lab.play(&link, &[name], vec![knock(lab), exec(&bash, SHELL)])?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &bash, SHELL).field("sensor.sequence.0.process.name", target);
    let alert = alert.field("sensor.sequence.0.process.executable", file.to_string_lossy().as_ref());
    lab.expect(&[alert.field("sensor.sequence.0.process.thread.name", name)])
}

fn link_accepts(lab: &Lab) -> Result<()> {
    let (link, _) = link(lab, "socat", "socat1")?;
    let bash = lab.program("bash")?;
    let at = SocketAddr::new(lab.local(), 4444);
    let steps = vec![Step::Listen(at), Step::Accept(Accept::Four), exec(&bash, SHELL)];
    let mut player = lab.play(&link, &["socat", "TCP-LISTEN:4444"], steps)?;
    let connection = lab.connect(lab.remote(), at)?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &bash, SHELL).ingress(connection.local_addr()?, at);
    let alert = alert.field("sensor.sequence.0.process.name", "socat1");
    lab.expect(if lab.sensor()?.hooks().accept == "off" { vec![] } else { vec![alert] }.as_slice())
}

/// Either name is enough; both are in the alert.
fn link_is_executed(lab: &Lab, name: &str, target: &str) -> Result<()> {
    let (link, file) = link(lab, name, target)?;
    let mut player = bash(lab, exec(&link, &[name, "-i"]))?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &file, &[name, "-i"]).field("process.thread.name", name)])
}

/// The parent's comm is enough for the clause about parents.
fn link_is_parent(lab: &Lab) -> Result<()> {
    let (link, _) = link(lab, "socat", "socat1")?;
    let bash = lab.program("bash")?;
    let child = vec![exec_then(&bash, &["bash"], vec![knock(lab), exec(&bash, &["bash"])])];
    let args = ["socat", "-", "EXEC:bash"];
    let mut player = lab.play(&link, &args, vec![fork(child)])?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &bash, &["bash"]).parent(player.pid(), "socat1");
    lab.expect(&[alert.field("process.parent.args", args).field("process.parent.thread.name", "socat")])
}

/// `exec -a bash other` is no shell, `exec -a other bash` is one.
fn first_argument(lab: &Lab) -> Result<()> {
    let mut other = bash(lab, exec(lab.program("python3")?, &["bash", "-i"]))?;
    other.reached("end")?;
    let file = lab.program("bash")?;
    let mut shell = bash(lab, exec(&file, &["[kworker/0:1]", "-i"]))?;
    let pid = shell.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &file, &["[kworker/0:1]", "-i"])])
}

fn write_script(lab: &Lab, interpreter: &Path, argument: &str) -> Result<PathBuf> {
    let path = lab.directory().join("innocent.sh");
    std::fs::write(&path, format!("#!{}{argument}\n", interpreter.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What runs is the interpreter, with the flag from the script's first line.
fn script(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let script = write_script(lab, &file, " -i")?;
    let (bash_path, script_path) = (file.to_string_lossy(), script.to_string_lossy());
    let mut player = bash(lab, exec(&script, &["innocent.sh", "one"]))?;
    let pid = player.reached("end")?.pid;
    let alert = Expect::alert(pid, &file, &[&bash_path, "-i", &script_path, "one"]);
    lab.expect(&[alert.field("process.thread.name", "innocent.sh")])
}

/// The flag may as well be an argument of the script.
fn script_without_flag(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let script = write_script(lab, &file, "")?;
    let (bash_path, script_path) = (file.to_string_lossy(), script.to_string_lossy());
    let mut without = bash(lab, exec(&script, &["innocent.sh", "one"]))?;
    without.reached("end")?;
    let mut with = bash(lab, exec(&script, &["innocent.sh", "-l"]))?;
    let pid = with.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &file, &[&bash_path, &script_path, "-l"])])
}

/// Executes a bash by other means than its path.
fn executed_by(lab: &Lab, file: &Path, by: By) -> Result<(Player, u32)> {
    let args = SHELL.iter().copied().map(Into::into).collect();
    let then = vec![report("end"), Step::Hold];
    let mut player = bash(lab, Step::Exec(Exec { file: file.into(), args, by, then }))?;
    let pid = player.reached("end")?.pid;
    Ok((player, pid))
}

/// There is no path in the call, but the file has one.
fn by_descriptor(lab: &Lab) -> Result<()> {
    let file = lab.program("bash")?;
    let (_player, pid) = executed_by(lab, &file, By::Descriptor)?;
    lab.expect(&[Expect::alert(pid, &file, SHELL)])
}

/// The file has no path any more, but still its name.
fn removed(lab: &Lab) -> Result<()> {
    let directory = lab.directory().join("once");
    std::fs::create_dir(&directory)?;
    let file = directory.join("bash");
    std::fs::hard_link(lab.program("bash")?, &file)?;
    let (_player, pid) = executed_by(lab, &file, By::Removed)?;
    lab.expect(&[Expect::alert(pid, &file, SHELL).without("process.executable")])
}

/// The executable is called `memfd:bash`, which is no shell's name, and the comm is no shell's either: the number of the
/// descriptor or, from 6.14 on, what the executable is called.
fn from_memory(lab: &Lab) -> Result<()> {
    let _player = executed_by(lab, &lab.program("bash")?, By::Memory)?;
    lab.expect_none()
}

/// The name is at its end, and is not lost; that the rest is cut is not silent.
fn long_path(lab: &Lab) -> Result<()> {
    const DEPTH: u32 = 25;
    let bash = lab.program("bash")?;
    let steps = vec![Step::Descend(DEPTH, bash.clone()), knock(lab), exec("./bash", SHELL)];
    let mut player = lab.play(&bash, &["bash"], steps)?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &bash, SHELL).without("process.executable")])?;
    let alerts = lab.sensor()?.alerts(|alert| field(alert, "process.pid") == Some(&pid.into()))?;
    let [alert] = alerts.as_slice() else { bail!("{} alerts", alerts.len()) };
    let path = field(alert, "process.executable").and_then(Value::as_str).unwrap_or_default();
    ensure!(path.ends_with("ddd/bash") && path.len() > 1000, "the path became {path}");
    ensure!(!Path::new(path).is_absolute(), "the path is cut and does not look like it: {path}");
    Ok(())
}

/// The output stays one JSON document a line.
fn odd_path(lab: &Lab) -> Result<()> {
    let directory = lab.directory().join(OsStr::from_bytes(b"a b\n\x1b[31m\"\xff"));
    std::fs::create_dir(&directory)?;
    let file = directory.join("bash");
    std::fs::hard_link(lab.program("bash")?, &file)?;
    let mut player = bash(lab, exec(&file, SHELL))?;
    let pid = player.reached("end")?.pid;
    lab.expect(&[Expect::alert(pid, &file, SHELL).without("process.executable")])?;
    let alerts = lab.sensor()?.alerts(|alert| field(alert, "process.pid") == Some(&pid.into()))?;
    let path = alerts.first().and_then(|alert| field(alert, "process.executable")).and_then(Value::as_str);
    let path = path.context("no executable")?;
    ensure!(path.contains("a b\n\x1b[31m\"") && path.ends_with("/bash"), "the path became {path:?}");
    Ok(())
}
