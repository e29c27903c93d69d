//! What `sensor run` gives to those who ask for its numbers.

use crate::config::Listen;
use crate::kernel::load::Loaded;
use crate::kernel::ring::Ring;
use crate::metrics::{Board, Server, Source, UserSide};
use crate::pipeline::Pipeline;
use anyhow::Result;
use std::sync::Arc;

/// The numbers that others may ask for, until it is dropped.
pub(super) struct Metrics {
    board: Board,
    _server: Server,
}

impl Metrics {
    /// Serves them. `rings` are those of connections and of executions.
    pub(super) fn serve(listen: &Listen, loaded: &Loaded, rings: (&Ring, &Ring), pipeline: &Pipeline) -> Result<Self> {
        let rings = vec![("connections", rings.0.fill()), ("executions", rings.1.fill())];
        let hooks = loaded.choices.iter().map(|choice| (choice.fact.to_string(), choice.kind()));
        let (board, reader) = Board::new(user_side(pipeline, 0));
        let counters = Arc::clone(&loaded.counters);
        let source = Source { counters, rings, hooks: hooks.collect(), board: reader };
        let server = Server::start(listen, source)?;
        tracing::info!("metrics are served on {listen}");
        Ok(Self { board, _server: server })
    }

    /// Gives them to those who have asked, and how often counters were found to disagree.
    pub(super) fn answer(&self, pipeline: &Pipeline, violations: u64) {
        self.board.answer(user_side(pipeline, violations));
    }

    /// The buffers have been read now.
    pub(super) fn polled(&self) {
        self.board.polled();
    }
}

/// Waits until somebody asks, where anybody can.
pub(super) async fn asked(metrics: Option<&Metrics>) {
    match metrics {
        Some(metrics) => metrics.board.asked().await,
        None => std::future::pending().await,
    }
}

fn user_side(pipeline: &Pipeline, violations: u64) -> UserSide {
    UserSide {
        stats: pipeline.stats(),
        evicted: pipeline.evicted(),
        violations,
        outputs: pipeline.outputs().stats(),
        exceptions: pipeline.exceptions().uses().clone(),
        missed: pipeline.missed().clone(),
    }
}
