//! Does what the command line says.

use clap::Parser as _;
use sensor::command::exit::Exit;
use sensor::command::line::{Cli, Command};
use sensor::command::{alive, check, configuration, doctor, explain, replay, run, selftest, show};
use sensor::config::Config;
use sensor::logging;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _log = logging::start(cli.log_format, cli.log_level);
    let config = cli.config.as_deref();
    match &cli.command {
        Command::Run(options) => run::run(options, config),
        Command::Replay(options) => {
            with(config, |config| replay::run(options, &run::parameters(config), &config.exception))
        }
        Command::Explain(options) => with(config, |config| explain::run(options, &run::parameters(config))),
        Command::Show(options) => show::run(options),
        Command::Check => check::run(config, &mut io::stdout().lock(), &mut io::stderr().lock()),
        Command::Alive(options) => alive::run(options),
        Command::Doctor(options) => doctor::run(options, config, &mut io::stdout().lock()),
        Command::Selftest(options) => selftest::run(options, config, &mut io::stdout().lock()),
        Command::Version => version(),
    }
    .into()
}

/// Runs a command that needs nothing but the configuration.
fn with(config: Option<&Path>, command: impl FnOnce(&Config) -> Exit) -> Exit {
    match configuration(config) {
        Ok(config) => command(&config),
        Err(exit) => exit,
    }
}

#[expect(clippy::print_stdout, reason = "it is what was asked for")]
fn version() -> Exit {
    println!("sensor {}", env!("CARGO_PKG_VERSION"));
    Exit::Ok
}
