//! Max pooling with its tie sets, and its backward pass under any choice.
//!
//!   forward   m = max of the window; ties = {i : x_i = m}; y = m, or fl(fl(b m) + fl((1 - b) m)) as published
//!   backward  see `kink::BackwardRule`: two values for each window, one for a chosen tied element and one for
//!             the rest of them, added onto gx in the order of the windows

use rand_philox::philox4x32_10;
use rayon::prelude::*;

use super::draw::Draw;
use crate::dtype::{Accumulator, Element, vectorised};
use crate::kink::BackwardRule;
use crate::shape::{self, Pool2dGeometry, Window2d};

/// The bit of a tie set's last byte that says "this window holds a NaN".
const NAN_FLAG: u8 = 0x80;

pub(super) fn forward<T: Element>(
    g: &Pool2dGeometry,
    weights: Option<[f64; 2]>,
    x: &[T],
    y: &mut [T],
    ties: &mut [u8],
) {
    let plane = g.input[0] * g.input[1];
    let windows = g.output[0] * g.output[1];
    let tie_bytes = shape::tie_bytes(g.window.len());
    let planes = super::BLOCK.div_ceil(plane);
    let two_by_two = g.window == Window2d::new(2, 2, 0);
    y.par_chunks_mut(planes * windows)
        .zip(ties.par_chunks_mut(planes * windows * tie_bytes))
        .zip(x.par_chunks(planes * plane))
        .for_each(|((y, ties), x)| {
            let planes = y.chunks_mut(windows).zip(ties.chunks_mut(windows * tie_bytes));
            for ((y, ties), x) in planes.zip(x.chunks(plane)) {
                if two_by_two {
                    forward_2x2(g, x, y, ties);
                } else {
                    forward_plane(g, x, y, ties, tie_bytes);
                }
            }
            if let Some(weights) = weights {
                combine(weights.map(T::Acc::from_f64), y);
            }
        });
}

vectorised! {
    /// The published composition of the maximum with itself.
    fn combine<T: Element>([b, c]: [T::Acc; 2], y: &mut [T]) {
        for y in y {
            let m = y.to_acc();
            *y = T::from_acc(T::round(b * m) + T::round(c * m));
        }
    }
}

vectorised! {
    /// Kernel 2, stride 2, no padding: rows of windows, branch-free.
    fn forward_2x2<T: Element>(g: &Pool2dGeometry, x: &[T], y: &mut [T], ties: &mut [u8]) {
        let width = g.input[1];
        let rows = y.chunks_mut(g.output[1]).zip(ties.chunks_mut(g.output[1]));
        for ((y, ties), x) in rows.zip(x.chunks(2 * width)) {
            let (upper, lower) = x.split_at(width);
            let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
            for ((y, tie), (upper, lower)) in y.iter_mut().zip(ties).zip(pairs) {
                let window = [upper[0], upper[1], lower[0], lower[1]].map(T::to_acc);
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

fn forward_plane<T: Element>(g: &Pool2dGeometry, x: &[T], y: &mut [T], ties: &mut [u8], tie_bytes: usize) {
    let [oh_count, ow_count] = g.output;
    for oh in 0..oh_count {
        for ow in 0..ow_count {
            let w = oh * ow_count + ow;
            let set = &mut ties[w * tie_bytes..(w + 1) * tie_bytes];
            set.fill(0);
            let (rows, columns) = g.window_range(oh, ow);
            let elements = || {
                rows.clone()
                    .flat_map(|r| columns.clone().map(move |c| (r, c, x[r * g.input[1] + c].to_acc())))
            };
            let mut m = T::Acc::NEG_INFINITY;
            let mut nan = false;
            for (_, _, v) in elements() {
                nan |= v.is_nan();
                // The first of equals stays, which matters for the sign of a zero; -inf is a maximum too.
                m = if v > m { v } else { m };
            }
            for (r, c, v) in elements() {
                if if nan { v.is_nan() } else { v == m } {
                    let bit = g.bit(oh, ow, r, c);
                    set[bit / 8] |= 1 << (bit % 8);
                }
            }
            if nan {
                set[tie_bytes - 1] |= NAN_FLAG;
            }
            y[w] = T::from_acc(if nan { T::Acc::NAN } else { m });
        }
    }
}

/// A stored tie set.
#[derive(Clone, Copy)]
pub(super) struct TieSet<'a>(pub &'a [u8]);

impl TieSet<'_> {
    pub fn has_nan(self) -> bool {
        self.0[self.0.len() - 1] & NAN_FLAG != 0
    }

    /// Byte `i` without the NaN flag.
    fn byte(self, i: usize) -> u8 {
        if i + 1 == self.0.len() { self.0[i] & !NAN_FLAG } else { self.0[i] }
    }

    pub fn len(self) -> usize {
        (0..self.0.len()).map(|i| self.byte(i).count_ones() as usize).sum()
    }

    fn contains(self, bit: usize) -> bool {
        self.byte(bit / 8) >> (bit % 8) & 1 != 0
    }

    pub fn bits(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.0.len() * 8).filter(move |&bit| self.contains(bit))
    }
}

/// What one window gives: `chosen` to the element at `bit`, `rest` to the other tied elements.
#[derive(Clone, Copy)]
struct Share<A> {
    bit: usize,
    chosen: A,
    rest: A,
}

/// [`BackwardRule`] with its scalars in the accumulate type.
enum Rule<A> {
    First,
    Last,
    Random { seed: u64, draw: Draw },
    Divide,
    Coefficients { first: Vec<A>, rest: Vec<A> },
    TwoBranches { beta: A, one_minus_beta: A },
}

impl<A: Accumulator> Rule<A> {
    fn new(rule: &BackwardRule, draw: Draw) -> Rule<A> {
        let convert = |v: &[f64]| v.iter().map(|&c| A::from_f64(c)).collect();
        match rule {
            BackwardRule::First => Rule::First,
            BackwardRule::Last => Rule::Last,
            BackwardRule::Random { seed } => Rule::Random { seed: *seed, draw },
            BackwardRule::Divide => Rule::Divide,
            BackwardRule::Coefficients { first, rest } => {
                Rule::Coefficients { first: convert(first), rest: convert(rest) }
            }
            BackwardRule::TwoBranches { beta, one_minus_beta } => {
                Rule::TwoBranches { beta: A::from_f64(*beta), one_minus_beta: A::from_f64(*one_minus_beta) }
            }
        }
    }

    /// True where a NaN in the window makes its whole gradient NaN.
    fn spreads_nan(&self) -> bool {
        matches!(self, Rule::Divide | Rule::Coefficients { .. } | Rule::TwoBranches { .. })
    }

    /// `k` tied elements, the first and last at these bits; `nth` finds another one.
    #[inline(always)]
    fn share<T: Element<Acc = A>>(
        &self,
        g: A,
        k: usize,
        [first, last]: [usize; 2],
        window: usize,
        nan: bool,
        nth: impl Fn(usize) -> usize,
    ) -> Share<A> {
        match self {
            Rule::First => Share { bit: if nan { last } else { first }, chosen: g, rest: A::ZERO },
            Rule::Last => Share { bit: last, chosen: g, rest: A::ZERO },
            Rule::Random { seed, draw } => {
                let key = [*seed as u32, (*seed >> 32) as u32];
                let word = philox4x32_10([window as u32, 0, draw.site, draw.step], key)[0];
                let pick = (word as u64 * k as u64) >> 32;
                Share { bit: nth(pick as usize), chosen: g, rest: A::ZERO }
            }
            Rule::Divide => {
                let each = g / A::from_f64(k as f64);
                Share { bit: first, chosen: each, rest: each }
            }
            Rule::Coefficients { first: chosen, rest } => {
                // A coefficient of 0 gives 0 even to an infinite gradient.
                let times = |c: A| if c == A::ZERO { A::ZERO } else { g * c };
                // A set that no forward pass wrote may hold bits beyond the window's.
                let k = k.min(chosen.len() - 1);
                Share { bit: first, chosen: times(chosen[k]), rest: times(rest[k]) }
            }
            Rule::TwoBranches { beta, one_minus_beta } => {
                let rest = T::round(T::round(*beta * g) / A::from_f64(k as f64));
                Share { bit: first, chosen: T::round(rest + T::round(*one_minus_beta * g)), rest }
            }
        }
    }
}

pub(super) fn backward<T: Element>(
    g: &Pool2dGeometry,
    rule: &BackwardRule,
    draw: Draw,
    gy: &[T],
    ties: &[u8],
    gx: &mut [T],
) {
    let plane = g.input[0] * g.input[1];
    let windows = g.output[0] * g.output[1];
    let tie_bytes = shape::tie_bytes(g.window.len());
    let rule = Rule::new(rule, draw);
    let planes = super::BLOCK.div_ceil(plane);
    let two_by_two = g.window == Window2d::new(2, 2, 0);
    gx.par_chunks_mut(planes * plane)
        .zip(gy.par_chunks(planes * windows))
        .zip(ties.par_chunks(planes * windows * tie_bytes))
        .enumerate()
        .for_each(|(block, ((gx, gy), ties))| {
            if !two_by_two || plane != 4 * windows {
                gx.fill(T::ZERO);
            }
            let tensors = gx.chunks_mut(plane).zip(gy.chunks(windows));
            for (i, ((gx, gy), ties)) in tensors.zip(ties.chunks(windows * tie_bytes)).enumerate() {
                let first_window = (block * planes + i) * windows;
                if two_by_two {
                    backward_2x2(g, &rule, first_window, gy, ties, gx);
                } else {
                    backward_plane(g, &rule, first_window, gy, ties, gx);
                }
            }
        });
}

/// Kernel 2, stride 2, no padding.
fn backward_2x2<T: Element>(
    g: &Pool2dGeometry,
    rule: &Rule<T::Acc>,
    first_window: usize,
    gy: &[T],
    ties: &[u8],
    gx: &mut [T],
) {
    let spread = rule.spreads_nan();
    match rule {
        Rule::First => spread_2x2(g, |g, _| [g, T::Acc::ZERO], [false, spread], gy, ties, gx),
        Rule::Last => spread_2x2(g, |g, _| [g, T::Acc::ZERO], [true, spread], gy, ties, gx),
        Rule::Random { .. } => backward_plane(g, rule, first_window, gy, ties, gx),
        Rule::Divide => spread_2x2(g, |g, k| [T::round(g / k); 2], [false, spread], gy, ties, gx),
        Rule::Coefficients { first, rest } => {
            let coefficients = [first, rest].map(|c| <[T::Acc; 5]>::try_from(&c[..5]).expect("0 to 4 ties"));
            let share = |g: T::Acc, k: T::Acc| coefficients.map(|c| T::round(times_coefficient(g, k, c)));
            spread_2x2(g, share, [false, spread], gy, ties, gx)
        }
        &Rule::TwoBranches { beta, one_minus_beta } => {
            let share = |g: T::Acc, k: T::Acc| {
                let rest = T::round(T::round(beta * g) / k);
                [T::round(rest + T::round(one_minus_beta * g)), rest]
            };
            spread_2x2(g, share, [false, spread], gy, ties, gx)
        }
    }
}

/// `g` times coefficient `k` of 0 to 4, chosen without a branch.
#[inline(always)]
fn times_coefficient<A: Accumulator>(g: A, k: A, coefficients: [A; 5]) -> A {
    let mut coefficient = coefficients[1];
    for (count, &c) in coefficients.iter().enumerate().skip(2) {
        coefficient = if k == A::from_f64(count as f64) { c } else { coefficient };
    }
    if coefficient == A::ZERO { A::ZERO } else { g * coefficient }
}

vectorised! {
    /// `share(gradient, number of ties)` gives, rounded, what the chosen tied element and each other one receive; chosen is the
    /// last one rather than the first if `last`, or if the window holds a NaN. With `spread` a NaN fills its window.
    fn spread_2x2<T: Element, F: Fn(T::Acc, T::Acc) -> [T::Acc; 2]>(
        g: &Pool2dGeometry,
        share: F,
        [last, spread]: [bool; 2],
        gy: &[T],
        ties: &[u8],
        gx: &mut [T],
    ) {
        /// Windows whose elements are computed before any is stored: two loops that vectorise, unlike one.
        const WINDOWS: usize = 64;
        let (width, columns) = (g.input[1], g.output[1]);
        let (one, nan_value) = (T::Acc::from_f64(1.0), T::from_acc(T::Acc::NAN));
        let mut values = [[T::ZERO; WINDOWS]; 4];
        let rows = gy.chunks(columns).zip(ties.chunks(columns)).zip(gx.chunks_mut(2 * width));
        for ((gy, ties), gx) in rows {
            let (upper, lower) = gx.split_at_mut(width);
            let parts = gy.chunks(WINDOWS).zip(ties.chunks(WINDOWS));
            let pairs = upper.chunks_mut(2 * WINDOWS).zip(lower.chunks_mut(2 * WINDOWS));
            for ((gy, ties), (upper, lower)) in parts.zip(pairs) {
                let [a, b, c, d] = &mut values;
                let elements = a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut()).zip(d.iter_mut());
                for ((gy, &tie), (((a, b), c), d)) in gy.iter().zip(ties).zip(elements) {
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
                        if nan && spread { nan_value } else { value }
                    };
                    (*a, *b, *c, *d) = (value(1), value(2), value(4), value(8));
                }
                let [a, b, c, d] = &values;
                let pairs = upper.as_chunks_mut().0.iter_mut().zip(lower.as_chunks_mut().0);
                for ((((upper, lower), _), (&a, &b)), (&c, &d)) in
                    pairs.zip(gy).zip(a.iter().zip(b)).zip(c.iter().zip(d))
                {
                    (*upper, *lower) = ([a, b], [c, d]);
                }
            }
        }
    }
}

fn backward_plane<T: Element>(
    g: &Pool2dGeometry,
    rule: &Rule<T::Acc>,
    first_window: usize,
    gy: &[T],
    ties: &[u8],
    gx: &mut [T],
) {
    let tie_bytes = ties.len() / gy.len();
    for (w, (gradient, set)) in gy.iter().zip(ties.chunks(tie_bytes)).enumerate() {
        let (oh, ow) = (w / g.output[1], w % g.output[1]);
        let set = TieSet(set);
        let nan = set.has_nan();
        let (rows, columns) = g.window_range(oh, ow);
        let ends = [set.bits().next().unwrap_or(0), set.bits().next_back().unwrap_or(0)];
        let nth = |n| set.bits().nth(n).unwrap_or(0);
        let share = rule.share::<T>(gradient.to_acc(), set.len(), ends, first_window + w, nan, nth);
        for r in rows {
            for c in columns.clone() {
                let bit = g.bit(oh, ow, r, c);
                let contribution = if nan && rule.spreads_nan() {
                    T::Acc::NAN
                } else if !set.contains(bit) {
                    continue;
                } else if bit == share.bit {
                    share.chosen
                } else {
                    share.rest
                };
                let sum = &mut gx[r * g.input[1] + c];
                *sum = T::from_acc(sum.to_acc() + T::round(contribution));
            }
        }
    }
}
