//! Documents for people: what an alert shows ([`picture`]), and that as a block of text ([`block`]);
//! what events show of a process ([`timeline`]).
//!
//! Every text here comes from documents that an attacker may have shaped, or that somebody has edited. It passes through
//! [`sheet`], which is the only place where text for a terminal is put together: control characters, escape sequences
//! and characters that change the direction of text come out spelled, and nothing is wider than the terminal.

pub mod block;
mod fields;
pub mod life;
pub mod look;
pub mod page;
pub mod picture;
mod program;
pub mod sheet;
pub mod status;
mod stdio;
pub mod timeline;

use fields::Fields;
use serde_json::Value;

/// Whether a document is an alert: `event.kind` is `alert`, or `signal` where an alert was made from other ones.
#[must_use]
pub fn is_alert(document: &Value) -> bool {
    let kinds = Fields::of(document, "event").texts("kind");
    kinds.iter().any(|kind| kind == "alert" || kind == "signal")
}
