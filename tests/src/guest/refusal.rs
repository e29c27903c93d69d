//! Hooks that a kernel does not have: forced, they must be refused with exit status 4 and a message that names the cause.

use crate::protocol::Refusal;
use crate::system::SENSOR;
use crate::tell::Told;
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the sensor may take to make up its mind.
const PATIENCE: Duration = Duration::from_secs(180);
/// Exit status for a kernel that lacks something.
const UNSUPPORTED: i32 = 4;

/// Tries one, and tells how it went.
pub(crate) fn try_out(refusal: &Refusal, told: &mut Told) -> Result<()> {
    let Refusal { fact, kind, message } = refusal;
    let outcome = refuses(&format!("[hooks]\n{fact} = \"{kind}\"\n"), message);
    told.result(&format!("{fact}={kind} is refused"), outcome)
}

/// Starts the sensor with a configuration that this kernel cannot do.
pub(crate) fn refuses(configuration: &str, message: &str) -> Result<()> {
    const PATH: &str = "/tmp/refused.toml";
    std::fs::write(PATH, configuration)?;
    let mut sensor = Command::new(SENSOR);
    sensor.args(["--config", PATH, "run"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut sensor = sensor.spawn().context(SENSOR)?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = sensor.try_wait()? {
            break status;
        }
        if start.elapsed() > PATIENCE {
            sensor.kill()?;
            sensor.wait()?;
            bail!("the sensor runs, where it was expected to refuse with `{message}`");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    sensor.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
    ensure!(status.code() == Some(UNSUPPORTED), "it ended with {status}, {UNSUPPORTED} was expected: {said}");
    ensure!(said.contains(message), "it does not say `{message}`: {said}");
    Ok(())
}
