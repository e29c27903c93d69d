//! Medians.

use std::ops::RangeInclusive;

/// The middle one of these; of an even number the mean of the two in the middle. None is zero.
pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let at = |place: usize| sorted.get(place).copied().unwrap_or(0.0);
    if sorted.len().is_multiple_of(2) { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) } else { at(middle) }
}

/// The smallest value that at least this share of the values do not exceed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a list"
)]
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// From the lower quartile to the upper one: what half of the values keep to.
pub(crate) fn quartiles(values: &[f64]) -> RangeInclusive<f64> {
    percentile(values, 0.25)..=percentile(values, 0.75)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_found_in_any_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert_eq!(median(&[]).to_bits(), 0_f64.to_bits());
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99).to_bits(), 99_f64.to_bits());
        assert_eq!(percentile(&hundred, 0.5).to_bits(), 50_f64.to_bits());
        assert_eq!(percentile(&[7.0], 0.99).to_bits(), 7_f64.to_bits());
        assert_eq!(quartiles(&hundred), 25.0..=75.0);
    }
}
