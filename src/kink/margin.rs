use crate::precision::Format;

/// The lead of a window's maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margin {
    /// The maximum.
    pub max: f64,
    /// Maximum minus the largest element below it; infinite where there is none.
    pub lead: f64,
}

impl Margin {
    /// That of a window's elements; `None` where one is a NaN.
    pub(crate) fn of(elements: impl Iterator<Item = f64>) -> Option<Margin> {
        let (mut max, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for v in elements {
            if v.is_nan() {
                return None;
            } else if v > max {
                (max, second) = (v, max);
            } else if v < max {
                second = second.max(v);
            }
        }
        // A window of -inf alone has none below either.
        let lead = if second == f64::NEG_INFINITY { f64::INFINITY } else { max - second };
        Some(Margin { max, lead })
    }

    /// The lead in ulps of the maximum.
    pub fn in_ulps(&self, format: Format) -> f64 {
        self.lead / ulp(format, self.max)
    }

    /// Probability that rounding to nearest makes the two equal, if the place of the maximum between two numbers is
    /// random: 1 - lead / ulp, at least 0.
    pub fn tie_probability(&self, format: Format) -> f64 {
        (1.0 - self.in_ulps(format)).max(0.0)
    }
}

/// Distance of the numbers of a format around `value`.
pub fn ulp(format: Format, value: f64) -> f64 {
    let exponent = match value {
        0.0 => format.min_exponent(),
        _ => (libm::frexp(value).1 - 1).max(format.min_exponent()),
    };
    libm::ldexp(1.0, exponent - format.mantissa_bits() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_are_those_of_the_format() {
        assert_eq!(ulp(Format::F16, 1.0), 2f64.powi(-10));
        assert_eq!(ulp(Format::F16, 1.999), 2f64.powi(-10));
        assert_eq!(ulp(Format::F16, 2.0), 2f64.powi(-9));
        // Subnormal numbers lie as far apart as the smallest normal ones.
        for tiny in [1e-7, 0.0, -0.0] {
            assert_eq!(ulp(Format::F16, tiny), 2f64.powi(-24));
        }
        assert_eq!(ulp(Format::new(11, 52).unwrap(), 3.0), 2f64.powi(-51));
        let margin = Margin { max: 1.0, lead: 2f64.powi(-12) };
        assert_eq!((margin.in_ulps(Format::F16), margin.tie_probability(Format::F16)), (0.25, 0.75));
        assert_eq!(Margin { max: 1.0, lead: 1.0 }.tie_probability(Format::F16), 0.0);
    }

    #[test]
    fn leads_are_those_over_the_largest_below() {
        let lead = |window: &[f64]| Margin::of(window.iter().copied()).map(|m| m.lead);
        assert_eq!(lead(&[1.0, 3.0, 2.5, 3.0]), Some(0.5));
        assert_eq!(lead(&[3.0, 1.0, 2.5]), Some(0.5));
        assert_eq!(lead(&[0.0, -0.0]), Some(f64::INFINITY));
        for wide in [&[f64::NEG_INFINITY; 2][..], &[f64::INFINITY, 1.0], &[1.0, f64::NEG_INFINITY], &[1.0]] {
            assert_eq!(lead(wide), Some(f64::INFINITY), "{wide:?}");
            let margin = Margin::of(wide.iter().copied()).unwrap();
            assert_eq!(margin.tie_probability(Format::F16), 0.0, "{wide:?}");
        }
        assert_eq!(lead(&[1.0, f64::NAN, 2.0]), None);
    }
}
