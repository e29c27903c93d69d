//! Other configurations while alerts are coming.

use super::scene::{SHELL, Shell, closed, shell_after};
use super::{Case, Tag, tagged};
use crate::actor::step::{Accept, How, Outcome, Step, connect, connect_by, exec_then, fork, report};
use crate::expect::field;
use crate::lab::Lab;
use crate::sensor::Sensor;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    tagged("reload: outputs change as far as the rights to them were kept", &[Tag::Own, Tag::Once], other_outputs),
    tagged(
        "reload: a hundred under a stream of shells, each alerted once",
        &[Tag::Own, Tag::Alone, Tag::Once],
        |lab| many(lab, 100),
    ),
    tagged(
        "reload: a thousand under a stream of shells, each alerted once",
        &[Tag::Own, Tag::Alone, Tag::Once, Tag::Storm],
        |lab| many(lab, 1000),
    ),
];

/// How long a stream of shells may take on a slow machine.
const STORM: Duration = Duration::from_secs(900);

fn knock(lab: &Lab) -> Step {
    connect_by(closed(lab), How::Plain, Outcome::Refused)
}

/// The next alert goes to another file of the same directory, and to none that the sensor may not write to any more.
fn other_outputs(lab: &Lab) -> Result<()> {
    let [first, second] = ["first", "second"].map(|name| lab.directory().join(name));
    let elsewhere = lab.directory().join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    let third = elsewhere.join("third");
    let to = |path: &Path| format!("{}[output]\nfile = \"{}\"\n[life]\noutputs = []\n", lab.hooks(), path.display());
    let sensor = lab.start_sensor_with("sensor", &to(&first).replace(lab.hooks(), ""))?;
    let mut shells = vec![shell_after(lab, vec![knock(lab)])?];
    lab.expect_of(&sensor, &shells.iter().map(Shell::alert).collect::<Vec<_>>())?;
    sensor.reload(&to(&second), "configuration read again")?;
    shells.push(shell_after(lab, vec![knock(lab)])?);
    lab.expect_of(&sensor, &shells.iter().map(Shell::alert).collect::<Vec<_>>())?;
    sensor.reload(&to(&third), "output.file (the sensor has given up the right to it)")?;
    shells.push(shell_after(lab, vec![knock(lab)])?);
    lab.expect_of(&sensor, &shells.iter().map(Shell::alert).collect::<Vec<_>>())?;
    sensor.stop_cleanly()?;
    let about = |path: &Path, shell: &Shell| -> Result<usize> {
        let text = std::fs::read_to_string(path)?;
        let alerts = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        Ok(alerts.iter().filter(|alert| field(alert, "process.pid") == Some(&json!(shell.pid()))).count())
    };
    for (path, expected) in [(&first, [1, 0, 0]), (&second, [0, 1, 1])] {
        let counts = shells.iter().map(|shell| about(path, shell)).collect::<Result<Vec<_>>>()?;
        ensure!(counts == expected, "alerts in {}: {counts:?}", path.display());
    }
    ensure!(!third.exists(), "{} is there", third.display());
    Ok(())
}

/// How often the sensor has read its configuration.
fn reloads(sensor: &Sensor) -> Result<usize> {
    sensor.times_said("configuration read again")
}

/// One stream connects, the other accepts; both belong to the same sensor, which is told another configuration again and again, a wrong one
/// now and then. None of them is about these shells.
fn many(lab: &Lab, times: u32) -> Result<()> {
    let shells = times / 2;
    let sensor = lab.start_sensor()?;
    let bash = lab.program("bash")?;
    let here = SocketAddr::new(lab.local(), 4321);
    let shell = |how: Step| fork(vec![how, exec_then(&bash, SHELL, vec![])]);
    let connecting =
        vec![report("ready"), Step::Wait, Step::Repeat(shells, vec![shell(knock(lab))]), report("done"), Step::Hold];
    let accepting = vec![
        Step::Listen(here),
        report("ready"),
        Step::Repeat(shells, vec![shell(Step::Accept(Accept::Plain))]),
        report("done"),
        Step::Hold,
    ];
    // No rule is about those who only connect.
    let peer = vec![
        report("ready"),
        Step::Wait,
        Step::Repeat(shells, vec![connect(here), Step::Close]),
        report("done"),
        Step::Hold,
    ];
    let mut accepting = lab.play(&bash, &["bash"], accepting)?;
    accepting.reached("ready")?;
    let mut connecting = lab.play(&bash, &["bash"], connecting)?;
    let mut peer = lab.play(&lab.program("curl")?, &["curl"], peer)?;
    for player in [&mut connecting, &mut peer] {
        player.reached("ready")?;
        player.go()?;
    }
    let ours = lab.directory().to_string_lossy().into_owned();
    let about = |alert: &Value| {
        field(alert, "process.executable").and_then(Value::as_str).is_some_and(|path| path.starts_with(&ours))
    };
    for number in 0..times {
        let hooks = lab.hooks();
        let (span, beat) = (4 + number % 2, 10 + number % 50);
        let good = format!(
            "{hooks}[rule]\nspan = \"{span}s\"\nexcluded = [\"192.0.2.{}/32\"]\n[life]\nheartbeat = \"{beat}s\"\n",
            number % 256
        );
        if number % 10 == 9 {
            sensor.configure("[rule]\nspan = 1\n")?;
            sensor.signal(Signal::HUP)?;
            let refused = usize::try_from(number / 10)? + 1;
            until("the refusal", || Ok((sensor.times_said("stays as it was")? >= refused).then_some(())))?;
        }
        sensor.configure(&good)?;
        sensor.signal(Signal::HUP)?;
        let before = usize::try_from(number)?;
        until("the new configuration", || Ok((reloads(&sensor)? > before).then_some(())))?;
        // The next one comes with the next shell.
        until("more alerts", || Ok((sensor.count_alerts(about)? >= before).then_some(())))?;
    }
    for player in [&mut connecting, &mut accepting, &mut peer] {
        player.reached_within("done", STORM)?;
    }
    let all = usize::try_from(2 * shells)?;
    until("all alerts", || Ok((sensor.count_alerts(about)? >= all).then_some(())))?;
    // The canary comes behind whatever would be too much.
    lab.canary(&sensor)?;
    sensor.stop_cleanly()?;
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for alert in sensor.alerts(about)? {
        let text = |path: &str| field(&alert, path).and_then(Value::as_str).map(str::to_owned).context(path.to_owned());
        *counts.entry((text("network.direction")?, text("process.entity_id")?)).or_default() += 1;
    }
    for (direction, expected) in [("egress", shells + 1), ("ingress", shells)] {
        let of: Vec<u32> = counts.iter().filter(|((one, _), _)| one == direction).map(|(_, count)| *count).collect();
        ensure!(of.iter().all(|count| *count == 1), "{direction}: processes with more than one alert: {of:?}");
        ensure!(
            of.len() == usize::try_from(expected)?,
            "{direction}: alerts of {} processes, expected {expected}",
            of.len()
        );
    }
    Ok(())
}
