//! Operands of matrix products, gathered from tensors into panels.
//!
//! A panel holds a few rows or columns of an operand side by side: `[sum index, width]`, so that a product reads it
//! from the first element to the last.

use std::ops::Range;

use bytemuck::cast_slice;
use pulp::{NullaryFnOnce, Simd};

use super::gemm::Lanes;

/// Places in a slice: index i lies at `starts[i / run] + i % run * step`.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub starts: &'a [usize],
    pub run: usize,
    pub step: isize,
}

/// [`Places`] that own their starts.
pub(super) struct Offsets {
    pub starts: Vec<usize>,
    pub run: usize,
    pub step: isize,
}

impl Offsets {
    pub fn places(&self) -> Places<'_> {
        Places { starts: &self.starts, run: self.run, step: self.step }
    }
}

impl<'a> Places<'a> {
    /// One run from the beginning.
    pub fn line(run: usize, step: usize) -> Places<'static> {
        Places { starts: &[0], run, step: step as isize }
    }

    pub fn len(self) -> usize {
        self.starts.len() * self.run
    }

    /// The runs and parts of runs in `range`: (first index, its place, number of indices).
    #[inline(always)]
    pub fn runs(self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> + use<'a> {
        let (chunk, mut within) =
            if range.is_empty() { (0, 0) } else { (range.start / self.run, range.start % self.run) };
        let (mut starts, mut i) = (self.starts[chunk.min(self.starts.len())..].iter(), range.start);
        std::iter::from_fn(move || {
            if i >= range.end {
                return None;
            }
            let (first, place) = (i, step_from(*starts.next()?, within, self.step));
            let len = (self.run - within).min(range.end - i);
            (i, within) = (i + len, 0);
            Some((first, place, len))
        })
    }
}

/// `place + i * step`
#[inline(always)]
fn step_from(place: usize, i: usize, step: isize) -> usize {
    place.wrapping_add_signed(step.wrapping_mul(i as isize))
}

/// One factor of a product: an element is found by its index in the sum and its free index, which is the row of
/// the left factor and the column of the right one.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, A> {
    pub data: &'a [A],
    pub sum: Places<'a>,
    pub free: Places<'a>,
    /// Distance from one group's elements to the next one's.
    pub group: usize,
}

/// Largest width of a panel.
pub(super) const MAX_WIDTH: usize = 64;

impl<A: Lanes> Operand<'_, A> {
    /// The transpose.
    pub fn t(self) -> Self {
        Operand { sum: self.free, free: self.sum, ..self }
    }
}

/// The columns of a panel: some free indices of an operand.
pub(super) struct Columns {
    width: usize,
    /// The place of each; those beyond the operand's last one repeat the first.
    places: [usize; MAX_WIDTH],
    /// Columns of consecutive places, at most [`SEGMENT`]: (first column, its place).
    segments: [(usize, usize); MAX_WIDTH],
    count: usize,
    /// The largest place.
    last: usize,
}

/// Longest piece of a row that is moved at once.
const SEGMENT: usize = 16;

impl Columns {
    /// For panels of `width` columns.
    #[inline(always)]
    pub fn new(width: usize) -> Columns {
        Columns { width, places: [0; MAX_WIDTH], segments: [(0, 0); MAX_WIDTH], count: 0, last: 0 }
    }

    /// Turns to the columns `range`, `offset` further than `places` says.
    #[inline(always)]
    pub fn set(&mut self, places: Places, offset: usize, range: Range<usize>) {
        self.count = 0;
        for (first, place, len) in places.runs(range.clone()) {
            let column = first - range.start;
            for i in 0..len {
                self.places[column + i] = step_from(place + offset, i, places.step);
            }
            for i in (0..len).step_by(if places.step == 1 { SEGMENT } else { 1 }) {
                self.segment(column + i);
            }
        }
        for column in range.len()..self.width {
            self.places[column] = self.places[0];
            self.segment(column);
        }
        self.last = self.places[..self.width].iter().fold(0, |last, &place| last.max(place));
    }

    #[inline(always)]
    fn segment(&mut self, column: usize) {
        self.segments[self.count] = (column, self.places[column]);
        self.count += 1;
    }

    /// The place of each vector of `lanes` columns, if their columns are consecutive and end `within` a length.
    #[inline(always)]
    pub fn vectors<const N: usize>(&self, lanes: usize, within: usize) -> Option<[usize; N]> {
        let places = &self.places[..N * lanes];
        let consecutive =
            |vector: &[usize]| vector.iter().enumerate().all(|(i, &place)| place == vector[0] + i);
        let direct = self.last + lanes <= within && places.chunks_exact(lanes).all(consecutive);
        direct.then(|| std::array::from_fn(|i| places[i * lanes]))
    }
}

/// Gathers a panel `[sum, width]`, whose sum indices are those of `runs` (first row, place, rows) and lie `step` apart.
pub(super) struct Pack<'a, A, S, I> {
    pub simd: S,
    pub data: &'a [A],
    pub runs: I,
    pub step: isize,
    pub columns: &'a Columns,
    pub panel: &'a mut [A],
}

impl<A: Lanes, S: Simd, I: Iterator<Item = (usize, usize, usize)>> NullaryFnOnce for Pack<'_, A, S, I> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Pack { simd, data, runs, step, columns, panel } = self;
        let width = columns.width;
        let (places, segments) = (&columns.places[..width], &columns.segments[..columns.count]);
        for (first, place, len) in runs {
            let rows = first * width..(first + len) * width;
            if 8 * segments.len() <= width || (step != 1 && 2 * segments.len() <= width) {
                copy_segments(data, place, step, segments, width, panel, rows);
            } else if step == 1 {
                transpose(simd, data, place, places, columns.last, &mut panel[rows]);
            } else {
                copy(data, place, step, places, columns.last, &mut panel[rows]);
            }
        }
    }
}

/// Row r of `rows` is made of segments (column, place), each up to the next one, moved by `place + r * step`. Whole
/// vectors are moved, whatever the length of a segment: the next one overwrites what is too much.
#[inline(always)]
fn copy_segments<A: Lanes>(
    data: &[A],
    place: usize,
    step: isize,
    segments: &[(usize, usize)],
    width: usize,
    panel: &mut [A],
    rows: Range<usize>,
) {
    let mut place = place;
    for row in rows.step_by(width) {
        for (i, &(column, from)) in segments.iter().enumerate() {
            let (to, from) = (row + column, place + from);
            if to + SEGMENT <= panel.len() && from + SEGMENT <= data.len() {
                let segment: [A; SEGMENT] = data[from..from + SEGMENT].try_into().expect("a segment");
                panel[to..to + SEGMENT].copy_from_slice(&segment);
            } else {
                let end = segments.get(i + 1).map_or(width, |next| next.0);
                for i in 0..end - column {
                    panel[to + i] = element(data, from + i);
                }
            }
        }
        place = place.wrapping_add_signed(step);
    }
}

/// Columns that nobody wants may lie beyond the data.
#[inline(always)]
fn element<A: Lanes>(data: &[A], place: usize) -> A {
    data.get(place).copied().unwrap_or(A::ZERO)
}

/// Row r consists of the elements at `places + place + r * step`.
#[inline(always)]
fn copy<A: Lanes>(data: &[A], place: usize, step: isize, places: &[usize], last: usize, rows: &mut [A]) {
    let mut place = place;
    for row in rows.chunks_exact_mut(places.len()) {
        if let Some(data) = data.get(place..=place + last) {
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

/// Column j is the run that begins at `places[j] + place`.
#[inline(always)]
fn transpose<A: Lanes, S: Simd>(
    simd: S,
    data: &[A],
    place: usize,
    places: &[usize],
    last: usize,
    rows: &mut [A],
) {
    match size_of::<A::Vector<S>>() / size_of::<A>() {
        16 => transpose_squares::<A, S, 16>(simd, data, place, places, last, rows),
        8 => transpose_squares::<A, S, 8>(simd, data, place, places, last, rows),
        4 => transpose_squares::<A, S, 4>(simd, data, place, places, last, rows),
        _ => copy(data, place, 1, places, last, rows),
    }
}

/// Transposes squares of `LANES` rows and columns, some of which may be missing.
#[inline(always)]
fn transpose_squares<A: Lanes, S: Simd, const LANES: usize>(
    simd: S,
    data: &[A],
    place: usize,
    places: &[usize],
    last: usize,
    rows: &mut [A],
) {
    let width = places.len();
    for (place, rows) in (place..).step_by(LANES).zip(rows.chunks_mut(LANES * width)) {
        // A square with few rows is not worth it, and one that ends outside of the data is not possible.
        if rows.len() * 3 < LANES * width || place + last + LANES > data.len() {
            copy(data, place, 1, places, last, rows);
            continue;
        }
        for first in (0..width).step_by(LANES) {
            let count = (width - first).min(LANES);
            let mut square = [A::splat(simd, A::ZERO); LANES];
            for j in 0..LANES {
                let from = places[if j < count { first + j } else { first }] + place;
                square[j] = cast_slice::<A, A::Vector<S>>(&data[from..from + LANES])[0];
            }
            A::transpose(simd, &mut square);
            for r in 0..rows.len() / width {
                let square = cast_slice::<A::Vector<S>, A>(std::slice::from_ref(&square[r]));
                let row = &mut rows[r * width + first..];
                match count {
                    16 => {
                        *row.first_chunk_mut().expect("room") = *square.first_chunk::<16>().expect("16 lanes")
                    }
                    8 => *row.first_chunk_mut().expect("room") = *square.first_chunk::<8>().expect("8 lanes"),
                    4 => *row.first_chunk_mut().expect("room") = *square.first_chunk::<4>().expect("4 lanes"),
                    // The next row overwrites what is too much.
                    _ if width < LANES && row.len() >= LANES => row[..LANES].copy_from_slice(square),
                    _ => row[..count].copy_from_slice(&square[..count]),
                }
            }
        }
    }
}
