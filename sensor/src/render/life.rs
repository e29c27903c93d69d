//! What the sensor tells of itself, for a person: when, how important, and what.

use super::fields::scalar;
use super::look::Look;
use super::sheet::{Sheet, elided, words};
use anstyle::Style;
use serde_json::Value;

/// Characters of the time and of the level, and of what is told, that are shown.
const MOST: (usize, usize) = (60, 2000);

/// `2026-05-28T20:26:41Z info: still there`, on as many lines as it needs.
#[must_use]
pub fn life(document: &Value, look: Look) -> String {
    let text =
        |place, most| document.pointer(place).and_then(scalar).map(|text| elided(&text, most)).unwrap_or_default();
    let level = format!("{}:", text("/log/level", MOST.0));
    let mut sheet = Sheet::new(look);
    let pieces = [text("/@timestamp", MOST.0), level, text("/message", MOST.1)];
    sheet.flow(("", "  "), &pieces.each_ref().map(|piece| words(Style::new(), piece)));
    sheet.finish()
}
