//! `[life]`: what is told of the sensor itself.

use super::parse;
use serde::de::{Deserialize, Deserializer, Error as _};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How often the sensor may say that it is there.
const HEARTBEAT: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(86_400);

/// `[life]`: events about the sensor itself, among the alerts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Life {
    /// The outputs that get them.
    #[serde(deserialize_with = "outputs")]
    pub outputs: Vec<Place>,
    /// How often the sensor says that it is there, 10 s to 24 h; `None` (written `"off"`): never.
    #[serde(deserialize_with = "heartbeat")]
    pub heartbeat: Option<Duration>,
}

impl Default for Life {
    /// Standard output has alerts and nothing else: whoever reads it has the log beside it.
    fn default() -> Self {
        let outputs = vec![Place::File, Place::Journal, Place::Elasticsearch, Place::Syslog];
        Self { outputs, heartbeat: Some(Duration::from_secs(300)) }
    }
}

/// An output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Standard output.
    Stdout,
    /// The file.
    File,
    /// The journal of systemd.
    Journal,
    /// Elasticsearch or OpenSearch.
    Elasticsearch,
    /// The syslog server.
    Syslog,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Stdout, Self::File, Self::Journal, Self::Elasticsearch, Self::Syslog];

    /// As it is written in the file, in the log and in numbers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File => "file",
            Self::Journal => "journal",
            Self::Elasticsearch => "elasticsearch",
            Self::Syslog => "syslog",
        }
    }
}

/// Each output once.
fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Place>, D::Error> {
    let outputs = Vec::<Place>::deserialize(deserializer)?;
    for (number, place) in outputs.iter().enumerate() {
        if outputs.iter().take(number).any(|before| before == place) {
            return Err(D::Error::custom(format_args!("\"{}\" is there twice", place.name())));
        }
    }
    Ok(outputs)
}

fn heartbeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let allowed = "\"off\", or a whole number with s, m or h from \"10s\" to \"24h\", such as \"5m\"";
    let read = |text: &str| match text {
        "off" => Ok(None),
        _ => parse::duration(text, &HEARTBEAT).map(Some),
    };
    deserializer.deserialize_str(parse::Text { allowed, read })
}
