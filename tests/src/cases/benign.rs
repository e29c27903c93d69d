//! What hosts do all day.

use super::{Case, Tag, tagged};
use crate::lab::Lab;
use anyhow::{Result, ensure};

const USERLAND: &[Tag] = &[Tag::Userland];

pub(super) const CASES: &[Case] = &[
    tagged("benign: login shells", USERLAND, |lab| {
        quiet(lab, "bash", &["-c", "bash -lc true; bash -l -c true; sh -l -c :"])
    }),
    tagged("benign: interactive shells", USERLAND, |lab| quiet(lab, "bash", &["-c", "bash -i -c true; dash -i -c :"])),
    tagged("benign: a build", USERLAND, build),
    tagged("benign: a health check", USERLAND, health_check),
    tagged("benign: a health check, then an interactive shell in another process", USERLAND, then_a_shell),
    tagged("benign: waiting for a port", USERLAND, wait_for_port),
    tagged("benign: socat as a relay", USERLAND, relay),
];

/// Runs to a good end, without an alert.
fn quiet(lab: &Lab, program: &str, args: &[&str]) -> Result<()> {
    let status = lab.run(program, args)?.wait()?;
    ensure!(status.success(), "{program} ended with {status}: {}", lab.output());
    lab.expect_none()
}

/// Many shells and programs, as make runs them.
fn build(lab: &Lab) -> Result<()> {
    let recipe = "for n in $(seq 50); do sh -c \"cat /dev/null | sort | bash -c 'true'\"; bash -lc true; done";
    quiet(lab, "bash", &["-c", recipe])
}

/// The shell connects and ends.
fn health_check(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let check = format!("</dev/tcp/{}/{}", far.address.ip(), far.address.port());
    quiet(lab, "timeout", &["1", "bash", "-c", &check])?;
    far.accept().map(drop)
}

/// The check's process is gone when somebody logs in.
fn then_a_shell(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let check = format!("timeout 1 bash -c '</dev/tcp/{}/{}'; bash -i -c true", far.address.ip(), far.address.port());
    quiet(lab, "bash", &["-c", &check])?;
    far.accept().map(drop)
}

/// Connects in vain again and again, in the shell itself, which then executes what it was waiting for.
fn wait_for_port(lab: &Lab) -> Result<()> {
    let script =
        format!("for n in 1 2 3; do (exec 3<>/dev/tcp/{}/9) 2>/dev/null; done; exec bash -c true", lab.remote());
    quiet(lab, "bash", &["-c", &script])
}

/// socat connects, and executes nothing.
fn relay(lab: &Lab) -> Result<()> {
    let far = lab.listen(lab.remote())?;
    let _process = lab.run("socat", &["PIPE", &format!("TCP:{}", far.address)])?;
    far.accept()?;
    lab.expect_none()
}
