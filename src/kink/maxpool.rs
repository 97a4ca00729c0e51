use std::fmt;
use std::str::FromStr;

use super::check_scalar;
use crate::error::{Error, Result};

/// What the backward pass of MaxPool gives to the elements of a window that attain its maximum.
///
/// With m the maximum of a window, A the set of its elements equal to m (so -0 equals +0), k the size of A
/// and g the upstream gradient, in row-major order:
///
/// `All` and `Scaled` are no Jacobians of the maximum: they are what some frameworks compute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum MaxPoolJacobian {
    /// g to the first of A: PyTorch's `max_pool2d`.
    #[default]
    Native,
    /// g to the last of A.
    Last,
    /// g to the first of A in column-major order: mlpack, whose matrices lie that way.
    FirstColumn,
    /// g / k to each of A: the Clarke Jacobian of least Euclidean norm.
    Minimal,
    /// b * minimal + (1 - b) * native for any b within the range of f32; its norm grows with |b|. 0 is native and
    /// 1 is minimal, to the bit.
    Beta(f64),
    /// g to one element of A, drawn uniformly by a counter-based generator (Philox4x32-10) from this seed,
    /// the layer, the window and the number of optimizer steps: repeatable.
    Random(u64),
    /// g to each of A: Theano.
    All,
    /// g k / n to each of A, with n the elements of a window: candle, which gives g / n even where there is no tie.
    Scaled,
}

/// How [`MaxPoolJacobian::Beta`] is evaluated in floating point.
///
/// `Coupled` minus `Split`, or `Forward` minus native, isolates the error of the published forward pass, `Split` minus `Exact` the
/// rounding of its backward pass where there is no tie, `Exact` minus native the choice itself. The other
/// Jacobians are the same under each composition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Composition {
    /// The forward is exactly m. The backward multiplies g once by a coefficient formed in f64: 1 where
    /// k = 1, else b / k + (1 - b) on the first of A and b / k on the others. b = 0 is native and b = 1 divides
    /// by k, as minimal does.
    #[default]
    Exact,
    /// The forward of `Coupled`, the backward of native, to the bit: what the published forward pass alone does.
    Forward,
    /// The forward is exactly m; the backward is that of `Coupled`.
    Split,
    /// The published program, operation by operation in the storage type: forward
    /// fl(fl(b m) + fl((1 - b) m)), which is not m; backward fl(fl(b g) / k) on A plus fl((1 - b) g) on
    /// the first of A, the sum rounded once more.
    Coupled,
}

/// The choice at a MaxPool layer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MaxPoolKink {
    /// Who receives the gradient of a tied window.
    pub jacobian: MaxPoolJacobian,
    /// How a [`MaxPoolJacobian::Beta`] is evaluated.
    pub composition: Composition,
}

impl MaxPoolKink {
    /// `Beta(beta)` under `composition`.
    pub const fn beta(beta: f64, composition: Composition) -> MaxPoolKink {
        MaxPoolKink { jacobian: MaxPoolJacobian::Beta(beta), composition }
    }

    /// Refuses a beta that is NaN or beyond the range of f32, in which f16 and f32 kernels hold it.
    pub fn validate(&self) -> Result<()> {
        match self.jacobian {
            MaxPoolJacobian::Beta(b) => check_scalar("beta", b),
            _ => Ok(()),
        }
    }

    /// `[b, 1 - b]` where the forward pass is the published one, which multiplies the maximum by them.
    pub(crate) fn forward_weights(&self) -> Option<[f64; 2]> {
        match (self.jacobian, self.composition) {
            (MaxPoolJacobian::Beta(b), Composition::Coupled | Composition::Forward) => Some([b, 1.0 - b]),
            _ => None,
        }
    }

    /// True where both choices have the same forward pass, so that one serves two backward passes.
    pub fn shares_forward_with(&self, other: &MaxPoolKink) -> bool {
        self.forward_weights() == other.forward_weights()
    }

    /// How the backward pass spreads the gradient over windows of up to `window_len` elements.
    pub(crate) fn backward_rule(&self, window_len: usize) -> BackwardRule {
        match (self.jacobian, self.composition) {
            (MaxPoolJacobian::Native, _) => BackwardRule::First,
            (MaxPoolJacobian::Last, _) => BackwardRule::Last,
            (MaxPoolJacobian::FirstColumn, _) => BackwardRule::FirstColumn,
            (MaxPoolJacobian::Minimal, _) => BackwardRule::Divide,
            (MaxPoolJacobian::Random(seed), _) => BackwardRule::Random { seed },
            (MaxPoolJacobian::All, _) => {
                let ones = vec![1.0; window_len + 1];
                BackwardRule::Coefficients { first: ones.clone(), rest: ones }
            }
            (MaxPoolJacobian::Scaled, _) => {
                let shares: Vec<f64> = (0..=window_len).map(|k| k as f64 / window_len as f64).collect();
                BackwardRule::Coefficients { first: shares.clone(), rest: shares }
            }
            (MaxPoolJacobian::Beta(_), Composition::Forward) => BackwardRule::First,
            (MaxPoolJacobian::Beta(0.0), Composition::Exact) => BackwardRule::First,
            (MaxPoolJacobian::Beta(1.0), Composition::Exact) => BackwardRule::Divide,
            (MaxPoolJacobian::Beta(b), Composition::Exact) => {
                let rest = (0..=window_len).map(|k| b / k.max(1) as f64);
                let first = rest.clone().map(|r| r + (1.0 - b));
                let (mut first, rest): (Vec<f64>, Vec<f64>) = (first.collect(), rest.collect());
                // Where every Jacobian agrees g passes unchanged, whatever b + (1 - b) rounds to.
                first[1.min(window_len)] = 1.0;
                BackwardRule::Coefficients { first, rest }
            }
            (MaxPoolJacobian::Beta(b), Composition::Split | Composition::Coupled) => {
                BackwardRule::TwoBranches { beta: b, one_minus_beta: 1.0 - b }
            }
        }
    }
}

/// What the kernels of both engines implement. On a window that holds a NaN, `First`, `Last` and `FirstColumn` mean its
/// last NaN, `Random` draws among its NaNs, and the other rules give NaN to the whole window, as the
/// published code does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BackwardRule {
    First,
    Last,
    FirstColumn,
    Random {
        seed: u64,
    },
    /// fl(g / k) on A.
    Divide,
    /// fl(g * first[k]) on the first of A, fl(g * rest[k]) on the others.
    Coefficients {
        first: Vec<f64>,
        rest: Vec<f64>,
    },
    /// fl(fl(fl(beta g) / k) + fl((1 - beta) g)) on the first of A, fl(fl(beta g) / k) on the others.
    TwoBranches {
        beta: f64,
        one_minus_beta: f64,
    },
}

impl fmt::Display for MaxPoolJacobian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaxPoolJacobian::Native => write!(f, "native"),
            MaxPoolJacobian::Last => write!(f, "last"),
            MaxPoolJacobian::FirstColumn => write!(f, "first_column"),
            MaxPoolJacobian::All => write!(f, "all"),
            MaxPoolJacobian::Scaled => write!(f, "scaled"),
            MaxPoolJacobian::Minimal => write!(f, "minimal"),
            MaxPoolJacobian::Beta(b) => write!(f, "beta({b})"),
            MaxPoolJacobian::Random(seed) => write!(f, "random({seed})"),
        }
    }
}

impl fmt::Display for Composition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Composition::Exact => "exact",
            Composition::Forward => "forward",
            Composition::Split => "split",
            Composition::Coupled => "coupled",
        })
    }
}

impl FromStr for Composition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Composition> {
        [Composition::Exact, Composition::Forward, Composition::Split, Composition::Coupled]
            .into_iter()
            .find(|c| c.to_string() == text)
            .ok_or_else(|| Error::invalid("composition", "exact, split, coupled or forward", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_coefficients() {
        let rule = MaxPoolKink::beta(100.0, Composition::Exact).backward_rule(4);
        let BackwardRule::Coefficients { first, rest } = rule else { panic!("{rule:?}") };
        assert_eq!(first[1], 1.0);
        assert_eq!((first[2], rest[2]), (50.0 - 99.0, 50.0));
        assert_eq!((first[4], rest[4]), (25.0 - 99.0, 25.0));
        // The coefficients of a window always sum to 1: every choice is an element of the same affine set.
        for k in 1..=4 {
            let sum = first[k] + (k - 1) as f64 * rest[k];
            assert!((sum - 1.0).abs() < 1e-13, "k = {k}: {sum}");
        }
        assert_eq!(MaxPoolKink::beta(0.0, Composition::Exact).backward_rule(4), BackwardRule::First);
        assert_eq!(MaxPoolKink::beta(-0.0, Composition::Exact).backward_rule(4), BackwardRule::First);
        assert_eq!(MaxPoolKink::beta(1.0, Composition::Exact).backward_rule(4), BackwardRule::Divide);
    }

    #[test]
    fn the_published_forward_is_not_the_maximum() {
        let native = MaxPoolKink::default();
        assert!(native.shares_forward_with(&MaxPoolKink::beta(10.0, Composition::Split)));
        assert!(native.shares_forward_with(&MaxPoolKink::beta(10.0, Composition::Exact)));
        let coupled = MaxPoolKink::beta(10.0, Composition::Coupled);
        assert!(!native.shares_forward_with(&coupled));
        assert!(coupled.shares_forward_with(&MaxPoolKink::beta(10.0, Composition::Forward)));
    }

    #[test]
    fn names_round_trip() {
        for c in [Composition::Exact, Composition::Forward, Composition::Split, Composition::Coupled] {
            assert_eq!(c.to_string().parse::<Composition>().unwrap(), c);
        }
        for wrong in [f64::NAN, f64::INFINITY, 1e39] {
            assert!(MaxPoolKink::beta(wrong, Composition::Exact).validate().is_err());
        }
    }
}
