//! Alerts to a server elsewhere: one that is dead, one that never confirms, and a sensor that is killed in between.

use super::scene::{Shell, closed, listen_again, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, connect_by};
use crate::expect::field;
use crate::lab::{Lab, which};
use crate::parent::ends_with_parent;
use crate::player::Guard;
use crate::sensor::Sensor;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sensor_receiver::{Reply, Server};
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub(super) const CASES: &[Case] = &[
    tagged("remote: alerts wait for a dead server and arrive once", &[Tag::Own, Tag::Once], dead_server),
    tagged(
        "remote: a sensor killed before a confirmation sends again, and nothing is there twice",
        &[Tag::Own, Tag::Alone, Tag::Once],
        killed,
    ),
    tagged("remote: rsyslog gets an alert by TCP", &[Tag::Own, Tag::Once, Tag::Userland], rsyslog_by_tcp),
    tagged("remote: rsyslog gets an alert by its socket", &[Tag::Own, Tag::Once, Tag::Userland], rsyslog_by_socket),
];

/// Where the alerts wait.
fn spool(lab: &Lab) -> PathBuf {
    lab.directory().join("spool")
}

fn start(lab: &Lab, server: &Server, more: &str) -> Result<Sensor> {
    start_with(lab, &format!("elasticsearch.url = \"http://{}\"\n{more}", server.address()))
}

/// Alerts and nothing else.
const ALERTS_ALONE: &str = "[life]\noutputs = []";

/// A sensor with this output.
fn start_with(lab: &Lab, output: &str) -> Result<Sensor> {
    let spool = spool(lab);
    lab.start_sensor_with("sensor", &format!("[output]\nspool.directory = \"{}\"\n{output}\n", spool.display()))
}

fn shell(lab: &Lab) -> Result<Shell> {
    shell_after(lab, vec![connect_by(closed(lab), How::Plain, Outcome::Refused)])
}

/// Waits until so many alerts of this lab are on the disk.
fn until_spooled(lab: &Lab, output: &str, count: usize) -> Result<()> {
    let ours = directory(lab);
    until(&format!("{count} alerts in the spool"), || {
        let mut lines = 0;
        for entry in fs::read_dir(spool(lab).join(output))? {
            // A file goes when all of it has been sent.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            lines += text.lines().filter(|line| line.contains(&ours)).count();
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
    let sensor = start(lab, &dead, "")?;
    drop(dead);
    let shells = (0..3).map(|_| shell(lab)).collect::<Result<Vec<_>>>()?;
    until_spooled(lab, "elasticsearch", 3)?;
    until("word of the server", || Ok(sensor.said("documents wait in the spool")?.then_some(())))?;
    let server = listen_again(port)?;
    let overloaded = Reply::Status(429, vec![("Retry-After", "1".to_owned())], "");
    server.reply([overloaded, Reply::CreateAndBreak]);
    all_there(lab, &server, &shells)?;
    until_spooled(lab, "elasticsearch", 0)?;
    sensor.stop_cleanly()?;
    let documents = server.documents();
    let told: Vec<_> = documents.values().filter_map(|one| field(one, "event.action")?.as_str()).collect();
    // The start may have been told to the server that was there then.
    ensure!(told.iter().filter(|one| **one == "sensor-stopped").count() == 1, "{told:?}");
    Ok(())
}

/// The server has taken some of them, but the sensor never hears of it.
fn killed(lab: &Lab) -> Result<()> {
    let server = Server::start()?;
    server.reply([Reply::CreateAndHang]);
    let sensor = start(lab, &server, ALERTS_ALONE)?;
    let mut shells = vec![shell(lab)?];
    until("the first alert at the server", || Ok((ours(lab, &server).len() == 1).then_some(())))?;
    for _ in 0..4 {
        shells.push(shell(lab)?);
    }
    until_spooled(lab, "elasticsearch", shells.len())?;
    sensor.stop(Signal::KILL)?;
    let again = start(lab, &server, ALERTS_ALONE)?;
    all_there(lab, &server, &shells)?;
    until_spooled(lab, "elasticsearch", 0)?;
    ensure!(server.conflicts() > 0, "what the server had was not sent again");
    again.stop_cleanly()?;
    Ok(())
}

fn rsyslog_by_tcp(lab: &Lab) -> Result<()> {
    // Free a moment ago; the sensor would try again if rsyslog did not get it.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let input = format!("module(load=\"imptcp\")\ninput(type=\"imptcp\" address=\"127.0.0.1\" port=\"{port}\")\n");
    rsyslog(lab, &input, &format!("syslog.to = \"tcp://127.0.0.1:{port}\""))
}

fn rsyslog_by_socket(lab: &Lab) -> Result<()> {
    let socket = lab.directory().join("log");
    let socket = socket.display();
    let module = "module(load=\"imuxsock\" SysSock.Use=\"off\")\n";
    let input = format!("{module}input(type=\"imuxsock\" Socket=\"{socket}\" UseSpecialParser=\"off\")\n");
    rsyslog(lab, &input, &format!("syslog.to = \"unix:{socket}\""))
}

/// What rsyslog makes of an alert's message: the parts of its header, and the document.
fn rsyslog(lab: &Lab, input: &str, output: &str) -> Result<()> {
    let [config, pid, written] = ["rsyslog.conf", "rsyslog.pid", "syslog"].map(|name| lab.directory().join(name));
    let parts = "%syslogfacility-text%.%syslogseverity-text% %app-name% %msgid% %structured-data:1:7% %msg%";
    let template = format!("template(name=\"parts\" type=\"string\" string=\"{parts}\\n\")\n");
    let action = format!("action(type=\"omfile\" file=\"{}\" template=\"parts\")\n", written.display());
    fs::write(&config, format!("{input}{template}{action}"))?;
    let mut command = Command::new(which("rsyslogd")?);
    command.args(["-n", "-f"]).arg(&config).arg("-i").arg(&pid);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    ends_with_parent(&mut command);
    let _server = Guard::spawn(&mut command)?;
    let sensor = start_with(lab, output)?;
    let shell = shell(lab)?;
    let line = until("the alert in rsyslog's file", || {
        let text = fs::read_to_string(&written).unwrap_or_default();
        Ok(text.lines().find(|line| line.contains(&directory(lab))).map(str::to_owned))
    })?;
    let document = line.strip_prefix("authpriv.warning sensor alert [origin ").with_context(|| line.clone())?;
    let document: Value = serde_json::from_str(document.trim()).with_context(|| line.clone())?;
    ensure!(field(&document, "process.pid") == Some(&json!(shell.pid())), "{line}");
    until_spooled(lab, "syslog", 0)?;
    sensor.stop_cleanly()?;
    Ok(())
}
