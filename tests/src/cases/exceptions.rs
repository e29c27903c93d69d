//! Exceptions: what they describe gives no alert and is counted, and everything else still does.

use super::scene::shell_after;
use super::{Case, once};
use crate::actor::step::{How, Outcome, Step, connect_by};
use crate::expect::field;
use crate::lab::Lab;
use crate::wait::until;
use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;

pub(super) const CASES: &[Case] =
    &[once("exceptions: what one describes gives no alert and is counted, the rest does", covered)];

/// Nobody listens at any of these ports.
fn knock_at(lab: &Lab, port: u16) -> Step {
    connect_by(SocketAddr::new(lab.remote(), port), How::Plain, Outcome::Refused)
}

/// The program lies in the lab's own directory, so that no other test's shells are meant.
fn config(lab: &Lab, port: u16) -> Result<String> {
    let file = lab.program("bash")?;
    Ok(format!(
        "{}[life]\noutputs = [\"stdout\"]\n[[exception]]\nname = \"probe\"\nreason = \"a test\"\n\
         rule = \"reverse-shell-via-child\"\nexecutable = \"*{}\"\narguments = \"bash -?\"\nuser = \"0\"\n\
         destination = \"{}\"\nport = {port}\n",
        lab.hooks(),
        file.display(),
        lab.remote()
    ))
}

fn covered(lab: &Lab) -> Result<()> {
    let sensor = lab.start_sensor_with("excepting", "")?;
    sensor.reload(&config(lab, 10)?, "configuration read again")?;
    let _covered = shell_after(lab, vec![knock_at(lab, 10)])?;
    let elsewhere = shell_after(lab, vec![knock_at(lab, 11)])?;
    lab.expect_of(&sensor, &[elsewhere.alert()])?;
    // Another one takes its place, with what was counted.
    sensor.configure(&config(lab, 11)?)?;
    sensor.signal(Signal::HUP)?;
    until("the second reload", || Ok((sensor.times_said("configuration read again")? == 2).then_some(())))?;
    let told = shell_after(lab, vec![knock_at(lab, 10)])?;
    let _covered = shell_after(lab, vec![knock_at(lab, 11)])?;
    lab.expect_of(&sensor, &[elsewhere.alert(), told.alert()])?;
    sensor.stop_cleanly()?;
    let stopped = sensor.alerts(|document| field(document, "event.action") == Some(&json!("sensor-stopped")))?;
    let excepted: Vec<_> = stopped.iter().map(|one| field(one, "sensor.totals.excepted")).collect();
    ensure!(excepted == [Some(&json!(2))], "excepted: {excepted:?}");
    Ok(())
}
