//! Operands of matrix products, gathered from tensors into panels.
//!
//! A panel `[sum, width]` holds a few rows of A or columns of B side by side, so that a product reads it from the first
//! element to the last.

use std::ops::Range;

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::Lanes;

/// Places in a slice: index i lies at `starts[i / run] + i % run * step`.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub starts: &'a [usize],
    pub run: usize,
    pub step: isize,
}

/// [`Places`] that own their starts.
#[derive(Clone)]
pub(super) struct Offsets {
    pub starts: Vec<usize>,
    pub run: usize,
    pub step: isize,
}

impl Offsets {
    pub fn places(&self) -> Places<'_> {
        Places { starts: &self.starts, run: self.run, step: self.step }
    }

    pub fn len(&self) -> usize {
        self.starts.len() * self.run
    }
}

impl<'a> Places<'a> {
    /// One run from the beginning.
    pub fn line(run: usize, step: usize) -> Places<'static> {
        Places { starts: &[0], run, step: step as isize }
    }

    /// The runs and parts of runs in `range`: (first index less the range's first, its place, number of indices).
    #[inline(always)]
    fn runs(self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> + use<'a> {
        let run = self.run.max(1);
        let (chunk, mut within) = (range.start / run, range.start % run);
        let (mut starts, mut i, len) = (self.starts.iter().skip(chunk), 0, range.len());
        std::iter::from_fn(move || {
            if i >= len {
                return None;
            }
            let (first, place) = (i, step_from(*starts.next()?, within, self.step));
            let number = (run - within).min(len - i);
            (i, within) = (i + number, 0);
            Some((first, place, number))
        })
    }

    /// The place of each index in `range`, and the largest.
    #[inline(always)]
    pub fn fill(self, range: Range<usize>, places: &mut [usize]) -> usize {
        for (first, place, number) in self.runs(range) {
            for i in 0..number {
                places[first + i] = step_from(place, i, self.step);
            }
        }
        largest(places)
    }
}

/// `place + i * step`
#[inline(always)]
fn step_from(place: usize, i: usize, step: isize) -> usize {
    place.wrapping_add_signed(step.wrapping_mul(i as isize))
}

#[inline(always)]
fn largest(places: &[usize]) -> usize {
    places.iter().fold(0, |last, &place| last.max(place))
}

/// One factor of a product. The place of an element is the sum of the place of its index in the sum and that of its
/// free index, which is the row of the left factor and the column of the right one.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, A> {
    pub data: &'a [A],
    pub sum: Places<'a>,
    pub free: Places<'a>,
    /// Distance from one group to the next.
    pub group: usize,
}

impl<A> Operand<'_, A> {
    /// Where the free indices of a group in `range` begin, if they lie side by side within one run.
    #[inline(always)]
    pub fn consecutive(&self, group: usize, range: &Range<usize>) -> Option<usize> {
        let Places { starts, run, step } = self.free;
        let (first, within) = (range.start / run, range.start % run);
        (step == 1 && within + range.len() <= run).then(|| starts[first] + within + group * self.group)
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Operand { sum: self.free, free: self.sum, ..self }
    }
}

/// Largest width of a panel.
pub(super) const MAX_WIDTH: usize = 64;
/// Longest piece of a row that is moved at once.
const SEGMENT: usize = 16;

/// The columns of a panel: some free indices of an operand.
pub(super) struct Columns {
    width: usize,
    /// The place of each; those beyond the operand's last one repeat the first.
    places: [usize; MAX_WIDTH],
    /// Columns that are no repetition.
    own: usize,
    /// Columns of consecutive places, at most [`SEGMENT`]: (first column, its place).
    segments: [(usize, usize); MAX_WIDTH],
    count: usize,
    /// The largest place.
    last: usize,
}

impl Columns {
    /// For panels of `width` columns.
    #[inline(always)]
    pub fn new(width: usize) -> Columns {
        Columns { width, places: [0; MAX_WIDTH], own: 0, segments: [(0, 0); MAX_WIDTH], count: 0, last: 0 }
    }

    /// Turns to the free indices `range` of a group.
    #[inline(always)]
    pub fn set<A>(&mut self, operand: &Operand<A>, group: usize, range: Range<usize>) {
        (self.count, self.own) = (0, range.len());
        let Places { step, .. } = operand.free;
        for (column, place, number) in operand.free.runs(range) {
            for i in 0..number {
                self.places[column + i] = step_from(place + group * operand.group, i, step);
            }
            for i in (0..number).step_by(if step == 1 { SEGMENT } else { 1 }) {
                self.begin_segment(column + i);
            }
        }
        for column in self.own..self.width {
            self.places[column] = self.places[0];
            self.begin_segment(column);
        }
        self.last = largest(&self.places[..self.width]);
    }

    #[inline(always)]
    fn begin_segment(&mut self, column: usize) {
        self.segments[self.count] = (column, self.places[column]);
        self.count += 1;
    }

    /// The place of each vector of `lanes` columns, if its columns lie side by side.
    #[inline(always)]
    pub fn vectors<const N: usize>(&self, lanes: usize) -> Option<[usize; N]> {
        let places = &self.places[..N * lanes];
        let consecutive =
            |vector: &[usize]| vector.iter().enumerate().all(|(i, &place)| place == vector[0] + i);
        places.chunks_exact(lanes).all(consecutive).then(|| std::array::from_fn(|i| places[i * lanes]))
    }
}

/// Copies `columns` free indices of an operand with `rows` terms as panels `[rows, width]`, one behind the other; the last
/// one repeats what it lacks.
pub(super) fn interleave<A: Lanes>(
    operand: &Operand<A>,
    [rows, columns]: [usize; 2],
    width: usize,
    target: &mut [A],
) {
    /// Rows of a panel that one task copies.
    const ROWS: usize = 1 << 10;
    let arch = Arch::new();
    target.par_chunks_mut(rows * width).enumerate().for_each(|(i, panel)| {
        panel.par_chunks_mut(ROWS * width).enumerate().for_each(|(j, panel)| {
            let columns = i * width..((i + 1) * width).min(columns);
            let sum = j * ROWS..((j + 1) * ROWS).min(rows);
            arch.dispatch(Interleave { operand, sum, columns, width, panel });
        });
    });
}

struct Interleave<'a, A> {
    operand: &'a Operand<'a, A>,
    sum: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panel: &'a mut [A],
}

impl<A: Lanes> WithSimd for Interleave<'_, A> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Interleave { operand, sum, columns: range, width, panel } = self;
        let mut columns = Columns::new(width);
        columns.set(operand, 0, range);
        simd.vectorize(Pack { simd, operand, sum, columns: &columns, panel });
    }
}

/// Gathers a panel.
pub(super) struct Pack<'a, A, S> {
    pub simd: S,
    pub operand: &'a Operand<'a, A>,
    pub sum: Range<usize>,
    pub columns: &'a Columns,
    pub panel: &'a mut [A],
}

impl<A: Lanes, S: Simd> NullaryFnOnce for Pack<'_, A, S> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Pack { simd, operand: Operand { data, sum: places, .. }, sum, columns, panel } = self;
        let (width, step) = (columns.width, places.step);
        for (first, place, number) in places.runs(sum) {
            let rows = first * width..(first + number) * width;
            if 8 * columns.count <= width || (step != 1 && 2 * columns.count <= width) {
                copy_segments(data, place, step, columns, panel, rows);
            } else if step != 1 {
                copy(data, place, step, columns, &mut panel[rows]);
            } else if width == 1 {
                panel[rows].copy_from_slice(&data[place + columns.last..][..number]);
            } else {
                match A::lanes::<S>() {
                    16 => transpose::<A, S, 16>(simd, data, place, columns, &mut panel[rows]),
                    8 => transpose::<A, S, 8>(simd, data, place, columns, &mut panel[rows]),
                    4 => transpose::<A, S, 4>(simd, data, place, columns, &mut panel[rows]),
                    _ => copy(data, place, step, columns, &mut panel[rows]),
                }
            }
        }
    }
}

/// Row r of `rows` is made of the segments, moved by `place + r * step`. Whole vectors are moved, whatever the length of
/// a segment: the next one overwrites what is too much.
#[inline(always)]
fn copy_segments<A: Lanes>(
    data: &[A],
    place: usize,
    step: isize,
    columns: &Columns,
    panel: &mut [A],
    rows: Range<usize>,
) {
    let segments = &columns.segments[..columns.count];
    let mut place = place;
    for row in rows.step_by(columns.width) {
        for (i, &(column, from)) in segments.iter().enumerate() {
            let (to, from) = (row + column, place + from);
            if to + SEGMENT <= panel.len() && from + SEGMENT <= data.len() {
                let segment: [A; SEGMENT] = data[from..from + SEGMENT].try_into().expect("a segment");
                panel[to..to + SEGMENT].copy_from_slice(&segment);
            } else {
                let end = segments.get(i + 1).map_or(columns.width, |next| next.0);
                for i in 0..end - column {
                    panel[to + i] = element(data, from + i);
                }
            }
        }
        place = place.wrapping_add_signed(step);
    }
}

/// Pixels between those that are wanted may lie beyond the data.
#[inline(always)]
fn element<A: Lanes>(data: &[A], place: usize) -> A {
    data.get(place).copied().unwrap_or(A::ZERO)
}

/// Row r consists of the columns' places moved by `place + r * step`.
#[inline(always)]
fn copy<A: Lanes>(data: &[A], place: usize, step: isize, columns: &Columns, rows: &mut [A]) {
    let places = &columns.places[..columns.width];
    let mut place = place;
    for row in rows.chunks_exact_mut(places.len()) {
        if let Some(data) = data.get(place..=place + columns.last) {
            for (to, &p) in row.iter_mut().zip(places) {
                *to = data[p];
            }
        } else {
            for (to, &p) in row.iter_mut().zip(places) {
                *to = element(data, place + p);
            }
        }
        place = place.wrapping_add_signed(step);
    }
}

/// Column j is the run that begins at its place moved by `place`: squares of vectors are transposed.
#[inline(always)]
fn transpose<A: Lanes, S: Simd, const LANES: usize>(
    simd: S,
    data: &[A],
    place: usize,
    columns: &Columns,
    rows: &mut [A],
) {
    let &Columns { width, own, last, .. } = columns;
    for (place, rows) in (place..).step_by(LANES).zip(rows.chunks_mut(LANES * width)) {
        // A square that is nearly empty is not worth it, and one that ends beyond the data is not possible.
        if rows.len() * 3 < LANES * width || own * 4 < LANES || place + last + LANES > data.len() {
            copy(data, place, 1, columns, rows);
            continue;
        }
        for first in (0..own).step_by(LANES) {
            let count = (width - first).min(LANES);
            let mut from = [columns.places[first]; LANES];
            from[..count].copy_from_slice(&columns.places[first..first + count]);
            let square: [A::Vector<S>; LANES] =
                A::transpose(simd, |j| A::load(simd, &data[place + from[j]..][..LANES]));
            for r in 0..rows.len() / width {
                let square: &[A] = bytemuck::cast_slice(std::slice::from_ref(&square[r]));
                let row = &mut rows[r * width + first..];
                // Lengths that the compiler knows.
                match count {
                    16 => row[..16].copy_from_slice(&square[..16]),
                    8 => row[..8].copy_from_slice(&square[..8]),
                    4 => row[..4].copy_from_slice(&square[..4]),
                    // The next row overwrites what is too much.
                    _ if width < LANES && row.len() >= LANES => row[..LANES].copy_from_slice(square),
                    _ => row[..count].copy_from_slice(&square[..count]),
                }
            }
        }
    }
}
