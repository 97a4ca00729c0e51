//! What tables say of repeated measurements.

/// Mean and range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

impl Spread {
    /// NaN where there is nothing.
    pub fn of(values: &[f64]) -> Spread {
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().fold(f64::NAN, f);
        Spread {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: fold(f64::min),
            high: fold(f64::max),
            count: values.len(),
        }
    }
}

/// The value below which a share `q` of the values lies, interpolated linearly between their order statistics (type 7 of
/// Hyndman and Fan, 1996); NaN where there is none.
pub(super) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// A 95 % interval for a statistic of `values`: the percentiles of its bootstrap distribution (Efron, 1979), 2000 samples
/// drawn by a counter-based generator from `seed`.
pub(super) fn bootstrap(values: &[f64], seed: u64, statistic: impl Fn(&[f64]) -> f64) -> [f64; 2] {
    const SAMPLES: u32 = 2000;
    let key = [seed as u32, (seed >> 32) as u32];
    let draw = |sample: u32, i: usize| {
        let word = rand_philox::philox4x32_10([i as u32, sample, 0, 0], key)[0];
        values[((u64::from(word) * values.len() as u64) >> 32) as usize]
    };
    let resampled = |sample| statistic(&(0..values.len()).map(|i| draw(sample, i)).collect::<Vec<_>>());
    let statistics: Vec<f64> = (0..SAMPLES).map(resampled).collect();
    [0.025, 0.975].map(|q| quantile(&statistics, q))
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Different values in the order of their first appearance.
pub(super) fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_their_intervals() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 1.0, 0.25].map(|q| quantile(&values, q)), [1.0, 2.5, 4.0, 1.75]);
        assert!(quantile(&[], 0.5).is_nan());
        let many: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let [low, high] = bootstrap(&many, 7, mean);
        // The standard error of the mean is 5.77 / 20.
        assert!(low < 9.5 && 9.5 < high && (high - low - 4.0 * 0.288).abs() < 0.15, "{low} {high}");
        assert_eq!(bootstrap(&many, 7, mean), [low, high]);
        assert_eq!(bootstrap(&[3.0; 5], 0, mean), [3.0; 2]);
    }

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(&[1.0, 4.0, 1.0]), Spread { mean: 2.0, low: 1.0, high: 4.0, count: 3 });
        assert!(Spread::of(&[]).mean.is_nan());
        assert_eq!(distinct([2, 1, 2, 3, 1]), [2, 1, 3]);
    }
}
