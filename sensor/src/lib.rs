//! A host sensor for reverse shells on Linux.
//!
//! Data flows one way: [`kernel`] (ring buffers) → [`event`] → [`detect`] → [`alert`] → [`output`], joined by [`pipeline`].
//! Imports point one way too: `command` → `metrics` → `pipeline` → {`kernel`, `enrich`, `output`, `render` → `alert`} → `detect` → `event` →
//! `sensor-common`. `event` and `detect` do no I/O and are given the time as a value.

pub mod alert;
pub mod command;
pub mod config;
pub mod detect;
pub mod enrich;
pub mod event;
pub mod health;
pub mod heartbeat;
pub mod kernel;
pub mod life;
pub mod logging;
pub mod metrics;
pub mod noise;
pub mod output;
pub mod pipeline;
pub mod privileges;
pub mod render;
pub mod service;
pub mod stats;
pub mod terminal;
