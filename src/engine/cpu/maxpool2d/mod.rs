//! Max pooling with its tie sets, and its backward pass under any choice.
//!
//!   forward   m = max of the window; ties = {i : x_i = m}; y = m, or fl(fl(b m) + fl((1 - b) m)) as published
//!   backward  see `kink::BackwardRule`: two values for each window, one for a chosen tied element and one for
//!             the rest of them, added onto gx in the order of the windows

mod two_by_two;

use rand_philox::philox4x32_10;
use rayon::prelude::*;

use super::BLOCK;
use super::draw::Draw;
use crate::dtype::unit::Unit;
use crate::dtype::{Accumulator, Element, on_unit, vectorised};
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
    let planes = BLOCK.div_ceil(plane);
    let two_by_two = g.window == Window2d::new(2, 2, 0);
    y.par_chunks_mut(planes * windows)
        .zip(ties.par_chunks_mut(planes * windows * tie_bytes))
        .zip(x.par_chunks(planes * plane))
        .for_each(|((y, ties), x)| {
            let planes = y.chunks_mut(windows).zip(ties.chunks_mut(windows * tie_bytes)).zip(x.chunks(plane));
            if !two_by_two {
                planes.for_each(|((y, ties), x)| forward_plane(g, x, y, ties, tie_bytes));
            } else if plane == 4 * windows {
                two_by_two::forward(g, x, y, ties);
            } else {
                planes.for_each(|((y, ties), x)| two_by_two::forward(g, x, y, ties));
            }
            if let Some(weights) = weights {
                combine(weights.map(T::Acc::from_f64), y);
            }
        });
}

vectorised! {
    /// The published composition of the maximum with itself.
    fn combine<T: Element>(weights: [T::Acc; 2], y: &mut [T]) {
        on_unit!(combine_chunks::<T>(weights, y))
    }
}

#[inline(always)]
fn combine_chunks<T: Element, U: Unit, const N: usize>(unit: U, [b, c]: [T::Acc; 2], y: &mut [T]) {
    let (chunks, rest) = y.as_chunks_mut::<N>();
    for y in chunks {
        let m = T::widen(unit, y);
        *y = T::narrow(unit, T::round_chunk(unit, m * b) + T::round_chunk(unit, m * c));
    }
    for y in rest {
        let m = y.to_acc();
        *y = T::from_acc(T::round(b * m) + T::round(c * m));
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
    /// With the width of the window.
    FirstColumn {
        width: usize,
    },
    Random {
        seed: u64,
        draw: Draw,
    },
    Divide,
    Coefficients {
        first: Vec<A>,
        rest: Vec<A>,
    },
    TwoBranches {
        beta: A,
        one_minus_beta: A,
    },
}

impl<A: Accumulator> Rule<A> {
    fn new(rule: &BackwardRule, window: &Window2d, draw: Draw) -> Rule<A> {
        let convert = |v: &[f64]| v.iter().map(|&c| A::from_f64(c)).collect();
        match rule {
            BackwardRule::First => Rule::First,
            BackwardRule::Last => Rule::Last,
            BackwardRule::FirstColumn => Rule::FirstColumn { width: window.kernel[1] },
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

    /// True where the choice needs more of a set than its size and its ends.
    fn searches(&self) -> bool {
        matches!(self, Rule::FirstColumn { .. } | Rule::Random { .. })
    }

    /// `set` gives the bits of the `k` tied elements, the first and last of which are `ends`.
    #[inline(always)]
    fn share<T: Element<Acc = A>, I: Iterator<Item = usize>>(
        &self,
        g: A,
        k: usize,
        [first, last]: [usize; 2],
        window: usize,
        nan: bool,
        set: impl Fn() -> I,
    ) -> Share<A> {
        match self {
            Rule::First => Share { bit: if nan { last } else { first }, chosen: g, rest: A::ZERO },
            Rule::Last => Share { bit: last, chosen: g, rest: A::ZERO },
            Rule::FirstColumn { width } => {
                let column = set().min_by_key(|bit| (bit % width, bit / width)).unwrap_or(0);
                Share { bit: if nan { last } else { column }, chosen: g, rest: A::ZERO }
            }
            Rule::Random { seed, draw } => {
                let key = [*seed as u32, (*seed >> 32) as u32];
                let word = philox4x32_10([window as u32, 0, draw.site, draw.step], key)[0];
                let pick = (word as u64 * k as u64) >> 32;
                Share { bit: set().nth(pick as usize).unwrap_or(0), chosen: g, rest: A::ZERO }
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
    let rule = Rule::new(rule, &g.window, draw);
    let planes = BLOCK.div_ceil(plane);
    let two_by_two = g.window == Window2d::new(2, 2, 0);
    gx.par_chunks_mut(planes * plane)
        .zip(gy.par_chunks(planes * windows))
        .zip(ties.par_chunks(planes * windows * tie_bytes))
        .enumerate()
        .for_each(|(block, ((gx, gy), ties))| {
            let special = two_by_two && !rule.searches();
            if special && plane == 4 * windows {
                return two_by_two::backward(g, &rule, gy, ties, gx);
            }
            gx.fill(T::ZERO);
            let tensors = gx.chunks_mut(plane).zip(gy.chunks(windows));
            for (i, ((gx, gy), ties)) in tensors.zip(ties.chunks(windows * tie_bytes)).enumerate() {
                if special {
                    two_by_two::backward(g, &rule, gy, ties, gx);
                } else {
                    backward_plane(g, &rule, (block * planes + i) * windows, gy, ties, gx);
                }
            }
        });
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
        let share =
            rule.share::<T, _>(gradient.to_acc(), set.len(), ends, first_window + w, nan, || set.bits());
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
