//! `sensor doctor`: looks at everything that the sensor depends on, tries every hook with a canary, and says what would be chosen, what
//! is degraded and what to do about it. Leaves nothing attached, and disturbs no sensor that runs.

mod canary;
mod diagnosis;
mod hooks;
mod memory;
mod mounts;
mod survey;
mod system;
mod text;

use super::configuration;
use super::exit::Exit;
use super::run::start::{load_options, raise_memory_limit};
use crate::config::Config;
use crate::enrich::host::{Given, Host};
use crate::kernel::btf::Btf;
use crate::kernel::error::LoadError;
use crate::kernel::layout::examine;
use crate::kernel::load::Options as LoadOptions;
use clap::Args;
use diagnosis::{Finding, diagnose, exit};
use sensor_common::layout::Need;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use survey::{Field, LoadFailure, Survey};

/// Options of `sensor doctor`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Print the place of every kernel field too; the JSON always has them.
    #[arg(long, short)]
    pub verbose: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    sensor: &'static str,
    works: bool,
    exit_code: Exit,
    findings: &'a [Finding],
    #[serde(flatten)]
    survey: &'a Survey,
}

/// Looks at this host and prints to `out` what it found. Gives [`Exit::Ok`] if the sensor would work, be it degraded; the status
/// that belongs to the worst fault otherwise; [`Exit::Config`] if the configuration is not valid.
pub fn run(options: &Options, config: Option<&Path>, out: &mut impl Write) -> Exit {
    let config = match configuration(config) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let survey = examine_host(&config);
    let findings = diagnose(&survey);
    let exit = exit(&findings);
    match print(options, &survey, &findings, exit, out) {
        Ok(()) => exit,
        Err(error) => {
            tracing::error!("cannot print the report: {error}");
            Exit::Failed
        }
    }
}

fn print(options: &Options, survey: &Survey, findings: &[Finding], exit: Exit, out: &mut impl Write) -> io::Result<()> {
    if options.json {
        let sensor = env!("CARGO_PKG_VERSION");
        let report = Report { sensor, works: exit == Exit::Ok, exit_code: exit, findings, survey };
        serde_json::to_writer(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(text::report(survey, findings, exit, options.verbose).as_bytes())?;
    }
    out.flush()
}

fn examine_host(config: &Config) -> Survey {
    raise_memory_limit();
    let options = load_options(config);
    let kernel = system::kernel();
    let mounts = system::mounts();
    let bytes = std::fs::metadata(&options.btf).ok().map(|file| file.len());
    let memory = memory::survey(&config.rings, bytes.unwrap_or(0), &kernel.release, &mounts);
    let mut survey = Survey {
        btf: survey::Btf { path: options.btf.clone(), bytes, error: None },
        fields: Vec::new(),
        privileges: system::privileges(),
        tracefs: system::tracefs(&mounts),
        kprobes: system::kprobes(),
        host_error: Host::read(Path::new("/"), Given::default()).err().map(|error| error.to_string()),
        load_error: None,
        hooks: Vec::new(),
        kernel,
        memory,
    };
    // Going on would end this process instead of telling why.
    if survey.memory.too_little().is_some() {
        survey.hooks = hooks::not_tried(config, "the memory limit is too low");
        return survey;
    }
    match Btf::read(&options.btf) {
        Ok(btf) => survey.fields = examine(&btf).map(field).collect(),
        Err(error) => survey.btf.error = Some(error.to_string()),
    }
    match try_hooks(config, options) {
        Ok(hooks) => survey.hooks = hooks,
        Err((reason, exit_code)) => {
            survey.hooks = hooks::not_tried(config, &reason);
            survey.load_error = Some(LoadFailure { reason, exit_code });
        }
    }
    survey
}

fn field((field, found): (&'static sensor_common::layout::Field, Result<u16, crate::kernel::layout::Cause>)) -> Field {
    let error = found.as_ref().err().map(ToString::to_string);
    Field { path: field.path, required: field.need == Need::Required, offset: found.ok(), error }
}

fn try_hooks(config: &Config, options: LoadOptions) -> Result<Vec<survey::Hook>, (String, Exit)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| (format!("the runtime cannot be started: {error}"), Exit::Failed))?;
    let _within = runtime.enter();
    hooks::try_all(config, options).map_err(|error: LoadError| (error.to_string(), Exit::from(&error)))
}
