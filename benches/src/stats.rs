//! The few statistics in use.

/// Returns the middle of `values`, or the mean of the middle two.
///
/// # Panics
///
/// Panics if there is no value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// Returns the smallest of `values` that `percent` of them do not exceed.
///
/// # Panics
///
/// Panics if there is no value.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Returns the median of the ratios of values that were measured in pairs.
///
/// # Panics
///
/// Panics if there is no pair.
pub fn median_ratio(values: &[f64], baseline: &[f64]) -> f64 {
    let ratios: Vec<f64> = values
        .iter()
        .zip(baseline)
        .map(|(value, base)| value / base)
        .collect();
    median(&ratios)
}
