//! A document on its way out.

use serde_json::Value;

/// A document, and its JSON, which most outputs write and which tells how much room it takes.
#[derive(Debug)]
pub struct Document {
    /// The document.
    pub value: Value,
    /// The same on one line, without an end of the line.
    pub json: String,
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self { json: value.to_string(), value }
    }
}

/// Whether a document tells of the sensor itself; any other is an alert, or one of the events that alerts are made of.
#[must_use]
pub fn is_life(document: &Value) -> bool {
    document.pointer("/event/dataset").is_some_and(|dataset| dataset == "sensor.life")
}
