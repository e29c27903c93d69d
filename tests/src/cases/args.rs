//! The flags among the arguments, wherever they stand and whatever stands beside them.

use super::scene::closed;
use super::{Case, once};
use crate::actor::step::{Arg, By, Exec, How, Outcome, Step, connect_by, report};
use crate::expect::{Expect, field};
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub(super) const CASES: &[Case] = &[
    once("args: -i and -l count", |lab| flags(lab, &[&["-i"], &["-l"], &["-i", "-l"]], true)),
    once("args: -I and -L count", |lab| flags(lab, &[&["-I"], &["-L"]], true)),
    once("args: others do not", |lab| {
        flags(lab, &[&[], &["-li"], &["-il"], &["--login"], &["-"], &["i"], &["--i"]], false)
    }),
    once("args: a flag counts in any place", |lab| flags(lab, &[&["-c", "true", "-l"], &["script", "-i"]], true)),
    once("args: a flag is a whole argument", |lab| flags(lab, &[&["-i "], &[" -i"], &["-c", "bash -i"]], false)),
    once("args: the name of a login shell is no flag", login_name),
    once("args: none at all", none_at_all),
    once("args: empty ones are kept", |lab| flags(lab, &[&["", "-i", ""]], true)),
    once("args: -i behind an argument of 20 kB", behind_a_long_one),
    once("args: -i as number 600, within what is copied", |lab| behind_many(lab, 600, 4)),
    once("args: -i as number 600, behind what is copied", |lab| behind_many(lab, 600, 40)),
    once("args: -i as number 2000, behind what is copied", |lab| behind_many(lab, 2000, 40)),
    once("args: more than can be searched counts, and says so", unsearched),
    once("args: no flag among many", none_among_many),
    once("args: bytes that are no UTF-8, newlines and escape sequences", hostile),
    once("args: overwritten after the exec", overwritten),
];

/// Connects and executes bash with these arguments; the process.
fn shell(lab: &Lab, args: Vec<Arg>) -> Result<(crate::player::Player, u32)> {
    shell_that(lab, args, vec![report("end"), Step::Hold])
}

/// The same; then it takes the steps.
fn shell_that(lab: &Lab, args: Vec<Arg>, then: Vec<Step>) -> Result<(crate::player::Player, u32)> {
    let file = lab.program("bash")?;
    let knock = connect_by(closed(lab), How::Plain, Outcome::Refused);
    // Only by descriptor can there be no arguments at all.
    let by = if args.is_empty() { By::Descriptor } else { By::Path };
    let exec = Step::Exec(Exec { file: file.as_path().into(), args, by, then });
    let mut player = lab.play(&file, &["bash"], vec![knock, exec])?;
    let pid = player.reached("end")?.pid;
    Ok((player, pid))
}

fn named<'a>(args: impl IntoIterator<Item = &'a str>) -> Vec<Arg> {
    std::iter::once("bash").chain(args).map(Arg::from).collect()
}

/// Each of the lists gives an alert with just these arguments, or none does.
fn flags(lab: &Lab, lists: &[&[&str]], count: bool) -> Result<()> {
    let (mut players, mut expected) = (Vec::new(), Vec::new());
    for list in lists {
        let args = named(list.iter().copied());
        let (player, pid) = shell(lab, args.clone())?;
        players.push(player);
        let args: Vec<String> = args.into_iter().map(String::from).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        expected.push(Expect::alert(pid, &lab.program("bash")?, &args));
    }
    lab.expect(if count { expected.as_slice() } else { &[] })
}

/// A login shell is called `-bash`, and has no `-l`.
fn login_name(lab: &Lab) -> Result<()> {
    let (_player, _) = shell(lab, vec![Arg::from("-bash")])?;
    lab.expect_none()
}

/// Up to 5.17 a program can have no arguments; newer kernels give it an empty one.
fn none_at_all(lab: &Lab) -> Result<()> {
    let (_player, _) = shell(lab, Vec::new())?;
    lab.expect_none()
}

/// The long argument is not lost silently, the flag behind it is found, and the count is true.
fn behind_a_long_one(lab: &Lab) -> Result<()> {
    let long = "x".repeat(20_000);
    let (_player, pid) = shell(lab, named([long.as_str(), "-i"]))?;
    beyond(lab, pid, 3)
}

/// `-i` behind arguments of `length` bytes each.
fn behind_many(lab: &Lab, place: usize, length: usize) -> Result<()> {
    let filler = "y".repeat(length);
    let many = std::iter::repeat_n(filler.as_str(), place - 1);
    let (_player, pid) = shell(lab, named(many.chain(["-i"])))?;
    if place * (length + 1) < 8000 {
        let alert = Expect::alert(pid, &lab.program("bash")?, &[]).field("process.args_count", place + 1);
        return lab.expect(&[alert
            .field("process.args.0", "bash")
            .without("process.args")
            .field(&format!("process.args.{place}"), "-i")]);
    }
    beyond(lab, pid, place + 1)
}

/// One alert, whose count of arguments is true, whose list holds the flag that was found and says that it is cut.
fn beyond(lab: &Lab, pid: u32, count: usize) -> Result<()> {
    let alert =
        Expect::alert(pid, &lab.program("bash")?, &[]).without("process.args").field("process.args_count", count);
    lab.expect(&[alert])?;
    let args = args_of(lab, pid)?;
    ensure!(args.contains(&json!("-i")), "the flag is not among the arguments: {:.300}", Value::Array(args));
    ensure!(args.len() < count.max(6), "{} arguments of {count} are there, so nothing was cut", args.len());
    Ok(())
}

fn args_of(lab: &Lab, pid: u32) -> Result<Vec<Value>> {
    let alerts = lab.sensor()?.alerts(|alert| field(alert, "process.pid") == Some(&json!(pid)))?;
    let args = alerts.first().and_then(|alert| field(alert, "process.args")).and_then(Value::as_array);
    args.cloned().context("no arguments")
}

/// What could not be searched may hold the flag: better a marked alert than none.
fn unsearched(lab: &Lab) -> Result<()> {
    let (_player, pid) = shell(lab, named(std::iter::repeat_n("zzzzzzzz", 5000)))?;
    let alert =
        Expect::alert(pid, &lab.program("bash")?, &[]).without("process.args").field("process.args_count", 5001);
    lab.expect(&[alert])
}

/// All of them were searched.
fn none_among_many(lab: &Lab) -> Result<()> {
    let filler = "w".repeat(40);
    let (_player, _) = shell(lab, named(std::iter::repeat_n(filler.as_str(), 1000)))?;
    lab.expect_none()
}

/// The output stays one JSON document a line, and nothing of the argument is lost on the way.
fn hostile(lab: &Lab) -> Result<()> {
    let (text, bytes) = ("a\nb\t\u{1b}[31m\"}{\\\u{7f}", b"\xff\xfe\x80end");
    let mut args = named([text, "-i"]);
    args.push(Arg(bytes.to_vec()));
    let (_player, pid) = shell(lab, args)?;
    let alert = Expect::alert(pid, &lab.program("bash")?, &[]).without("process.args").field("process.args_count", 4);
    lab.expect(&[alert.field("process.args.0", "bash").field("process.args.1", text).field("process.args.2", "-i")])?;
    let args = args_of(lab, pid)?;
    let last = args.get(3).and_then(Value::as_str).context("the last argument is gone")?;
    ensure!(last.ends_with("end") && last.len() > 3, "the last argument became {last:?}");
    Ok(())
}

/// The alert shows what the program was called with, not what it has made of it.
fn overwritten(lab: &Lab) -> Result<()> {
    let then = vec![Step::Scribble(b'#'), report("end"), Step::Hold];
    let (_player, pid) = shell_that(lab, named(["-i", "original"]), then)?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    ensure!(line.starts_with(b"####"), "the arguments were not overwritten");
    lab.expect(&[Expect::alert(pid, &lab.program("bash")?, &["bash", "-i", "original"])])
}
