//! The load: shells of both kinds, and much that only looks like them or matters to nobody.

use crate::actor::step::{Accept, How, Outcome, Step, connect, connect_by, exec_then, fork, report};
use crate::lab::Lab;
use crate::player::Player;
use crate::tiny;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::path::Path;

/// Processes that do their part in each turn.
pub(super) struct Load {
    players: Vec<Player>,
    made: u64,
}

/// Shells that make an alert in a turn: one connects, the other accepts.
const SHELLS: u64 = 2;

impl Load {
    /// Starts them.
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let bin = lab.directory().join("bin");
        let [shell, compiler] = ["dash", "cc1"].map(|name| bin.join(name));
        for file in [&shell, &compiler] {
            tiny::write(file)?;
        }
        let knock = || connect_by(SocketAddr::new(lab.remote(), 9), How::Plain, Outcome::Refused);
        let becomes = |how: Step, args: &[&str]| fork(vec![how, exec_then(&shell, args, vec![])]);
        let spawns = |file: &Path, args: &[&str], times: u32| {
            Step::Repeat(times, vec![Step::Spawn(file.to_owned(), args.iter().copied().map(Into::into).collect())])
        };
        let here = SocketAddr::new(lab.local(), 4321);
        let shells = [
            ("bash", None, vec![becomes(knock(), ALERTED)]),
            // Whoever connects to it comes later in the same turn.
            ("bash", Some(Step::Listen(here)), vec![becomes(Step::Accept(Accept::Plain), ALERTED)]),
            ("curl", None, vec![connect(here), Step::Close]),
        ];
        let others = [
            ("make", None, vec![spawns(&compiler, &["cc1"], 15), spawns(&shell, &["dash", "-c", ":"], 5)]),
            ("curl", None, vec![Step::Repeat(20, vec![knock(), Step::Close])]),
            // A shell's connections, and shells that do what the rule does not ask for.
            ("zsh", None, vec![Step::Repeat(10, vec![knock(), Step::Close]), becomes(knock(), &["dash", "-c", ":"])]),
        ];
        let mut players = Vec::new();
        for (name, before, steps) in shells.into_iter().chain(others) {
            let turn = [vec![Step::Wait], steps, vec![report("made")]].concat();
            let steps = before.into_iter().chain([report("ready"), Step::Repeat(u32::MAX, turn)]).collect();
            let mut player = lab.play(&lab.program(name)?, &[name], steps)?;
            player.reached("ready")?;
            players.push(player);
        }
        Ok(Self { players, made: 0 })
    }

    /// One turn of all of them.
    pub(super) fn turn(&mut self) -> Result<()> {
        for player in &mut self.players {
            player.go()?;
        }
        for player in &mut self.players {
            player.reached("made")?;
        }
        self.made += SHELLS;
        ensure!(self.made < u64::from(u32::MAX), "no more turns");
        Ok(())
    }

    /// Shells so far that make an alert.
    pub(super) fn made(&self) -> u64 {
        self.made
    }
}

/// Arguments of a shell that makes an alert.
pub(super) const ALERTED: &[&str] = &["dash", "-i"];
