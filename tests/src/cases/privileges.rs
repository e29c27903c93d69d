//! What a sensor gives up when it is ready, and that it still does all it should.

use super::scene::{SHELL, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec, exec_then, fork, report};
use crate::cgroup::Cgroup;
use crate::expect::{Expect, field};
use crate::field;
use crate::lab::Lab;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::collections::BTreeSet;

pub(super) const CASES: &[Case] = &[
    tagged("privileges: every thread has given them up", &[Tag::Own, Tag::Once], given_up),
    tagged("privileges: alerts are complete without them", &[Tag::Own], complete),
];

/// No capability, as they are written in /proc.
const NONE: &str = "0000000000000000";

fn given_up(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor()?;
    let check = || {
        for (name, expected) in [
            ("CapEff", NONE),
            ("CapPrm", NONE),
            ("CapInh", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            // A filter of system calls.
            ("Seccomp", "2"),
        ] {
            let found = of_all_threads(sensor.pid(), name)?;
            ensure!(found == [expected.to_owned()].into(), "{name} of its threads is {found:?}, expected {expected}");
        }
        Ok(())
    };
    check()?;
    // Neither a reload nor an alert, for which a thread looks at /proc, brings anything back.
    sensor.reload(lab.hooks(), "configuration read again")?;
    let shell = shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])?;
    lab.expect_of(&sensor, &[shell.alert()])?;
    check()?;
    sensor.stop_cleanly().map(drop)
}

/// The values of a line of all threads' status.
fn of_all_threads(pid: u32, name: &str) -> Result<BTreeSet<String>> {
    let mut values = BTreeSet::new();
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        values.insert(field::text(&status, name).with_context(|| format!("no {name} in the status"))?.to_owned());
        threads += 1;
    }
    ensure!(threads > 2, "{threads} threads: one reads, one writes the log, and one or more write what was found");
    Ok(values)
}

/// What the kernel's record does not hold: of another user's process, in a container, with a parent that is another user's too.
fn complete(lab: &Lab) -> Result<()> {
    const NOBODY: u32 = 65534;
    const PARENT: &[&str] = &["starter", "--of", "shells"];
    let id = format!("{:064x}", u64::from(lab.number()) << 32 | u64::from(std::process::id()));
    let mut container = Cgroup::new(&id)?;
    let sensor = lab.start_sensor()?;
    let (starter, bash) = (lab.program("starter")?, lab.program("bash")?);
    let mut alerts = Vec::new();
    // A parent that does not answer within 20 ms is not waited for, and a busy host takes longer at times.
    for _ in 0..10 {
        let knock = connect_by(closed(lab), How::Plain, Outcome::Refused);
        let shell = exec_then(&bash, &["bash"], vec![report("shell"), Step::Wait, knock, exec(&bash, SHELL)]);
        let mut player = lab.play(&starter, PARENT, vec![Step::User(NOBODY), fork(vec![shell])])?;
        let pid = player.reached("shell")?.pid;
        container.add(pid)?;
        player.go()?;
        player.reached("end")?;
        let alert = Expect::alert(pid, &bash, SHELL)
            .parent(player.pid(), "starter")
            .field("process.parent.executable", starter.to_string_lossy().as_ref())
            .field("user.id", NOBODY.to_string())
            .field("user.name", name_of(NOBODY)?)
            .field("container.id", id.as_str());
        alerts.push(alert);
        lab.expect_of(&sensor, &alerts)?;
        let found = sensor.alerts(|alert| field(alert, "process.pid") == Some(&json!(pid)))?;
        let args = found.first().and_then(|alert| field(alert, "process.parent.args")).cloned();
        if args == Some(json!(PARENT)) {
            return sensor.stop_cleanly().map(drop);
        }
        ensure!(args.is_none(), "the parent's arguments are {args:?}, expected {PARENT:?}");
    }
    bail!("the parent's arguments are always absent, log:\n{}", sensor.log_tail())
}

fn name_of(uid: u32) -> Result<String> {
    let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.with_context(|| format!("user {uid} has no name here"))
}
