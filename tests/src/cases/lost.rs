//! What is lost is counted and told, and what need not be lost is not: full buffers, a slow reader, a full disk.

use super::scene::{Shell, closed, listen_again, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{How, Outcome, Step, connect_by, exec_then, fork, report};
use crate::expect::field;
use crate::freeze::Frozen;
use crate::lab::Lab;
use crate::mounts::with_mounts;
use crate::scrape::scrape;
use crate::sensor::{Ended, Sensor, command};
use crate::tail::Tail;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;
use sensor_receiver::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, pipe};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::thread::{sleep, spawn};
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged("lost: what found no room in a small buffer is told with its number", &[Tag::Own, Tag::Alone], told),
    tagged(
        "lost: the numbers can be asked for while the reader stands still",
        &[Tag::Own, Tag::Alone, Tag::Once],
        asked,
    ),
    tagged("lost: nothing by a slow reader", &[Tag::Own, Tag::Once], slow_reader),
    tagged(
        "lost: on a full disk what the file cannot take, and nothing that is spooled",
        &[Tag::Own, Tag::Once],
        full_disk,
    ),
];

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

fn of(shell: &Shell) -> impl Fn(&Value) -> bool {
    let pid = json!(shell.pid());
    move |alert| field(alert, "process.pid") == Some(&pid)
}

/// How much was lost at a place by what documents say, in `sensor.lost`.
fn said<'a>(documents: impl Iterator<Item = &'a Value>, place: &str) -> u64 {
    let causes = documents.filter_map(|document| field(document, "sensor.lost.causes")?.as_array()).flatten();
    let of_place = causes.filter(|cause| field(cause, "place") == Some(&json!(place)));
    of_place.filter_map(|cause| field(cause, "count")?.as_u64()).sum()
}

/// Alerts say it, and so do documents of its own kind; the numbers of both are the counters'.
fn told(lab: &Lab) -> Result<()> {
    const SHELLS: u32 = 200;
    const CONNECTIONS: u32 = 2000;
    let stream = lab.directory().join("stream.ndjson");
    let config =
        format!("[rings]\nconnections = 65536\nexecutions = 65536\n[output]\nfile = \"{}\"\n", stream.display());
    let sensor = lab.start_sensor_with("sensor", &config)?;
    let bash = lab.program("bash")?;
    let long = "v".repeat(2000);
    let shell = fork(vec![knock(lab), exec_then(&bash, &["bash", "-i", &long], vec![])]);
    let steps = vec![
        Step::Repeat(CONNECTIONS, vec![knock(lab), Step::Close]),
        Step::Repeat(SHELLS, vec![shell]),
        report("done"),
        Step::Hold,
    ];
    sensor.signal(Signal::STOP)?;
    let done = lab.play(&bash, &["bash"], steps).and_then(|mut player| player.reached("done").map(|_| player));
    sensor.signal(Signal::CONT)?;
    let _player = done?;
    // What comes after it, so that there is an alert to say so.
    let late = shell_after(lab, vec![knock(lab)])?;
    until("the alert of the last shell", || Ok((sensor.count_alerts(of(&late))? == 1).then_some(())))?;
    let counters = sensor.stop_with_losses()?;
    let mut tail = Tail::new(&stream)?;
    tail.read()?;
    let (alerts, life): (Vec<&Value>, Vec<&Value>) =
        tail.documents()?.iter().partition(|document| field(document, "event.kind") == Some(&json!("alert")));
    let losses = |document: &&&Value| field(document, "event.action") == Some(&json!("sensor-lost-events"));
    for hook in ["connect", "exec"] {
        let lost = counters.sum(hook, "lost_");
        ensure!(lost > 0, "nothing of {hook} was lost: {counters:?}");
        let by_life = said(life.iter().filter(losses).copied(), hook);
        ensure!(by_life == lost, "{hook}: the stream says that {by_life} were lost, the counters {lost}");
        // What was lost behind the last alert no alert can say.
        let by_alerts = said(alerts.iter().copied(), hook);
        ensure!(by_alerts == lost, "{hook}: alerts say that {by_alerts} were lost, the counters {lost}");
    }
    let about = |alert: &&&Value| field(alert, "process.args.2") == Some(&json!(long));
    let alerted = u64::try_from(alerts.iter().filter(about).count())?;
    let lost = counters.sum("exec", "lost_");
    ensure!(alerted + lost == u64::from(SHELLS), "{alerted} alerts and {lost} lost of {SHELLS}: {counters:?}");
    Ok(())
}

/// The kernel side's numbers go on, since reading them takes nobody else.
fn asked(lab: &Lab) -> Result<()> {
    let socket = lab.directory().join("metrics");
    let sensor = lab.start_sensor_with("sensor", &format!("[metrics]\nlisten = \"{}\"\n", socket.display()))?;
    let executions = || -> Result<[f64; 2]> {
        let samples = scrape(&socket)?;
        let sent = "sensor_kernel_events_total{hook=\"exec\",fate=\"sent\",cause=\"armed\"}";
        let [seen, sent] =
            ["sensor_kernel_events_seen_total{hook=\"exec\"}", sent].map(|name| samples.get(name).copied());
        Ok([seen.context("not seen")?, sent.context("not sent")?])
    };
    let frozen = Frozen::new(sensor.pid())?;
    let before = executions()?;
    let shells = (0..5).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    let after = executions()?;
    ensure!(before.iter().zip(&after).all(|(before, after)| *after >= before + 5.0), "from {before:?} to {after:?}");
    ensure!(sensor.count_alerts(|_| true)? == 0, "the reader does not stand still");
    drop(frozen);
    lab.expect_of(&sensor, &shells.iter().map(Shell::alert).collect::<Vec<_>>())?;
    sensor.stop_cleanly().map(drop)
}

/// It takes a line now and then, of more alerts than a pipe holds; nothing waits for it but its own queue.
fn slow_reader(lab: &Lab) -> Result<()> {
    const SHELLS: usize = 60;
    let stream = lab.directory().join("stream.ndjson");
    let config = format!("{}[output]\nfile = \"{}\"\n[life]\noutputs = []\n", lab.hooks(), stream.display());
    let (reader, writer) = pipe()?;
    let sensor =
        Sensor::start_with_output(lab.binary(), &lab.directory().join("sensor"), &config, Stdio::from(writer))?;
    let reader = spawn(move || -> Result<Vec<Value>> {
        let mut documents = Vec::new();
        for line in BufReader::with_capacity(512, reader).lines() {
            documents.push(serde_json::from_str(&line?)?);
            sleep(Duration::from_millis(30));
        }
        Ok(documents)
    });
    let shells = (0..SHELLS).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    // The other output does not wait for it.
    let mut tail = Tail::new(&stream)?;
    until("the alerts in the file", || {
        tail.read()?;
        let documents = tail.documents()?;
        Ok(shells.iter().all(|shell| documents.iter().any(of(shell))).then_some(()))
    })?;
    // Its end waits a while for what has not been taken.
    let Ended { code, counters } = sensor.stop(Signal::TERM)?;
    counters.context("no counters")?.balance()?;
    let documents = reader.join().map_err(|_| anyhow::anyhow!("the reader has panicked"))??;
    ensure!(code == Some(0), "it ended with {code:?}, log:\n{}", sensor.log_tail());
    for shell in &shells {
        let count = documents.iter().filter(|alert| of(shell)(alert)).count();
        ensure!(count == 1, "{count} alerts about {}", shell.pid());
    }
    Ok(())
}

/// A file and a spool on file systems of the sensor's own that hold a few alerts each.
fn full_disk(lab: &Lab) -> Result<()> {
    const SHELLS: usize = 60;
    let server = Server::start()?;
    let port = server.address().port();
    drop(server);
    let [disks, socket] = ["disks", "metrics"].map(|name| lab.directory().join(name));
    let [small, spool] = ["small", "spool"].map(|name| disks.join(name));
    for place in [&small, &spool] {
        fs::create_dir_all(place)?;
    }
    let config = format!(
        "{}[output]\nfile = \"{}\"\nspool.directory = \"{}\"\nelasticsearch.url = \"http://127.0.0.1:{port}\"\n\
         [life]\noutputs = []\n[metrics]\nlisten = \"{}\"\n",
        lab.hooks(),
        small.join("alerts").display(),
        spool.join("of-sensor").display(),
        socket.display()
    );
    let directory = lab.directory().join("sensor");
    fs::create_dir_all(&directory)?;
    let mut command = command(lab.binary(), &directory, &config)?;
    let places = [small.clone(), spool].map(|place| CString::new(place.as_os_str().as_bytes()));
    let [first, second] = places;
    let places = [first?, second?];
    with_mounts(&mut command, move || {
        for place in &places {
            mount(c"tmpfs", place.as_c_str(), c"tmpfs", MountFlags::empty(), Some(c"size=128k"))?;
        }
        Ok(())
    });
    let out = File::create(directory.join("alerts.ndjson"))?;
    let sensor = Sensor::start_command(command, &directory, out.into())?;
    // As the sensor sees it.
    let file =
        Path::new("/proc").join(sensor.pid().to_string()).join("root").join(small.strip_prefix("/")?).join("alerts");
    let mut shells = (0..SHELLS).map(|_| shell_after(lab, vec![knock(lab)])).collect::<Result<Vec<_>>>()?;
    let numbers = || -> Result<BTreeMap<String, f64>> { scrape(&socket) };
    let of_output = |samples: &BTreeMap<String, f64>, output: &str, result: &str| {
        let name = format!("sensor_output_documents_total{{output=\"{output}\",result=\"{result}\"}}");
        samples.get(&name).copied().with_context(|| format!("no {name}"))
    };
    until("a file that is full", || Ok((of_output(&numbers()?, "file", "dropped")? > 0.0).then_some(())))?;
    for shell in &shells {
        until("the alert on standard output", || Ok((sensor.count_alerts(of(shell))? == 1).then_some(())))?;
    }
    // Somebody makes room.
    File::options().write(true).open(&file)?.set_len(0)?;
    shells.push(shell_after(lab, vec![knock(lab)])?);
    let last = shells.last().context("no shell")?;
    let alerted = until("the next alert in the file", || {
        let text = fs::read_to_string(&file)?;
        let documents = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(documents.into_iter().find(of(last)))
    });
    alerted.with_context(|| sensor.log_tail())?;
    // And the server is there: all that waited comes, also what found no room on the disk.
    let server = listen_again(port)?;
    for shell in &shells {
        let there = || server.documents().values().filter(|alert| of(shell)(alert)).count();
        until("the alert at the server", || Ok((there() == 1).then_some(())))?;
    }
    let samples = numbers()?;
    let [delivered, dropped] = ["delivered", "dropped"].map(|result| of_output(&samples, "file", result));
    let alerts = f64::from(u32::try_from(sensor.count_alerts(|_| true)?)?);
    let (delivered, dropped) = (delivered?, dropped?);
    ensure!(dropped > 0.0 && delivered > 0.0, "{delivered} delivered, {dropped} dropped");
    ensure!(
        delivered + dropped >= alerts.min(f64::from(u32::try_from(shells.len())?)),
        "{delivered} and {dropped} of {alerts}"
    );
    ensure!(of_output(&samples, "elasticsearch", "dropped")? == 0.0, "{samples:?}");
    let Ended { code, counters } = sensor.stop(Signal::TERM)?;
    counters.context("no counters")?.balance()?;
    ensure!(code == Some(1), "it ended with {code:?} although alerts were lost: {}", sensor.log_tail());
    ensure!(!sensor.said(" disagree: ")?, "its counters disagree, log:\n{}", sensor.log_tail());
    Ok(())
}
