//! Max pooling with kernel 2, stride 2 and no padding, in loops that vectorise: the elements of some windows are gathered,
//! the arithmetic of all is done, and what came out is put into its places.
//!
//! A call takes a plane, or several where every element belongs to a window: then they are one tall plane.

use super::{NAN_FLAG, Rule};
use crate::dtype::unit::Unit;
use crate::dtype::{Accumulator, Chunk, Element, on_unit, vectorised};
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

/// Asks for the elements of a call's windows from `first` on, or about these: between the accesses to memory lies the
/// arithmetic of [`WINDOWS`], over which the processor does not look ahead by itself.
#[inline(always)]
fn prefetch<T>(elements: &[T], first: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let [start, end] = [4 * first, 4 * (first + WINDOWS)].map(|at| at.min(elements.len()));
        let elements = &elements[start..end];
        for line in (0..size_of_val(elements)).step_by(LINE) {
            // SAFETY: any address may be asked for; this one lies in the slice.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(elements.as_ptr().cast::<i8>().wrapping_add(line))
            };
        }
    }
}

vectorised! {
    pub(super) fn forward<T: Element>(g: &Pool2dGeometry, x: &[T], y: &mut [T], ties: &mut [u8]) {
        let nan_value = T::from_acc(T::Acc::NAN);
        let mut windows = [[T::ZERO; WINDOWS]; 4];
        let parts = y.chunks_mut(WINDOWS).zip(ties.chunks_mut(WINDOWS));
        for (first, (y, ties)) in (0..).step_by(WINDOWS).zip(parts) {
            prefetch(x, first + WINDOWS);
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
                let window = [a, b, c, d];
                let mut m = *a;
                for &v in &window[1..] {
                    m = if v.order() > m.order() { *v } else { m };
                }
                let (mut equal, mut nan) = (0u8, 0u8);
                for (i, v) in window.into_iter().enumerate() {
                    equal |= ((v.order() == m.order()) as u8) << i;
                    nan |= (v.is_nan() as u8) << i;
                }
                *y = if nan != 0 { nan_value } else { m };
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
        Rule::First => spread(g, Whole, [false, spread_nan], gy, ties, gx),
        Rule::Last => spread(g, Whole, [true, spread_nan], gy, ties, gx),
        Rule::FirstColumn { .. } | Rule::Random { .. } => unreachable!("rules that search a set"),
        Rule::Divide => spread(g, Divided, [false, spread_nan], gy, ties, gx),
        Rule::Coefficients { first, rest } => {
            let coefficients = [first, rest].map(|c| c[..5].try_into().expect("0 to 4 ties"));
            spread(g, Multiplied(coefficients), [false, spread_nan], gy, ties, gx)
        }
        &Rule::TwoBranches { beta, one_minus_beta } => {
            spread(g, TwoBranches { beta, one_minus_beta }, [false, spread_nan], gy, ties, gx)
        }
    }
}

/// What windows with the gradients `g` and `k` tied elements give, rounded: to the chosen one and to each other one.
trait Share<T: Element>: Copy {
    fn of<U: Unit, const N: usize>(
        self,
        unit: U,
        g: Chunk<T::Acc, N>,
        k: Chunk<T::Acc, N>,
    ) -> [Chunk<T::Acc, N>; 2];
}

#[derive(Clone, Copy)]
struct Whole;

impl<T: Element> Share<T> for Whole {
    #[inline(always)]
    fn of<U: Unit, const N: usize>(
        self,
        _: U,
        g: Chunk<T::Acc, N>,
        _: Chunk<T::Acc, N>,
    ) -> [Chunk<T::Acc, N>; 2] {
        [g, Chunk([T::Acc::ZERO; N])]
    }
}

#[derive(Clone, Copy)]
struct Divided;

impl<T: Element> Share<T> for Divided {
    #[inline(always)]
    fn of<U: Unit, const N: usize>(
        self,
        unit: U,
        g: Chunk<T::Acc, N>,
        k: Chunk<T::Acc, N>,
    ) -> [Chunk<T::Acc, N>; 2] {
        [T::round_chunk(unit, g / k); 2]
    }
}

/// By the coefficients of 0 to 4 ties.
#[derive(Clone, Copy)]
struct Multiplied<A>([[A; 5]; 2]);

impl<T: Element> Share<T> for Multiplied<T::Acc> {
    #[inline(always)]
    fn of<U: Unit, const N: usize>(
        self,
        unit: U,
        g: Chunk<T::Acc, N>,
        k: Chunk<T::Acc, N>,
    ) -> [Chunk<T::Acc, N>; 2] {
        let [chosen, rest] = self.0;
        let times = |coefficients| g.zip(k, |g, k| times_coefficient(g, k, coefficients));
        let [chosen, rest] = [times(chosen), times(rest)];
        [T::round_chunk(unit, chosen), T::round_chunk(unit, rest)]
    }
}

#[derive(Clone, Copy)]
struct TwoBranches<A> {
    beta: A,
    one_minus_beta: A,
}

impl<T: Element> Share<T> for TwoBranches<T::Acc> {
    #[inline(always)]
    fn of<U: Unit, const N: usize>(
        self,
        unit: U,
        g: Chunk<T::Acc, N>,
        k: Chunk<T::Acc, N>,
    ) -> [Chunk<T::Acc, N>; 2] {
        let rest = T::round_chunk(unit, T::round_chunk(unit, g * self.beta) / k);
        [T::round_chunk(unit, rest + T::round_chunk(unit, g * self.one_minus_beta)), rest]
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
    /// Chosen is the last tied element rather than the first if `last`, or if the window holds a NaN. With `spread_nan` a
    /// NaN fills its window.
    fn spread<T: Element, S: Share<T>>(
        g: &Pool2dGeometry,
        share: S,
        [last, spread_nan]: [bool; 2],
        gy: &[T],
        ties: &[u8],
        gx: &mut [T],
    ) {
        let nan_value = T::from_acc(T::Acc::NAN);
        let mut shares = [[T::ZERO; WINDOWS]; 2];
        let mut windows = [[T::ZERO; WINDOWS]; 4];
        for (first, (gy, ties)) in (0..).step_by(WINDOWS).zip(gy.chunks(WINDOWS).zip(ties.chunks(WINDOWS))) {
            prefetch(gx, first);
            on_unit!(fill_shares::<T>(share, gy, ties, &mut shares));
            let [a, b, c, d] = &mut windows;
            let elements = a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut().zip(d.iter_mut()));
            let shares = shares[0].iter().zip(&shares[1]);
            for (((&to_chosen, &to_rest), &tie), ((a, b), (c, d))) in shares.zip(ties).zip(elements) {
                let tie = tie as u32;
                let (nan, set) = (tie & NAN_FLAG as u32 != 0, tie & 15);
                let highest = if set > 7 { 8 } else if set > 3 { 4 } else { set & 2 };
                let highest = if highest == 0 { set } else { highest };
                let lowest = set & set.wrapping_neg();
                let chosen = if last || nan { highest } else { lowest };
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

/// The shares of at most [`WINDOWS`] windows.
#[inline(always)]
fn fill_shares<T: Element, U: Unit, const N: usize>(
    unit: U,
    share: impl Share<T>,
    gy: &[T],
    ties: &[u8],
    [to_chosen, to_rest]: &mut [[T; WINDOWS]; 2],
) {
    let (mut gradients, mut counts) = ([T::ZERO; WINDOWS], [T::Acc::ZERO; WINDOWS]);
    gradients[..gy.len()].copy_from_slice(gy);
    for (k, &tie) in counts.iter_mut().zip(ties) {
        let one_if = |bit| if tie & bit != 0 { T::Acc::from_f64(1.0) } else { T::Acc::ZERO };
        *k = one_if(1) + one_if(2) + (one_if(4) + one_if(8));
    }
    let inputs = gradients.as_chunks::<N>().0.iter().zip(counts.as_chunks::<N>().0);
    let outputs = to_chosen.as_chunks_mut::<N>().0.iter_mut().zip(to_rest.as_chunks_mut::<N>().0);
    for ((g, k), (to_chosen, to_rest)) in inputs.zip(outputs) {
        let [chosen, rest] = share.of(unit, T::widen(unit, g), Chunk(*k));
        // A sum starts from +0, which turns a -0 into +0.
        *to_chosen = T::narrow_rounded(unit, chosen + T::Acc::ZERO);
        *to_rest = T::narrow_rounded(unit, rest + T::Acc::ZERO);
    }
}
