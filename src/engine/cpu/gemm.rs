//! Matrix products C `[M, N]` = A `[M, K]` B `[K, N]` of operands that are gathered from tensors.
//!
//! A is gathered once into panels of a few rows; a task owns a block of C, gathers its columns of B into panels, and
//! multiplies panel by panel with a tile of C in registers. The sum for one element of C does not depend on the tasks,
//! the panels or the width of vectors: K alone cuts it into blocks of at most [`BLOCK`] products, each block is a chain
//! of multiply-adds from 0 (fused where the processor can), and the blocks are added in order.
//!
//! With [`Product::narrow`] each partial sum is rounded to f16 instead: from 0 on,
//!   acc = f16(acc + a b)
//! where a, b and acc are halves, and acc + a b is exact before its one rounding, as in a fused multiply-add of halves.
//! A bias is one more term at the end in either case.

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::cast_slice_mut;
use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::lanes::Lanes;
use super::pack::{Columns, MAX_WIDTH, Operand, Pack};
use super::scratch::{Pooled, Scratch};
use super::target::{Arrangement, Grid, Interleaved, Raster, Target};
use crate::dtype::Element;

/// Products that one chain adds at most.
const BLOCK: usize = 256;
/// Rows of a panel of A: as many as leave registers for a row of B, with 32 and with 16 of them.
const ROWS: [usize; 2] = [MAX_ROWS, 6];
const MAX_ROWS: usize = 8;
/// Vectors in a row of a panel of B.
pub(super) const VECTORS: usize = 2;
/// Tasks that a product is cut into where it is large enough.
const TASKS: usize = 8;
/// Elements that one task of an elementwise pass takes.
const ELEMENTS: usize = super::BLOCK;

/// What is added to each element of C at the end.
#[derive(Clone, Copy)]
pub(super) enum Bias<'a, A> {
    None,
    /// One number for each row of each group.
    Rows(&'a [A]),
    /// One number for each column.
    Columns(&'a [A]),
}

/// A product, or several of equal shape: one for each group, and of that one for each part of the sum.
pub(super) struct Product<'a, A> {
    /// M, N, K.
    pub sizes: [usize; 3],
    pub groups: usize,
    /// Products that one part sums, the last one perhaps fewer; `usize::MAX` for a single part.
    pub part: usize,
    pub a: Operand<'a, A>,
    pub b: Operand<'a, A>,
    pub bias: Bias<'a, A>,
    /// Rounds each partial sum to f16.
    pub narrow: bool,
    /// Products that are left out of sums, because one factor does not exist; panels of B are then whole lines of
    /// [`Arrangement::Interleaved`].
    pub existing: Option<&'a Existing>,
}

/// Which products of a sum exist, for each line of interleaved columns: it repeats along the sum.
pub(super) struct Existing {
    period: usize,
    /// For each line those of a period, ascending.
    lines: Vec<Vec<usize>>,
}

impl Existing {
    pub fn new([lines, period]: [usize; 2], exists: impl Fn(usize, usize) -> bool) -> Existing {
        let line = |line| (0..period).filter(|&index| exists(line, index)).collect();
        Existing { period, lines: (0..lines).map(line).collect() }
    }

    /// The products of `sum` that exist for the columns of a panel, from its first one on; None for all of them.
    fn fill<'a>(
        &self,
        panel: usize,
        sum: &Range<usize>,
        indices: &'a mut [usize; BLOCK],
    ) -> Option<&'a [usize]> {
        let line = &self.lines[panel % self.lines.len()];
        if line.len() == self.period {
            return None;
        }
        let mut count = 0;
        for period in (sum.start - sum.start % self.period..sum.end).step_by(self.period) {
            for &index in line {
                // In front of the sum it wraps.
                let i = (period + index).wrapping_sub(sum.start);
                if i < sum.len() {
                    indices[count] = i;
                    count += 1;
                }
            }
        }
        Some(&indices[..count])
    }
}

/// Columns of a panel of B on this processor.
pub(super) fn panel_columns<A: Lanes>() -> usize {
    Arch::new().dispatch(PanelShape(PhantomData::<A>)).columns
}

/// Parts that the sum of a product with few elements is cut into, to make more tasks.
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

impl<A: Lanes> Product<'_, A> {
    /// Computes C `[groups, M, N]`, the parts of its sums added in order, each element rounded once to `T`. The
    /// columns of the product are those of the arrangement.
    pub fn store_matrix<T: Element<Acc = A>>(&self, target: &mut [T], arrangement: Arrangement) {
        let (m, parts, len) = (self.sizes[0], self.parts(), target.len());
        if len == 0 {
            return;
        }
        let n = len / (self.groups * m);
        if parts == 1 {
            self.store(Target::matrix(target, [1, self.groups, m, n], arrangement));
            return;
        }
        let mut scratch = Scratch::shared();
        let partial = scratch.aligned(parts * len);
        self.store(Target::matrix(&mut *partial, [parts, self.groups, m, n], arrangement));
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

    /// Computes C and puts it into `[images, groups, M, H, W]`: its columns are pixels of a grid in each plane. Tells
    /// whether an element is NaN.
    pub fn store_planes<T: Element<Acc = A>>(
        &self,
        target: &mut [T],
        images: usize,
        plane: [usize; 2],
        grid: [Grid; 2],
        raster: Raster,
    ) -> bool {
        assert_eq!(self.parts(), 1, "nobody adds parts");
        self.store(Target::planes(target, [images, self.groups, self.sizes[0]], plane, grid, raster))
    }

    /// As [`Product::store_planes`] of all pixels, of images that are interleaved in panels; there is no NaN to look for.
    pub fn store_interleaved_planes<T: Element<Acc = A>>(
        &self,
        target: &mut [T],
        images: usize,
        plane: usize,
    ) {
        assert_eq!(self.parts(), 1, "nobody adds parts");
        let sizes = [images, self.groups, self.sizes[0]];
        self.store(Target::interleaved_planes(target, sizes, plane, panel_columns::<A>()));
    }

    fn parts(&self) -> usize {
        self.sizes[2].div_ceil(self.part).max(1)
    }

    /// The blocks of a part's sum, as equal as can be.
    fn blocks(&self, part: usize) -> impl Iterator<Item = Range<usize>> + use<A> {
        let start = part * self.part;
        let end = start.saturating_add(self.part).min(self.sizes[2]);
        let len = (end - start).div_ceil((end - start).div_ceil(BLOCK).max(1)).max(1);
        (start..end).step_by(len).map(move |first| first..(first + len).min(end))
    }

    fn store<T: Element<Acc = A>>(&self, target: Target<T>) -> bool {
        self.store_on(Arch::new(), target)
    }

    fn store_on<T: Element<Acc = A>>(&self, arch: Arch, target: Target<T>) -> bool {
        let [m, n, k] = self.sizes;
        assert_eq!(target.columns(), n, "a place for each column");
        if m == 0 || n == 0 {
            return false;
        }
        let panel = arch.dispatch(PanelShape(PhantomData::<A>));
        let mut scratch = Scratch::shared();
        let packed = scratch.aligned(self.groups * m * k);
        self.pack_a(arch, panel.rows, packed);
        let packed = &*packed;
        let [m_block, n_block] = self.cut();
        let m_block = m_block.next_multiple_of(panel.rows);
        let (m_blocks, n_blocks) = (m.div_ceil(m_block), n.div_ceil(n_block));
        let tasks = (0..self.parts() * self.groups * n_blocks * m_blocks).into_par_iter();
        let store = |task: usize| {
            let (task, m_first) = (task / m_blocks, task % m_blocks * m_block);
            let (task, n_first) = (task / n_blocks, task % n_blocks * n_block);
            let block = Block {
                product: self,
                packed,
                panel,
                part: task / self.groups,
                group: task % self.groups,
                rows: m_first..(m_first + m_block).min(m),
                columns: n_first..(n_first + n_block).min(n),
            };
            let mut scratch = Scratch::growing();
            let c = scratch.aligned(block.rows.len() * block.columns.len().next_multiple_of(panel.columns));
            arch.dispatch(Multiply { block: &block, c: &mut *c });
            block.store(c, &target)
        };
        tasks.map(store).reduce(|| false, |a, b| a | b)
    }

    /// Rows and columns of C in one task: enough tasks for several threads, and little gathered twice.
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
        const LEAST: usize = 1 << 12;
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
        let together = (LEAST / (m * k.min(BLOCK)).max(1)).max(1);
        pieces.into_par_iter().with_min_len(together).for_each(|(group, sum, piece)| {
            arch.dispatch(PackA { product: self, rows, group, sum, piece });
        });
    }
}

/// Rows of a panel of A and columns of a panel of B on this processor.
#[derive(Clone, Copy)]
struct Panel {
    rows: usize,
    columns: usize,
}

struct PanelShape<A>(PhantomData<A>);

impl<A: Lanes> WithSimd for PanelShape<A> {
    type Output = Panel;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Panel {
        let rows = ROWS[if S::REGISTER_COUNT >= 32 { 0 } else { 1 }];
        let columns = VECTORS * A::lanes::<S>();
        assert!(columns <= MAX_WIDTH, "a panel that wide");
        Panel { rows, columns }
    }
}

struct PackA<'a, A> {
    product: &'a Product<'a, A>,
    rows: usize,
    group: usize,
    sum: Range<usize>,
    piece: &'a mut [A],
}

impl<A: Lanes> WithSimd for PackA<'_, A> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let PackA { product, rows, group, sum, piece } = self;
        let m = product.sizes[0];
        for (first, panel) in (0..m).step_by(rows).zip(piece.chunks_mut(rows * sum.len())) {
            let mut columns = Columns::new(rows.min(m - first));
            columns.set(&product.a, group, first..(first + rows).min(m));
            simd.vectorize(Pack { simd, operand: &product.a, sum: sum.clone(), columns: &columns, panel });
        }
    }
}

/// The part of C that one task computes.
struct Block<'a, A> {
    product: &'a Product<'a, A>,
    /// All of A, in panels.
    packed: &'a [A],
    panel: Panel,
    part: usize,
    group: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Computes a block of C as `[panels of B, rows, columns of a panel]`.
struct Multiply<'a, A> {
    block: &'a Block<'a, A>,
    c: &'a mut [A],
}

impl<A: Lanes> WithSimd for Multiply<'_, A> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Multiply { block: &Block { product, packed, panel, part, group, ref rows, ref columns }, c } =
            self;
        let ([m, _, k], operand, width) = (product.sizes, &product.b, panel.columns);
        let lanes = A::lanes::<S>();
        let mut scratch = Scratch::growing();
        let gathered = scratch.aligned(BLOCK * width);
        let gathered_rows: [usize; BLOCK] = std::array::from_fn(|row| row * width);
        let (mut places, mut free) = ([0; BLOCK], Columns::new(width));
        let mut indices = [0; BLOCK];
        if product.narrow || product.blocks(part).next().is_none() {
            c.fill(A::ZERO);
        }
        for (i, sum) in product.blocks(part).enumerate() {
            let mode = match i {
                _ if product.narrow => Mode::Narrow,
                0 => Mode::First,
                _ => Mode::Add,
            };
            let places = &mut places[..sum.len()];
            let last = operand.sum.fill(sum.clone(), places);
            let a = &packed[(group * k + sum.start) * m..][..sum.len() * m];
            let firsts = columns.clone().step_by(width);
            for (first, c) in firsts.zip(c.chunks_exact_mut(rows.len() * width)) {
                let range = first..(first + width).min(columns.end);
                if let Some(existing) = product.existing {
                    let place = operand.consecutive(group, &range).expect("a panel in one piece");
                    let indices = existing.fill(first / width, &sum, &mut indices);
                    let b = Rows { data: operand.data, rows: places, vectors: [place, place + lanes] };
                    for (first, c) in rows.clone().step_by(panel.rows).zip(c.chunks_mut(panel.rows * width)) {
                        let height = c.len() / width;
                        let a = &a[first * sum.len()..][..height * sum.len()];
                        Tile { simd, a, indices, b, c, mode }.multiply(height);
                    }
                    continue;
                }
                let inside = |v: &[usize; VECTORS]| v.iter().all(|v| v + last + lanes <= operand.data.len());
                let line = operand.consecutive(group, &range).filter(|_| range.len() == width);
                let direct = line.map(|place| [place, place + lanes]).filter(inside).or_else(|| {
                    free.set(operand, group, range);
                    free.vectors(lanes).filter(inside)
                });
                let b = match direct {
                    Some(vectors) => Rows { data: operand.data, rows: places, vectors },
                    None => {
                        let panel = &mut gathered[..sum.len() * width];
                        let sum = sum.clone();
                        simd.vectorize(Pack { simd, operand, sum, columns: &free, panel: &mut *panel });
                        let vectors = std::array::from_fn(|i| i * lanes);
                        Rows { data: panel, rows: &gathered_rows[..places.len()], vectors }
                    }
                };
                for (first, c) in rows.clone().step_by(panel.rows).zip(c.chunks_mut(panel.rows * width)) {
                    let height = c.len() / width;
                    let a = &a[first * sum.len()..][..height * sum.len()];
                    Tile { simd, a, indices: None, b, c, mode }.multiply(height);
                }
            }
        }
    }
}

/// Rows of B: vector j of row i begins at `rows[i] + vectors[j]`.
#[derive(Clone, Copy)]
struct Rows<'a, A> {
    data: &'a [A],
    rows: &'a [usize],
    vectors: [usize; VECTORS],
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// c = a b
    First,
    /// c += a b
    Add,
    /// c += a b with each partial sum rounded to f16
    Narrow,
}

/// A tile of C `[height, vectors]`, a panel of A `[sum, height]` and rows of B `[sum, vectors]`, or of those rows of both
/// that `indices` names.
struct Tile<'a, A, S> {
    simd: S,
    a: &'a [A],
    indices: Option<&'a [usize]>,
    b: Rows<'a, A>,
    c: &'a mut [A],
    mode: Mode,
}

impl<A: Lanes, S: Simd> Tile<'_, A, S> {
    fn multiply(self, height: usize) {
        if self.mode == Mode::Narrow {
            self.simd.vectorize(NarrowTile(self));
        } else if self.indices.is_some() {
            self.multiply_rows::<true>(height);
        } else {
            self.multiply_rows::<false>(height);
        }
    }

    #[inline(always)]
    fn multiply_rows<const INDEXED: bool>(self, height: usize) {
        match height {
            1 => self.multiply_wide::<1, INDEXED>(),
            2 => self.multiply_wide::<2, INDEXED>(),
            3 => self.multiply_wide::<3, INDEXED>(),
            4 => self.multiply_wide::<4, INDEXED>(),
            5 => self.multiply_wide::<5, INDEXED>(),
            6 => self.multiply_wide::<6, INDEXED>(),
            7 => self.multiply_wide::<7, INDEXED>(),
            MAX_ROWS => self.multiply_wide::<MAX_ROWS, INDEXED>(),
            _ => unreachable!("a panel has 1 to {MAX_ROWS} rows"),
        }
    }

    /// Not inlined, so that nothing else wants the registers.
    #[inline(never)]
    fn multiply_wide<const HEIGHT: usize, const INDEXED: bool>(self) {
        self.simd.vectorize(WideTile::<A, S, HEIGHT, INDEXED>(self));
    }
}

struct WideTile<'a, A, S, const HEIGHT: usize, const INDEXED: bool>(Tile<'a, A, S>);

impl<A: Lanes, S: Simd, const HEIGHT: usize, const INDEXED: bool> NullaryFnOnce
    for WideTile<'_, A, S, HEIGHT, INDEXED>
{
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Tile { simd, a, indices, b: Rows { data, rows, vectors }, c, mode } = self.0;
        let lanes = A::lanes::<S>();
        let mut acc = [[A::splat(simd, A::ZERO); VECTORS]; HEIGHT];
        let [left, right] = vectors.map(|place| &data[place..]);
        let (columns, _) = a.as_chunks::<HEIGHT>();
        let chosen = if INDEXED { indices.expect("the rows to multiply") } else { rows };
        for (next, &index) in chosen.iter().enumerate() {
            let (column, row) =
                if INDEXED { (&columns[index], rows[index]) } else { (&columns[next], index) };
            let b = [A::load(simd, &left[row..row + lanes]), A::load(simd, &right[row..row + lanes])];
            // Indices: iterators would keep `acc` out of the registers.
            for i in 0..HEIGHT {
                let a = A::splat(simd, column[i]);
                for j in 0..VECTORS {
                    acc[i][j] = A::mul_add(simd, a, b[j], acc[i][j]);
                }
            }
        }
        let c: &mut [A::Vector<S>] = cast_slice_mut(c);
        for (c, acc) in c.iter_mut().zip(acc.as_flattened()) {
            *c = if mode == Mode::First { *acc } else { A::sum(simd, *c, *acc) };
        }
    }
}

struct NarrowTile<'a, A, S>(Tile<'a, A, S>);

impl<A: Lanes, S: Simd> NullaryFnOnce for NarrowTile<'_, A, S> {
    type Output = ();
    #[inline(always)]
    fn call(self) {
        let Tile { a, b: Rows { data, rows, vectors }, c, .. } = self.0;
        let lanes = A::lanes::<S>();
        let height = c.len() / (VECTORS * lanes);
        for (a, row) in a.chunks_exact(height).zip(rows) {
            for (c, &a) in c.chunks_exact_mut(VECTORS * lanes).zip(a) {
                for (c, place) in c.chunks_exact_mut(lanes).zip(vectors) {
                    let b = &data[row + place..][..lanes];
                    c.iter_mut().zip(b).for_each(|(c, &b)| *c = A::mul_add_f16(a, b, *c));
                }
            }
        }
    }
}

impl<A: Lanes> Block<'_, A> {
    /// Adds the bias and rounds the elements to their places. Tells whether one is NaN.
    fn store<T: Element<Acc = A>>(&self, c: &mut [A], target: &Target<T>) -> bool {
        if let Some(interleaved) = target.interleaved() {
            self.store_interleaved(c, target, interleaved);
            return false;
        }
        let mut nan = false;
        let Block { product, part, group, ref rows, ref columns, panel, .. } = *self;
        let (mut scratch, mut runs) = (Scratch::take(), Vec::with_capacity(panel.columns));
        let panels = c.chunks_exact_mut(rows.len() * panel.columns);
        for (first, c) in columns.clone().step_by(panel.columns).zip(panels) {
            let columns = first..(first + panel.columns).min(columns.end);
            runs.clear();
            runs.extend(target.runs(columns.clone()));
            for (row, c) in rows.clone().zip(c.chunks_exact_mut(panel.columns)) {
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
                let origin = target.row(part, group, row);
                for &(column, place, len) in &runs {
                    let c = &c[column - first..][..len];
                    nan |= c.iter().fold(false, |nan, v| nan | v.is_nan());
                    // SAFETY: the blocks of the tasks share no element of C.
                    #[allow(unsafe_code)]
                    unsafe {
                        target.write(origin + place, c, &mut scratch);
                    }
                }
            }
        }
        nan
    }

    /// Likewise, where the lanes of a panel are far from each other in the target, but those of the panels that follow
    /// are not.
    fn store_interleaved<T: Element<Acc = A>>(&self, c: &[A], target: &Target<T>, interleaved: Interleaved) {
        // Enough for the lines of a 3x3 kernel.
        const PANELS: usize = 9;
        let Block { product, part, group, ref rows, ref columns, panel, .. } = *self;
        let Interleaved { width, lines, count, stride } = interleaved;
        assert!(width == panel.columns && columns.len().is_multiple_of(width), "whole panels");
        let bias = match product.bias {
            Bias::None => None,
            Bias::Rows(bias) => Some(&bias[group * product.sizes[0]..]),
            Bias::Columns(_) => unreachable!("interleaved columns have no bias"),
        };
        let (mut scratch, mut square) = (Scratch::take(), [A::ZERO; PANELS * MAX_WIDTH]);
        let (mut first, end) = (columns.start / width, columns.end / width);
        let mut panels = c.chunks_exact(rows.len() * width);
        while first < end {
            let (outer, line) = (first / lines, first % lines);
            let number = PANELS.min(lines - line).min(end - first);
            let lanes = width.min(count - outer * width);
            let group_of_panels: [&[A]; PANELS] =
                std::array::from_fn(|i| if i < number { panels.next().expect("a panel") } else { &[] });
            for (i, row) in rows.clone().enumerate() {
                for (j, panel) in group_of_panels[..number].iter().enumerate() {
                    let values = &panel[i * width..][..lanes];
                    for (place, &value) in square[j..].iter_mut().step_by(number).zip(values) {
                        *place = match bias {
                            Some(bias) => value + bias[row],
                            None => value,
                        };
                    }
                }
                let origin = target.row(part, group, row) + outer * width * stride + line;
                // Whole lines lie side by side.
                let run = if number == stride { lanes * number } else { number };
                for (i, values) in square[..lanes * number].chunks_exact(run).enumerate() {
                    // SAFETY: the blocks of the tasks share no element of C.
                    #[allow(unsafe_code)]
                    unsafe {
                        target.write(origin + i * stride, values, &mut scratch);
                    }
                }
            }
            first += number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::pack::Places;

    /// `a` is `[K, M]`, `b` is `[N, K]`, so that one is copied and the other transposed.
    fn product<'a, A: Lanes>(sizes: [usize; 3], a: &'a [A], b: &'a [A]) -> Product<'a, A> {
        let [m, n, k] = sizes;
        let rows = |data, rows, columns| Operand {
            data,
            sum: Places::line(rows, columns),
            free: Places::line(columns, 1),
            group: 0,
        };
        let (a, b) = (rows(a, k, m), rows(b, n, k).t());
        Product { sizes, groups: 1, part: usize::MAX, a, b, bias: Bias::None, narrow: false, existing: None }
    }

    fn results<A: Lanes>(sizes: [usize; 3], numbers: impl Fn(usize) -> f64) -> Vec<(Arch, Vec<A>)> {
        let [m, n, k] = sizes;
        let make = |len: usize, salt: usize| -> Vec<A> {
            (0..len).map(|i| A::from_f64(numbers(i * 7 + salt))).collect()
        };
        let (a, b) = (make(k * m, 1), make(n * k, 2));
        #[allow(unused_mut)]
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        let on = |arch: Arch| {
            let mut c = vec![A::NAN; m * n];
            product(sizes, &a, &b).store_on(arch, Target::matrix(&mut c, [1, 1, m, n], Arrangement::Dense));
            (arch, c)
        };
        archs.into_iter().map(on).collect()
    }

    const SIZES: [[usize; 3]; 7] =
        [[1, 1, 1], [8, 32, 192], [13, 37, 401], [70, 33, 16], [6, 100, 25], [40, 7, 1], [3, 5, 0]];

    #[test]
    fn vectors_of_any_width_give_the_same_sums() {
        for sizes in SIZES {
            // Whole numbers: fused or not makes no difference.
            let results = results::<f32>(sizes, |i| (i % 11) as f64 - 5.0);
            for (arch, c) in &results {
                assert!(*c == results[0].1, "{arch:?} {sizes:?}");
            }
        }
    }

    #[test]
    fn fused_sums_have_the_same_bits_for_any_width() {
        let noise = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) as f64 / 2f64.powi(31) - 1.0;
        for sizes in SIZES {
            let (single, double) = (results::<f32>(sizes, noise), results::<f64>(sizes, noise));
            // The first one does not fuse.
            assert!(single[1..].windows(2).all(|pair| pair[0].1 == pair[1].1), "{sizes:?}");
            assert!(double[1..].windows(2).all(|pair| pair[0].1 == pair[1].1), "{sizes:?}");
        }
    }
}
