//! Alerts to a server elsewhere: one that is dead, one that never confirms, and a sensor that is killed in between.

use super::scene::{Shell, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, connect_by};
use crate::expect::field;
use crate::lab::Lab;
use crate::sensor::Sensor;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sensor_receiver::{Reply, Server};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

pub(super) const CASES: &[Case] = &[
    tagged("remote: alerts wait for a dead server and arrive once", &[Tag::Own, Tag::Once], dead_server),
    tagged(
        "remote: a sensor killed before a confirmation sends again, and nothing is there twice",
        &[Tag::Own, Tag::Alone, Tag::Once],
        killed,
    ),
];

/// Where the alerts wait.
fn spool(lab: &Lab) -> PathBuf {
    lab.directory().join("spool")
}

fn start(lab: &Lab, server: &Server) -> Result<Sensor> {
    let config = format!(
        "[output.elasticsearch]\nurl = \"http://{}\"\n[output.spool]\ndirectory = \"{}\"\n",
        server.address(),
        spool(lab).display()
    );
    lab.start_sensor_with("sensor", &config)
}

fn shell(lab: &Lab) -> Result<Shell> {
    shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])
}

/// Waits until so many alerts are on the disk.
fn until_spooled(lab: &Lab, count: usize) -> Result<()> {
    let ours = directory(lab);
    until(&format!("{count} alerts in the spool"), || {
        let mut lines = 0;
        for entry in fs::read_dir(spool(lab).join("elasticsearch"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == "spool") {
                lines += fs::read_to_string(path)?.lines().filter(|line| line.contains(&ours)).count();
            }
        }
        Ok((lines == count).then_some(()))
    })
}

/// The alerts at the server that are about this lab.
fn ours(lab: &Lab, server: &Server) -> Vec<Value> {
    let directory = directory(lab);
    server.documents().into_values().filter(|alert| alert.to_string().contains(&directory)).collect()
}

/// What all alerts of this lab hold, and no others.
fn directory(lab: &Lab) -> String {
    lab.directory().join("bin").to_string_lossy().into_owned()
}

/// Each shell has one alert at the server.
fn all_there(lab: &Lab, server: &Server, shells: &[Shell]) -> Result<()> {
    until("the alerts at the server", || Ok((ours(lab, server).len() >= shells.len()).then_some(())))?;
    let alerts = ours(lab, server);
    for shell in shells {
        let about = |alert: &&Value| field(alert, "process.pid") == Some(&json!(shell.pid()));
        let count = alerts.iter().filter(about).count();
        ensure!(count == 1, "{count} alerts about {}", shell.pid());
    }
    ensure!(alerts.len() == shells.len(), "{} alerts for {} shells", alerts.len(), shells.len());
    ensure!(server.faults().is_empty(), "{:?}", server.faults());
    Ok(())
}

/// Nobody listens at first; then somebody does who at first is overloaded, and then breaks off its answer.
fn dead_server(lab: &Lab) -> Result<()> {
    let dead = Server::start()?;
    let port = dead.address().port();
    let sensor = start(lab, &dead)?;
    drop(dead);
    let shells = (0..3).map(|_| shell(lab)).collect::<Result<Vec<_>>>()?;
    until_spooled(lab, 3)?;
    until("word of the server", || Ok(sensor.said("documents wait in the spool")?.then_some(())))?;
    let server = Server::listen(port, Box::new(|stream| Ok(Box::new(stream)))).context("the server's port")?;
    let overloaded = Reply::Status(429, vec![("Retry-After", "1".to_owned())], "");
    server.reply([overloaded, Reply::CreateAndBreak]);
    all_there(lab, &server, &shells)?;
    until_spooled(lab, 0)?;
    sensor.stop_cleanly()?;
    Ok(())
}

/// The server has taken some of them, but the sensor never hears of it.
fn killed(lab: &Lab) -> Result<()> {
    let server = Server::start()?;
    server.reply([Reply::CreateAndHang]);
    let sensor = start(lab, &server)?;
    let mut shells = vec![shell(lab)?];
    until("the first alert at the server", || Ok((ours(lab, &server).len() == 1).then_some(())))?;
    for _ in 0..4 {
        shells.push(shell(lab)?);
    }
    until_spooled(lab, shells.len())?;
    sensor.stop(Signal::KILL)?;
    let again = start(lab, &server)?;
    all_there(lab, &server, &shells)?;
    until_spooled(lab, 0)?;
    ensure!(server.conflicts() > 0, "what the server had was not sent again");
    again.stop_cleanly()?;
    Ok(())
}
