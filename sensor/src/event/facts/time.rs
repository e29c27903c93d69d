//! The time of a document.

use jiff::civil::DateTime;
use jiff::tz::Offset;

/// A point on the wall clock, in whole milliseconds since 1970-01-01 UTC: the precision in which Elasticsearch keeps
/// `@timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The time that a text spells: RFC 3339 (without an offset it is UTC, as in Elasticsearch), or milliseconds since
    /// 1970. What is finer than a millisecond is cut off, also before 1970.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return match text.parse() {
                Ok(millis) => Some(Self(millis)),
                Err(_) => Self::from_number(text.parse().ok()?),
            };
        }
        let timestamp = text
            .parse::<jiff::Timestamp>()
            .ok()
            .or_else(|| Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())?;
        i64::try_from(timestamp.as_nanosecond().div_euclid(1_000_000)).ok().map(Self)
    }

    /// The time that a JSON number of milliseconds spells.
    pub(super) fn from_number(millis: f64) -> Option<Self> {
        // Up to 2^53 a double holds every whole number exactly.
        const LIMIT: f64 = 9_007_199_254_740_992.0;
        let whole = millis.floor();
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the range checked here")]
        (whole.abs() <= LIMIT).then_some(Self(whole as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_cut_to_the_millisecond() {
        for (text, millis) in [
            ("2026-05-28T20:26:41Z", 1_780_000_001_000),
            ("2026-05-28T20:26:41.7Z", 1_780_000_001_700),
            ("2026-05-28T20:26:41.700999Z", 1_780_000_001_700),
            ("2026-05-28T20:26:41.700999999Z", 1_780_000_001_700),
            ("2026-05-28T22:26:41.7009+02:00", 1_780_000_001_700),
            ("2026-05-28t20:26:41.7z", 1_780_000_001_700),
            ("2026-05-28T20:26:41.7", 1_780_000_001_700),
            ("1780000001700", 1_780_000_001_700),
            ("1780000001700.9", 1_780_000_001_700),
            ("-1", -1),
            ("-0.5", -1),
            ("1969-12-31T23:59:59.9995Z", -1),
            ("1970-01-01T00:00:00.000000001Z", 0),
        ] {
            assert_eq!(Millis::from_text(text), Some(Millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "-", ".", "now", "2026-13-01T00:00:00Z", "2026-05-28T25:00:00Z", "1e3", "9e99", "12:30:00"] {
            assert_eq!(Millis::from_text(text), None, "{text:?}");
        }
        assert_eq!(Millis::from_number(1e300), None);
        assert_eq!(Millis::from_number(f64::NAN), None);
    }

    #[test]
    fn a_number_is_cut_downwards() {
        assert_eq!(Millis::from_number(1_780_000_001_700.9), Some(Millis(1_780_000_001_700)));
        assert_eq!(Millis::from_number(-0.5), Some(Millis(-1)));
    }
}
