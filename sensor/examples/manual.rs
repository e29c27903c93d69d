//! Writes the manual's pages and the completions of shells, for packages: `cargo run --example manual DIRECTORY`.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use sensor::command::line::Cli;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.ok_or_else(|| io::Error::other("usage: manual DIRECTORY"))?;
    std::fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(Cli::command(), &directory)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut Cli::command(), "sensor", &directory)?;
    }
    Ok(())
}
