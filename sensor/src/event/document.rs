//! An ECS document while it is put together.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// How much of a document is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All that is known.
    Whole,
    /// What [`Facts`](super::facts::Facts) reads, and little else: of most events nothing more is ever asked.
    Facts,
}

/// A document while it is put together.
pub(super) struct Document {
    extent: Extent,
    fields: Map<String, Value>,
    own: Map<String, Value>,
    escaped: Vec<&'static str>,
    redacted: Vec<&'static str>,
}

/// Bytes as text, in which what is no UTF-8 has become `\xNN`, and whether there was any of that.
#[must_use]
pub fn readable(bytes: &[u8]) -> (String, bool) {
    let mut text = String::with_capacity(bytes.len());
    let mut escaped = false;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
            escaped = true;
        }
    }
    (text, escaped)
}

impl Document {
    /// An empty one.
    pub(super) fn new(extent: Extent) -> Self {
        Self { extent, fields: Map::new(), own: Map::new(), escaped: Vec::new(), redacted: Vec::new() }
    }

    /// Whether what no rule asks for is wanted too.
    pub(super) fn is_whole(&self) -> bool {
        self.extent == Extent::Whole
    }

    /// Puts a field of ECS.
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// Says why a field that one would expect is not there.
    pub(super) fn absent(&mut self, field: &str, reason: &str) {
        self.own("absent", json!({field: reason}));
    }

    /// Puts a field under `sensor`.
    pub(super) fn own(&mut self, name: &str, value: impl Into<Value>) {
        self.own.insert(name.to_owned(), value.into());
    }

    /// The bytes as text; what is no UTF-8 becomes `\xNN`, and the field is noted.
    pub(super) fn text(&mut self, field: &'static str, bytes: &[u8]) -> String {
        let (text, escaped) = readable(bytes);
        if escaped && !self.escaped.contains(&field) {
            self.escaped.push(field);
        }
        text
    }

    /// Notes that secrets were taken out of a field.
    pub(super) fn redacted(&mut self, field: &'static str) {
        if !self.redacted.contains(&field) {
            self.redacted.push(field);
        }
    }

    /// The document.
    pub(super) fn finish(mut self) -> Value {
        if !self.escaped.is_empty() {
            self.own.insert("escaped".to_owned(), self.escaped.into());
        }
        if !self.redacted.is_empty() {
            self.own.insert("redacted".to_owned(), self.redacted.into());
        }
        self.fields.insert("sensor".to_owned(), Value::Object(self.own));
        Value::Object(self.fields)
    }
}
