//! `[noise]`: how many alerts of the same thing are told.

use super::parse;
use crate::noise::Limits;
use serde::de::{Deserializer, Unexpected, Visitor};
use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How long alerts of one process may be collapsed.
const COLLAPSE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// `[noise]`: how many alerts of the same thing are told.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Noise {
    /// Further alerts of a process about one destination within this time, 1 s to 1 h, become one; `None` (written `"off"`): each is
    /// told.
    #[serde(deserialize_with = "collapse")]
    pub collapse: Option<Duration>,
    /// Alerts of one rule about one destination that are told in a minute; `None` (written 0): all.
    #[serde(deserialize_with = "per_minute")]
    pub per_minute: Option<NonZeroU32>,
}

impl Default for Noise {
    fn default() -> Self {
        Self { collapse: Some(Duration::from_secs(60)), per_minute: NonZeroU32::new(3000) }
    }
}

impl Noise {
    /// The same as the one who decides about alerts has it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self { collapse, per_minute } = *self;
        Limits { collapse, per_minute }
    }
}

fn collapse<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let allowed = "\"off\", or a whole number with s, m or h from \"1s\" to \"1h\", such as \"1m\"";
    let read = |text: &str| match text {
        "off" => Ok(None),
        _ => parse::duration(text, &COLLAPSE).map(Some),
    };
    deserializer.deserialize_str(parse::Text { allowed, read })
}

fn per_minute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    struct Number;
    impl Visitor<'_> for Number {
        type Value = Option<NonZeroU32>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a number of alerts up to {}, or 0 for no limit", u32::MAX)
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
            let number = u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
            Ok(NonZeroU32::new(number))
        }
    }
    deserializer.deserialize_i64(Number)
}
