//! What a document says under a name, whichever way it is written.

use crate::alert::section::section;
use serde_json::Value;

/// What a document says under one of its top-level names, with all dotted keys unfolded.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(Value);

impl Fields {
    /// What stands below a top-level name such as `process`.
    pub(super) fn of(document: &Value, name: &str) -> Self {
        section(document, name).map(|section| Self(Value::Object(section))).unwrap_or_default()
    }

    /// What is already an object without dotted keys.
    pub(super) fn from_object(value: &Value) -> Self {
        Self(value.clone())
    }

    /// All of it.
    pub(super) fn whole(&self) -> &Value {
        &self.0
    }

    /// What stands at a path of names with dots between them.
    pub(super) fn at(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, name| value.get(name))
    }

    /// A scalar, or the first scalar of an array, that is not empty.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.at(path).and_then(scalar)
    }

    /// A number, or the first number of an array.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        match self.at(path)? {
            Value::Array(values) => values.iter().find_map(Value::as_u64),
            value => value.as_u64(),
        }
    }

    /// All scalars of an array, or the one that stands there instead.
    pub(super) fn texts(&self, path: &str) -> Vec<String> {
        match self.at(path) {
            Some(Value::Array(values)) => values.iter().filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// All objects of an array, or the one that stands there instead.
    pub(super) fn objects(&self, path: &str) -> Vec<Self> {
        match self.at(path) {
            Some(Value::Array(values)) => values.iter().filter(|one| one.is_object()).map(Self::from_object).collect(),
            Some(value @ Value::Object(_)) => vec![Self::from_object(value)],
            _ => Vec::new(),
        }
    }
}

/// A value that is no collection as text; of an array the first such value.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(answer) => Some(answer.to_string()),
        Value::Array(values) => values.iter().filter(|one| !one.is_array()).find_map(scalar),
        Value::Null | Value::Object(_) => None,
    }
}
