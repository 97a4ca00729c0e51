//! Matrix products C `[M, N]` = A `[M, K]` B `[K, N]` on gathered operands.
//!
//! A is gathered once into panels of a few rows; a task owns a block of C, gathers its columns of B into panels, and
//! multiplies panel by panel with C's tile in registers. The sum for one element of C does not depend on the tasks,
//! the panels or the vector width: it is cut into blocks of at most [`BLOCK`] products by K alone, each block is a chain
//! of fused multiply-adds (where the processor has them) from 0, and the blocks are added in order.
//!
//! With [`Product::narrow`] each partial sum is rounded to f16 instead: starting from 0,
//!   acc = f16(acc + a b)
//! where a, b and acc are f16, and acc + a b is exact before its one rounding, as a fused multiply-add in f16
//! computes; a bias is one more term at the end.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::pack::{Columns, MAX_WIDTH, Operand, Pack};
use super::scratch::{Pooled, Scratch};
use crate::dtype::{Accumulator, Element, round_to_f16};

/// Products that one chain adds at most.
const BLOCK: usize = 256;
/// Rows of a panel of A at most: with 32 vector registers.
const MAX_ROWS: usize = 12;
/// Tasks that a product is cut into where it is large enough.
const TASKS: usize = 8;
/// Elements that one task of an elementwise pass takes.
const ELEMENTS: usize = super::BLOCK;
/// Vectors in a row of a panel of B.
const VECTORS: usize = 2;

/// An accumulate type that vectors are made of.
pub(super) trait Lanes: Accumulator + Pooled {
    type Vector<S: Simd>: Pod;
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    fn plus<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// Transposes a square of N vectors of N elements.
    fn transpose<S: Simd, const N: usize>(simd: S, square: &mut [Self::Vector<S>; N]);
    /// `a * b + acc` of numbers that f16 holds, rounded once to f16.
    fn mul_add_f16(a: Self, b: Self, acc: Self) -> Self;
}

macro_rules! lanes {
    ($t:ident, $vector:ident, $bits:ident, $integer:ident,
     $splat:ident, $mul_add:ident, $add:ident, $rotate_left:ident, $rotate_right:ident, $select:ident,
     $equal:ident, $and:ident, $splat_integer:ident) => {
        impl Lanes for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $t) -> S::$vector {
                simd.$splat(value)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn transpose<S: Simd, const N: usize>(simd: S, square: &mut [S::$vector; N]) {
                // Swaps the off-diagonal quarters of ever smaller squares (Eklundh).
                #[inline(always)]
                fn swap_quarters<S: Simd, const N: usize, const HALF: usize>(
                    simd: S,
                    square: &mut [S::$vector; N],
                ) {
                    if HALF >= N {
                        return;
                    }
                    let lane: [$integer; N] = std::array::from_fn(|i| i as $integer);
                    let lane = cast_slice::<$integer, S::$bits>(&lane)[0];
                    let half = simd.$and(lane, simd.$splat_integer(HALF as $integer));
                    let left = simd.$equal(half, simd.$splat_integer(0));
                    for pair in 0..N / 2 {
                        let i = pair / HALF * 2 * HALF + pair % HALF;
                        let (a, b) = (square[i], square[i + HALF]);
                        square[i] = simd.$select(left, a, simd.$rotate_right(b, HALF));
                        square[i + HALF] = simd.$select(left, simd.$rotate_left(a, HALF), b);
                    }
                }
                swap_quarters::<S, N, 8>(simd, square);
                swap_quarters::<S, N, 4>(simd, square);
                swap_quarters::<S, N, 2>(simd, square);
                swap_quarters::<S, N, 1>(simd, square);
            }
            #[inline(always)]
            fn mul_add_f16(a: $t, b: $t, acc: $t) -> $t {
                mul_add_f16(a as f32, b as f32, acc as f32) as $t
            }
        }
    };
}
lanes!(
    f32,
    f32s,
    u32s,
    u32,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    rotate_left_f32s,
    rotate_right_f32s,
    select_f32s,
    equal_u32s,
    and_u32s,
    splat_u32s
);
lanes!(
    f64,
    f64s,
    u64s,
    u64,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    rotate_left_f64s,
    rotate_right_f64s,
    select_f64s,
    equal_u64s,
    and_u64s,
    splat_u64s
);

/// The product of two halves is exact in f32, its sum with a third is not. Rounding that sum to odd, which keeps
/// what lies beyond f32 in its last bit, makes the rounding to f16 after it the only one that counts.
#[inline(always)]
fn mul_add_f16(a: f32, b: f32, acc: f32) -> f32 {
    let product = a * b;
    let sum = acc + product;
    // Knuth's exact error of the sum.
    let back = sum - acc;
    let error = (acc - (sum - back)) + (product - back);
    let bits = sum.to_bits();
    let outwards = ((error.to_bits() ^ bits) >> 31) == 0;
    let odd = if outwards { bits.wrapping_add(1) } else { bits.wrapping_sub(1) };
    let inexact = error.abs() > 0.0 && bits & 1 == 0;
    round_to_f16(f32::from_bits(if inexact { odd } else { bits }))
}

/// Parts that the sum of a product with few elements is cut into, to give more tasks work.
pub(super) fn parts(m: usize, n: usize, groups: usize) -> usize {
    (TASKS / (groups * m.div_ceil(64) * n.div_ceil(64))).max(1)
}

/// A whole tensor in the accumulate type.
pub(super) fn promote_all<'a, T: Element<Acc: Pooled>>(
    x: &'a [T],
    scratch: &'a mut Scratch<T::Acc>,
) -> &'a [T::Acc] {
    if size_of::<T>() == size_of::<T::Acc>() {
        return T::promote(x, scratch);
    }
    let all = scratch.aligned(x.len());
    all.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(all, x)| {
        all.copy_from_slice(T::promote(x, &mut Scratch::take()));
    });
    all
}

/// What is added to each element of C at the end.
#[derive(Clone, Copy)]
pub(super) enum Bias<'a, A> {
    None,
    /// One number for each row of each group.
    Rows(&'a [A]),
    /// One number for each column; a single group.
    Columns(&'a [A]),
}

/// A product, or several of equal shape: one for each group, and within it one for each part of the sum.
pub(super) struct Product<'a, A> {
    /// M, N, K.
    pub sizes: [usize; 3],
    pub groups: usize,
    /// Products that one part sums, the last one may have fewer; `usize::MAX` for a single part.
    pub part: usize,
    pub a: Operand<'a, A>,
    pub b: Operand<'a, A>,
    pub bias: Bias<'a, A>,
    /// Rounds each partial sum to f16.
    pub narrow: bool,
}

/// Where C goes, each element to a place of its own. Columns are lines of `run`, a column `period` apart, which are
/// written, and what lies between them, which is not; `lines` lines are an image.
pub(super) struct Target<'a, T> {
    data: &'a mut [T],
    layout: Layout,
}

/// Distances of the parts of a [`Target`].
#[derive(Clone, Copy)]
struct Layout {
    part: usize,
    group: usize,
    row: usize,
    image: usize,
    line: usize,
    step: usize,
    first: usize,
    images: usize,
    lines: usize,
    run: usize,
    raster: Raster,
}

/// How the columns of C stand for pixels.
#[derive(Clone, Copy)]
pub(super) struct Raster {
    /// Columns from one line of pixels to the next one.
    pub line: usize,
    /// Columns from one image to the next one.
    pub image: usize,
}

impl Layout {
    /// The runs of columns that are written: (first column, its place, columns).
    fn runs(self, range: Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut column = range.start;
        std::iter::from_fn(move || {
            loop {
                if column >= range.end {
                    return None;
                }
                let Raster { line: period, image: image_period } = self.raster;
                let (image, within) = (column / image_period, column % image_period);
                let (line, i) = (within / period, within % period);
                if line >= self.lines {
                    column += image_period - within;
                    continue;
                }
                if i >= self.run {
                    column += period - i;
                    continue;
                }
                let (first, len) = (column, (self.run - i).min(range.end - column));
                column += len;
                let place = self.first + image * self.image + line * self.line + i * self.step;
                return Some((first, place, len));
            }
        })
    }
}

impl<'a, T> Target<'a, T> {
    /// `[parts, groups, M, N]`
    pub fn matrix(data: &'a mut [T], [groups, m, n]: [usize; 3]) -> Target<'a, T> {
        let (part, group) = (groups * m * n, m * n);
        let layout = Layout {
            part,
            group,
            row: n,
            image: 0,
            line: 0,
            step: 1,
            first: 0,
            images: 1,
            lines: 1,
            run: n,
            raster: Raster { line: n, image: n },
        };
        Target { data, layout }
    }

    /// `[images, groups, M, H, W]`, of each plane the rows and columns of a grid.
    pub fn planes(
        data: &'a mut [T],
        [images, groups, m]: [usize; 3],
        [h, w]: [usize; 2],
        [rows, columns]: [Grid; 2],
        raster: Raster,
    ) -> Target<'a, T> {
        assert!(rows.fits(h) && columns.fits(w), "the grid lies in the plane");
        assert!(
            columns.count <= raster.line
                && rows.count.saturating_sub(1) * raster.line + columns.count <= raster.image,
            "the grid lies in the raster"
        );
        let layout = Layout {
            part: 0,
            group: m * h * w,
            row: h * w,
            image: groups * m * h * w,
            line: rows.step * w,
            step: columns.step,
            first: rows.first * w + columns.first,
            images,
            lines: rows.count,
            run: columns.count,
            raster,
        };
        // Lines without anything between them are one.
        let joined = raster.line == columns.count && layout.line == columns.count && columns.step == 1;
        if !joined {
            return Target { data, layout };
        }
        let run = rows.count * columns.count;
        let raster = Raster { line: raster.image, ..raster };
        Target { data, layout: Layout { lines: 1, run, raster, ..layout } }
    }
}

/// Equally spaced indices of one axis.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub first: usize,
    pub step: usize,
    pub count: usize,
}

impl Grid {
    /// All of `len`.
    pub fn all(len: usize) -> Grid {
        Grid { first: 0, step: 1, count: len }
    }

    fn fits(&self, len: usize) -> bool {
        self.step > 0 && (self.count == 0 || self.first + (self.count - 1) * self.step < len)
    }
}

impl<A: Lanes> Product<'_, A> {
    fn parts(&self) -> usize {
        self.sizes[2].div_ceil(self.part).max(1)
    }

    /// The blocks of a part's sum, as equal as can be.
    fn blocks(&self, part: usize) -> impl Iterator<Item = Range<usize>> + use<A> {
        let (start, end) = (part * self.part, ((part + 1) * self.part).min(self.sizes[2]));
        let len = (end - start).div_ceil((end - start).div_ceil(BLOCK).max(1)).max(1);
        (start..end).step_by(len).map(move |first| first..(first + len).min(end))
    }

    /// Computes C and rounds each element once to `T`.
    pub fn store<T: Element<Acc = A>>(&self, target: Target<T>) {
        let [m, n, k] = self.sizes;
        if m == 0 || n == 0 {
            return;
        }
        assert_eq!(target.layout.images * target.layout.raster.image, n, "a place for each column");
        let arch = Arch::new();
        let [rows, columns] = arch.dispatch(PanelShape(PhantomData::<A>));
        let mut packed = Scratch::take();
        let packed = packed.aligned(self.groups * m * k);
        self.pack_a(arch, rows, packed);
        let (packed, shared) = (&*packed, Shared::new(target));
        let [m_block, n_block] = self.cut();
        let m_block = m_block.next_multiple_of(rows);
        let (m_blocks, n_blocks) = (m.div_ceil(m_block), n.div_ceil(n_block));
        (0..self.parts() * self.groups * m_blocks * n_blocks).into_par_iter().for_each(|task| {
            let (task, m_start) = (task / m_blocks, task % m_blocks * m_block);
            let (task, n_start) = (task / n_blocks, task % n_blocks * n_block);
            let (part, group) = (task / self.groups, task % self.groups);
            let block = Block {
                product: self,
                packed,
                part,
                group,
                rows: m_start..(m_start + m_block).min(m),
                columns: n_start..(n_start + n_block).min(n),
            };
            let mut c = Scratch::take();
            let c = c.aligned(block.rows.len() * block.columns.len().next_multiple_of(columns));
            arch.dispatch(Multiply { block: &block, panel: rows, c: &mut *c });
            block.scatter(columns, c, &shared);
        });
    }

    /// Computes C `[groups, M, N]`, the parts of its sums added in order.
    pub fn store_matrix<T: Element<Acc = A>>(&self, target: &mut [T]) {
        let [m, n, _] = self.sizes;
        let (shape, parts) = ([self.groups, m, n], self.parts());
        if parts == 1 {
            return self.store(Target::matrix(target, shape));
        }
        let mut scratch = Scratch::take();
        let partial = scratch.aligned(parts * target.len());
        self.store(Target::matrix(&mut *partial, shape));
        let len = target.len();
        target.par_chunks_mut(ELEMENTS).enumerate().for_each(|(i, target)| {
            let place = i * ELEMENTS..i * ELEMENTS + target.len();
            let parts = partial.chunks_exact(len).map(|part| &part[place.clone()]);
            T::demote_into(target, &mut Scratch::take(), |target| {
                target.fill(A::ZERO);
                for part in parts {
                    target.iter_mut().zip(part).for_each(|(t, &v)| *t += v);
                }
            });
        });
    }

    /// Rows and columns of C in one task: enough tasks for many threads, and little gathered twice.
    fn cut(&self) -> [usize; 2] {
        const ELEMENTS: usize = 1 << 16;
        let [m, n, _] = self.sizes;
        let products = self.groups * self.parts();
        let mut m_block = m.min(512);
        let mut n_block = (ELEMENTS / m_block).next_power_of_two().clamp(64, 512);
        while products * m.div_ceil(m_block) * n.div_ceil(n_block) < TASKS {
            if n_block > 32 {
                n_block /= 2;
            } else if m_block > 64 {
                m_block /= 2;
            } else {
                break;
            }
        }
        [m_block, n_block]
    }

    /// Gathers A as `[groups, blocks of the sum, panels, block, rows]`.
    fn pack_a(&self, arch: Arch, rows: usize, packed: &mut [A]) {
        let [m, _, k] = self.sizes;
        let blocks: Vec<Range<usize>> = (0..self.parts()).flat_map(|part| self.blocks(part)).collect();
        let mut pieces = Vec::with_capacity(self.groups * blocks.len());
        let mut rest = packed;
        for group in 0..self.groups {
            for block in &blocks {
                let (piece, others) = rest.split_at_mut(m * block.len());
                pieces.push((group, block.clone(), piece));
                rest = others;
            }
        }
        let least = ((1 << 12) / (m * k / blocks.len().max(1)).max(1)).max(1);
        pieces.into_par_iter().with_min_len(least).for_each(|(group, block, piece)| {
            arch.dispatch(PackA { product: self, rows, group, block, piece });
        });
    }
}

/// Rows of a panel of A and columns of a panel of B on this processor.
struct PanelShape<A>(PhantomData<A>);

impl<A: Lanes> WithSimd for PanelShape<A> {
    type Output = [usize; 2];
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> [usize; 2] {
        // A tile of C, a row of B and one number of A fit the registers.
        let rows = if S::REGISTER_COUNT >= 32 { MAX_ROWS } else { 6 };
        let columns = VECTORS * size_of::<A::Vector<S>>() / size_of::<A>();
        const { assert!(VECTORS * 64 / 4 <= MAX_WIDTH) };
        [rows, columns]
    }
}

struct PackA<'a, A> {
    product: &'a Product<'a, A>,
    rows: usize,
    group: usize,
    block: Range<usize>,
    piece: &'a mut [A],
}

impl<A: Lanes> WithSimd for PackA<'_, A> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let m = self.product.sizes[0];
        let panels = self.piece.chunks_mut(self.rows * self.block.len());
        for (first, panel) in (0..m).step_by(self.rows).zip(panels) {
            let rows = first..(first + self.rows).min(m);
            let width = rows.len();
            let a = &self.product.a;
            let mut columns = Columns::new(width);
            columns.set(a.free, self.group * a.group, rows);
            let runs =
                a.sum.runs(self.block.clone()).map(|(i, place, len)| (i - self.block.start, place, len));
            simd.vectorize(Pack { simd, data: a.data, runs, step: a.sum.step, columns: &columns, panel });
        }
    }
}

/// The part of C that one task computes.
struct Block<'a, A> {
    product: &'a Product<'a, A>,
    /// All of A, in panels.
    packed: &'a [A],
    part: usize,
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Computes a block of C as `[panels of columns, rows, columns of a panel]`.
struct Multiply<'a, A> {
    block: &'a Block<'a, A>,
    /// Rows of a panel of A.
    panel: usize,
    c: &'a mut [A],
}

impl<A: Lanes> WithSimd for Multiply<'_, A> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Multiply { block: Block { product, packed, part, group, rows, columns }, panel, c } = self;
        let ([m, _, k], operand) = (product.sizes, &product.b);
        let lanes = size_of::<A::Vector<S>>() / size_of::<A>();
        let width = VECTORS * lanes;
        let mut scratch = Scratch::take();
        let b = scratch.aligned(BLOCK * width);
        let packed_rows: [usize; BLOCK] = std::array::from_fn(|row| row * width);
        let (mut places, mut gathered) = ([0; BLOCK], Columns::new(width));
        if product.narrow || product.blocks(*part).next().is_none() {
            c.fill(A::ZERO);
        }
        for (i, sum) in product.blocks(*part).enumerate() {
            let runs = || operand.sum.runs(sum.clone()).map(|(i, place, len)| (i - sum.start, place, len));
            for (first, place, len) in runs() {
                for i in 0..len {
                    places[first + i] = place.wrapping_add_signed(operand.sum.step * i as isize);
                }
            }
            let places = &places[..sum.len()];
            let last = places.iter().fold(0, |last, &place| last.max(place));
            let a = &packed[(group * k + sum.start) * m..][..sum.len() * m];
            let firsts = columns.clone().step_by(width);
            for (first, c) in firsts.zip(c.chunks_exact_mut(rows.len() * width)) {
                let free = first..(first + width).min(columns.end);
                gathered.set(operand.free, group * operand.group, free);
                let b = match gathered.vectors(lanes, operand.data.len().saturating_sub(last)) {
                    Some(vectors) => Gathered { data: operand.data, rows: places, vectors },
                    None => {
                        let b = &mut b[..sum.len() * width];
                        let step = operand.sum.step;
                        simd.vectorize(Pack {
                            simd,
                            data: operand.data,
                            runs: runs(),
                            step,
                            columns: &gathered,
                            panel: &mut *b,
                        });
                        let vectors = std::array::from_fn(|i| i * lanes);
                        Gathered { data: b, rows: &packed_rows[..sum.len()], vectors }
                    }
                };
                for (first, c) in rows.clone().step_by(panel).zip(c.chunks_mut(panel * width)) {
                    let height = c.len() / width;
                    let a = &a[first * sum.len()..][..height * sum.len()];
                    let mode = if product.narrow {
                        Mode::Narrow
                    } else if i == 0 {
                        Mode::First
                    } else {
                        Mode::Add
                    };
                    Tile { simd, a, b, c, height, mode }.multiply();
                }
            }
        }
    }
}

/// Rows of vectors: vector j of row i begins at `rows[i] + vectors[j]`.
#[derive(Clone, Copy)]
struct Gathered<'a, A> {
    data: &'a [A],
    rows: &'a [usize],
    vectors: [usize; VECTORS],
}

/// A tile of C `[height, vectors]` and the panels that it is the product of; a is `[block, height]`.
struct Tile<'a, A, S> {
    simd: S,
    a: &'a [A],
    b: Gathered<'a, A>,
    c: &'a mut [A],
    height: usize,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// c = a b
    First,
    /// c += a b
    Add,
    Narrow,
}

impl<A: Lanes, S: Simd> Tile<'_, A, S> {
    #[inline(always)]
    fn multiply(self) {
        if self.mode == Mode::Narrow {
            return self.simd.vectorize(NarrowTile(self));
        }
        match self.height {
            1 => self.simd.vectorize(WideTile::<A, S, 1>(self)),
            2 => self.simd.vectorize(WideTile::<A, S, 2>(self)),
            3 => self.simd.vectorize(WideTile::<A, S, 3>(self)),
            4 => self.simd.vectorize(WideTile::<A, S, 4>(self)),
            5 => self.simd.vectorize(WideTile::<A, S, 5>(self)),
            6 => self.simd.vectorize(WideTile::<A, S, 6>(self)),
            7 => self.simd.vectorize(WideTile::<A, S, 7>(self)),
            8 => self.simd.vectorize(WideTile::<A, S, 8>(self)),
            9 => self.simd.vectorize(WideTile::<A, S, 9>(self)),
            10 => self.simd.vectorize(WideTile::<A, S, 10>(self)),
            11 => self.simd.vectorize(WideTile::<A, S, 11>(self)),
            MAX_ROWS => self.simd.vectorize(WideTile::<A, S, MAX_ROWS>(self)),
            _ => unreachable!("a panel has 1 to {MAX_ROWS} rows"),
        }
    }
}

struct WideTile<'a, A, S, const ROWS: usize>(Tile<'a, A, S>);

impl<A: Lanes, S: Simd, const ROWS: usize> NullaryFnOnce for WideTile<'_, A, S, ROWS> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Tile { simd, mut a, b: Gathered { data, rows, vectors }, c, mode, .. } = self.0;
        let lanes = size_of::<A::Vector<S>>() / size_of::<A>();
        let mut acc = [[A::splat(simd, A::ZERO); VECTORS]; ROWS];
        let [first, second] = vectors.map(|from| &data[from..]);
        for &row in rows {
            let (column, rest) = a.split_first_chunk::<ROWS>().expect("as many columns as rows");
            a = rest;
            let b: [A::Vector<S>; VECTORS] =
                [cast_slice(&first[row..row + lanes])[0], cast_slice(&second[row..row + lanes])[0]];
            // Indices: iterators would keep `acc` out of the registers.
            for i in 0..ROWS {
                let a = A::splat(simd, column[i]);
                for j in 0..VECTORS {
                    acc[i][j] = A::mul_add(simd, a, b[j], acc[i][j]);
                }
            }
        }
        let c: &mut [A::Vector<S>] = cast_slice_mut(c);
        for (c, acc) in c.as_chunks_mut::<VECTORS>().0.iter_mut().zip(acc) {
            for (c, acc) in c.iter_mut().zip(acc) {
                *c = if mode == Mode::First { acc } else { A::plus(simd, *c, acc) };
            }
        }
    }
}

struct NarrowTile<'a, A, S>(Tile<'a, A, S>);

impl<A: Lanes, S: Simd> NullaryFnOnce for NarrowTile<'_, A, S> {
    type Output = ();
    /// As [`WideTile`], each partial sum rounded to f16, from what c holds.
    #[inline(always)]
    fn call(self) {
        let Tile { a, b, c, height, .. } = self.0;
        let lanes = size_of::<A::Vector<S>>() / size_of::<A>();
        for (a, row) in a.chunks_exact(height).zip(b.rows) {
            for (c, &a) in c.chunks_exact_mut(VECTORS * lanes).zip(a) {
                for (c, vector) in c.chunks_exact_mut(lanes).zip(b.vectors) {
                    let b = &b.data[row + vector..][..lanes];
                    c.iter_mut().zip(b).for_each(|(c, &b)| *c = A::mul_add_f16(a, b, *c));
                }
            }
        }
    }
}

impl<A: Lanes> Block<'_, A> {
    /// Adds the bias and rounds the block's elements into the target; `width` is that of a panel of columns.
    fn scatter<T: Element<Acc = A>>(&self, width: usize, c: &mut [A], target: &Shared<T>) {
        let Block { product, part, group, rows, columns, .. } = self;
        let layout = target.layout;
        let origin = part * layout.part + group * layout.group;
        let (mut rounded, mut runs) = (Scratch::take(), Vec::with_capacity(width));
        for (first, c) in columns.clone().step_by(width).zip(c.chunks_exact_mut(rows.len() * width)) {
            let columns = first..(first + width).min(columns.end);
            runs.clear();
            runs.extend(layout.runs(columns.clone()));
            for (row, c) in rows.clone().zip(c.chunks_exact_mut(width)) {
                match product.bias {
                    Bias::None => {}
                    Bias::Rows(bias) => {
                        let bias = bias[group * product.sizes[0] + row];
                        c.iter_mut().for_each(|c| *c += bias);
                    }
                    Bias::Columns(bias) => {
                        c.iter_mut().zip(&bias[columns.clone()]).for_each(|(c, &b)| *c += b);
                    }
                }
                for &(column, place, len) in &runs {
                    let c = &c[column - first..][..len];
                    // SAFETY: the blocks share no element of C, and each element has a place of its own.
                    #[allow(unsafe_code)]
                    unsafe {
                        target.write(origin + row * layout.row + place, c, &mut rounded);
                    }
                }
            }
        }
    }
}

/// A target that tasks write to at the same time.
struct Shared<'a, T> {
    data: *mut T,
    len: usize,
    layout: Layout,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is used in `write` alone, whose callers write to places of their own.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T: Element> Shared<'a, T> {
    fn new(Target { data, layout }: Target<'a, T>) -> Shared<'a, T> {
        Shared { data: data.as_mut_ptr(), len: data.len(), layout, borrow: PhantomData }
    }

    /// Rounds `values` to every `step`-th place from `at`.
    ///
    /// # Safety
    ///
    /// Nobody else reads or writes these places meanwhile.
    #[allow(unsafe_code)]
    unsafe fn write(&self, at: usize, values: &[T::Acc], rounded: &mut Vec<T::Acc>) {
        assert!(
            values.is_empty() || at + (values.len() - 1) * self.layout.step < self.len,
            "inside the target"
        );
        if self.layout.step == 1 {
            // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
            let to = unsafe { std::slice::from_raw_parts_mut(self.data.add(at), values.len()) };
            T::demote_into(to, rounded, |to| to.copy_from_slice(values));
        } else {
            for (i, &value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { self.data.add(at + i * self.layout.step).write(T::from_acc(value)) };
            }
        }
    }
}
