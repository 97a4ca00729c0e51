//! Max pooling with kernel 2, stride 2 and no padding, in loops that vectorise: the elements of some windows are gathered,
//! the arithmetic of all is done, and what came out is put into its places.
//!
//! A call takes a plane, or several where every element belongs to a window: then they are one tall plane.

use super::{NAN_FLAG, Rule};
use crate::dtype::{Accumulator, Element, vectorised};
use crate::shape::Pool2dGeometry;

/// Windows whose elements are gathered at a time.
const WINDOWS: usize = 64;

/// The windows from `first` to before `end`, by rows: (window, offset of its upper elements, windows).
#[inline(always)]
fn runs(g: &Pool2dGeometry, first: usize, end: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let (columns, width, mut window) = (g.output[1], g.input[1], first);
    std::iter::from_fn(move || {
        let (row, column) = (window / columns, window % columns);
        let run = (window, 2 * (row * width + column), (columns - column).min(end.saturating_sub(window)));
        window += run.2;
        (run.2 > 0).then_some(run)
    })
}

vectorised! {
    pub(super) fn forward<T: Element>(g: &Pool2dGeometry, x: &[T], y: &mut [T], ties: &mut [u8]) {
        let mut windows = [[T::ZERO; WINDOWS]; 4];
        let parts = y.chunks_mut(WINDOWS).zip(ties.chunks_mut(WINDOWS));
        for (first, (y, ties)) in (0..).step_by(WINDOWS).zip(parts) {
            let [a, b, c, d] = &mut windows;
            for (window, at, count) in runs(g, first, first + y.len()) {
                let run = window - first..window - first + count;
                let (upper, lower) = (&x[at..][..2 * count], &x[at + g.input[1]..][..2 * count]);
                let (upper, lower) = (upper.as_chunks().0, lower.as_chunks().0);
                let upper = upper.iter().zip(&mut a[run.clone()]).zip(&mut b[run.clone()]);
                upper.for_each(|((&[left, right], a), b)| (*a, *b) = (left, right));
                let lower = lower.iter().zip(&mut c[run.clone()]).zip(&mut d[run]);
                lower.for_each(|((&[left, right], c), d)| (*c, *d) = (left, right));
            }
            let elements = a.iter().zip(&*b).zip(c.iter().zip(&*d));
            for ((y, tie), ((a, b), (c, d))) in y.iter_mut().zip(ties).zip(elements) {
                let window = [a.to_acc(), b.to_acc(), c.to_acc(), d.to_acc()];
                let mut m = window[0];
                for &v in &window[1..] {
                    m = if v > m { v } else { m };
                }
                let (mut equal, mut nan) = (0u8, 0u8);
                for (i, &v) in window.iter().enumerate() {
                    equal |= ((v == m) as u8) << i;
                    nan |= (v.is_nan() as u8) << i;
                }
                *y = T::from_rounded(if nan != 0 { T::Acc::NAN } else { m });
                *tie = if nan != 0 { nan | NAN_FLAG } else { equal };
            }
        }
    }
}

/// Fills what belongs to a window.
///
/// Panics: the random rule needs more than this knows.
pub(super) fn backward<T: Element>(
    g: &Pool2dGeometry,
    rule: &Rule<T::Acc>,
    gy: &[T],
    ties: &[u8],
    gx: &mut [T],
) {
    let spread_nan = rule.spreads_nan();
    match rule {
        Rule::First => spread(g, |g, _| [g, T::Acc::ZERO], [false, spread_nan], gy, ties, gx),
        Rule::Last => spread(g, |g, _| [g, T::Acc::ZERO], [true, spread_nan], gy, ties, gx),
        Rule::Random { .. } => unreachable!("the random rule"),
        Rule::Divide => spread(g, |g, k| [T::round(g / k); 2], [false, spread_nan], gy, ties, gx),
        Rule::Coefficients { first, rest } => {
            let coefficients = [first, rest].map(|c| <[T::Acc; 5]>::try_from(&c[..5]).expect("0 to 4 ties"));
            let share = |g: T::Acc, k: T::Acc| coefficients.map(|c| T::round(times_coefficient(g, k, c)));
            spread(g, share, [false, spread_nan], gy, ties, gx)
        }
        &Rule::TwoBranches { beta, one_minus_beta } => {
            let share = |g: T::Acc, k: T::Acc| {
                let rest = T::round(T::round(beta * g) / k);
                [T::round(rest + T::round(one_minus_beta * g)), rest]
            };
            spread(g, share, [false, spread_nan], gy, ties, gx)
        }
    }
}

/// `g` times coefficient `k` of 1 to 4, chosen without a branch.
#[inline(always)]
fn times_coefficient<A: Accumulator>(g: A, k: A, coefficients: [A; 5]) -> A {
    let mut coefficient = coefficients[1];
    for (count, &c) in coefficients.iter().enumerate().skip(2) {
        coefficient = if k == A::from_f64(count as f64) { c } else { coefficient };
    }
    if coefficient == A::ZERO { A::ZERO } else { g * coefficient }
}

vectorised! {
    /// `share(gradient, number of ties)` gives, rounded, what the chosen tied element and each other one receive; chosen is
    /// the last one rather than the first if `last`, or if the window holds a NaN. With `spread_nan` a NaN fills its
    /// window.
    fn spread<T: Element, F: Fn(T::Acc, T::Acc) -> [T::Acc; 2]>(
        g: &Pool2dGeometry,
        share: F,
        [last, spread_nan]: [bool; 2],
        gy: &[T],
        ties: &[u8],
        gx: &mut [T],
    ) {
        let (one, nan_value) = (T::Acc::from_f64(1.0), T::from_acc(T::Acc::NAN));
        let mut windows = [[T::ZERO; WINDOWS]; 4];
        for (first, (gy, ties)) in (0..).step_by(WINDOWS).zip(gy.chunks(WINDOWS).zip(ties.chunks(WINDOWS))) {
            let [a, b, c, d] = &mut windows;
            let elements = a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut().zip(d.iter_mut()));
            for ((gy, &tie), ((a, b), (c, d))) in gy.iter().zip(ties).zip(elements) {
                let tie = tie as u32;
                let (nan, set) = (tie & NAN_FLAG as u32 != 0, tie & 15);
                let one_if = |bit: u32| if set & bit != 0 { one } else { T::Acc::ZERO };
                let k = one_if(1) + one_if(2) + (one_if(4) + one_if(8));
                let highest = if set > 7 { 8 } else if set > 3 { 4 } else { set & 2 };
                let highest = if highest == 0 { set } else { highest };
                let lowest = set & set.wrapping_neg();
                let chosen = if last || nan { highest } else { lowest };
                // A sum starts from +0, which turns a -0 into +0.
                let [to_chosen, to_rest] =
                    share(gy.to_acc(), k).map(|v| T::from_rounded(v + T::Acc::ZERO));
                let value = |bit: u32| {
                    let tied = if chosen & bit != 0 { to_chosen } else { to_rest };
                    let value = if set & bit != 0 { tied } else { T::ZERO };
                    if nan && spread_nan { nan_value } else { value }
                };
                (*a, *b, *c, *d) = (value(1), value(2), value(4), value(8));
            }
            for (window, at, count) in runs(g, first, first + gy.len()) {
                let run = window - first..window - first + count;
                let (upper, lower) = gx[at..].split_at_mut(g.input[1]);
                let (upper, lower) = (upper[..2 * count].as_chunks_mut().0, lower[..2 * count].as_chunks_mut().0);
                let upper = upper.iter_mut().zip(&a[run.clone()]).zip(&b[run.clone()]);
                upper.for_each(|((pair, &a), &b)| *pair = [a, b]);
                let lower = lower.iter_mut().zip(&c[run.clone()]).zip(&d[run]);
                lower.for_each(|((pair, &c), &d)| *pair = [c, d]);
            }
        }
    }
}
