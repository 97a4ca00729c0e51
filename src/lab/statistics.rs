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
    fn spreads() {
        assert_eq!(Spread::of(&[1.0, 4.0, 1.0]), Spread { mean: 2.0, low: 1.0, high: 4.0, count: 3 });
        assert!(Spread::of(&[]).mean.is_nan());
        assert_eq!(distinct([2, 1, 2, 3, 1]), [2, 1, 3]);
    }
}
