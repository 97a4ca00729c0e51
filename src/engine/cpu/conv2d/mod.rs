//! Convolution as matrix products whose operands are gathered on the way: nothing is unfolded in memory.
//!
//! Each of the G groups is a convolution of its own. With O' = O / G, C' = C / G:
//!   forward          y  `[O', (N,OH,OW)]` = weight `[O', (C',KH,KW)]` x `[(C',KH,KW), (N,OH,OW)]` + bias
//!   backward input   gx `[C', (N,H,W)]` = weight `[C', (O',KH,KW)]` gy `[(O',KH,KW), (N,H,W)]`, kernel elements from the
//!                    last to the first
//!   backward weight  gweight `[O', (C',KH,KW)]` = gy `[O', (N,OH,OW)]` x `[(N,OH,OW), (C',KH,KW)]`,
//!                    gbias `[O]` = sum of gy over N, OH, OW
//!
//! where x and gy stand for the element that kernel element and pixel meet, 0 in the padding. With a stride s, the
//! gradients of every s-th row and column of x form a product of their own, with the kernel elements that reach them.

mod border;
mod interleaved;

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Bias, Product, VECTORS, panel_columns, parts, promote_all};
use super::lanes::Lanes;
use super::pack::{Offsets, Operand, Places};
use super::scratch::Scratch;
use super::sum::sum_planes;
use super::target::{Arrangement, Grid, Raster};
use crate::dtype::Element;
use crate::shape::Conv2dGeometry;
use interleaved::Reaches;

/// Elements that one task of an elementwise pass takes.
const ELEMENTS: usize = super::BLOCK;

pub(super) fn forward<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    narrow: bool,
    y: &mut [T],
) {
    let (m, k) = (g.out_channels / g.groups, g.patch_len());
    let (mut x_scratch, mut weight_scratch) = (Scratch::shared(), Scratch::shared());
    let mut bias_scratch = Scratch::take();
    let weight = promote_all(weight, &mut weight_scratch);
    let bias = bias.map_or(Bias::None, |bias| Bias::Rows(T::promote(bias, &mut bias_scratch)));
    let a = Operand { data: weight, sum: Places::line(k, 1), free: Places::line(m, k), group: m * k };
    let reaches = Reaches::of_x::<T::Acc>(g);
    if !narrow && reaches.worth(g.batch, [m, k]) {
        return interleave_blocks(g.batch, x, y, |images, x, y| {
            reaches.planes(x, [images, g.groups, g.in_channels / g.groups], m, a, bias, y);
        });
    }
    let view = ImageView::of_x(g);
    let (raster, patch) = (view.raster(m), view.patch(g.in_channels / g.groups));
    let mut nan = false;
    for images in blocks(g.batch, view.len()) {
        let samples: Vec<usize> = images.clone().collect();
        let image = view.images(x, &samples, &mut x_scratch);
        let pixels = image.pixels(raster);
        let product = Product {
            sizes: [m, pixels.len(), k],
            groups: g.groups,
            part: usize::MAX,
            a,
            b: image.operand(&patch, &pixels, g.groups),
            bias,
            narrow,
            existing: None,
        };
        let len = g.out_channels * g.output_pixels();
        let y = &mut y[images.start * len..images.end * len];
        nan |= product.store_planes(y, images.len(), g.output, g.output.map(Grid::all), raster);
    }
    if nan && view.has_zeros() {
        border::repair_y(g, x, weight, bias, narrow, y);
    }
}

pub(super) fn backward_input<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    gy: &[T],
    weight: &[T],
    narrow: bool,
    gx: &mut [T],
) {
    let (m, o, area) = (g.in_channels / g.groups, g.out_channels / g.groups, g.window.len());
    let (mut gy_scratch, mut weight_scratch) = (Scratch::shared(), Scratch::shared());
    let weight = promote_all(weight, &mut weight_scratch);
    let phases = [0, 1].map(|axis| Phase::all(g, axis));
    let [rows, columns] = phases.each_ref().map(|all| all.iter().filter(|phase| !phase.taps.is_empty()));
    if phases.iter().flatten().any(|phase| phase.taps.is_empty()) {
        gx.par_chunks_mut(ELEMENTS).for_each(|gx| gx.fill(T::ZERO));
    }
    let (mut nan, mut has_zeros) = (false, false);
    for (rows, columns) in rows.flat_map(|rows| columns.clone().map(move |columns| (rows, columns))) {
        let axes = [rows.axis(g.output[0]), columns.axis(g.output[1])];
        let view = ImageView { channels: g.out_channels, size: g.output, axes };
        let (raster, patch) = (view.raster(m), view.patch(o));
        let starts = |o: usize| {
            rows.taps.iter().map(move |kh| o * m * area + kh * g.window.kernel[1] + columns.taps[0])
        };
        let taps = Offsets {
            starts: (0..o).flat_map(starts).collect(),
            run: columns.taps.len(),
            step: columns.taps.get(1).map_or(0, |&kw| kw as isize - columns.taps[0] as isize),
        };
        let a =
            Operand { data: weight, sum: taps.places(), free: Places::line(m, area), group: o * m * area };
        let reaches = Reaches::of_gy::<T::Acc>(g);
        if !narrow && g.window.stride == [1, 1] && reaches.worth(g.batch, [m, taps.len()]) {
            return interleave_blocks(g.batch, gy, gx, |images, gy, gx| {
                reaches.planes(gy, [images, g.groups, o], m, a, Bias::None, gx);
            });
        }
        for images in blocks(g.batch, view.len()) {
            let samples: Vec<usize> = images.clone().collect();
            let image = view.images(gy, &samples, &mut gy_scratch);
            let pixels = image.pixels(raster);
            let product = Product {
                sizes: [m, pixels.len(), taps.len()],
                groups: g.groups,
                part: usize::MAX,
                a,
                b: image.operand(&patch, &pixels, g.groups),
                bias: Bias::None,
                narrow,
                existing: None,
            };
            let len = g.in_channels * g.input[0] * g.input[1];
            let gx = &mut gx[images.start * len..images.end * len];
            nan |= product.store_planes(gx, images.len(), g.input, [rows.grid, columns.grid], raster);
        }
        has_zeros |= view.has_zeros();
    }
    if nan && has_zeros {
        border::repair_gx(g, gy, weight, narrow, gx);
    }
}

/// `order` is that in which the sums visit the samples, if it is not their own.
pub(super) fn backward_weight<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    x: &[T],
    gy: &[T],
    order: Option<&[u32]>,
    narrow: bool,
    gweight: &mut [T],
    gbias: Option<&mut [T]>,
) {
    let (m, n, p) = (g.out_channels / g.groups, g.patch_len(), g.output_pixels());
    let (mut x_scratch, mut gy_scratch) = (Scratch::shared(), Scratch::shared());
    let samples: Vec<usize> = (0..g.batch).map(|i| order.map_or(i, |order| order[i] as usize)).collect();
    if let Some(gbias) = gbias {
        sum_planes(gy, &samples, p, narrow, gbias);
    }
    let (x_view, gy_view) = (ImageView::of_x(g), ImageView::whole(g.out_channels, g.output));
    let (patch, channels) = (x_view.patch(g.in_channels / g.groups), gy_view.patch(m));
    // A chain of rounded sums is one product.
    let in_memory = if narrow { 0 } else { x_view.len() + gy_view.len() };
    let blocks: Vec<Range<usize>> = blocks(g.batch, in_memory).collect();
    let reaches = Reaches::of_x::<T::Acc>(g);
    let interleave = !narrow && reaches.worth(g.in_channels / g.groups, [m, g.batch * p]);
    let lanes = panel_columns::<T::Acc>() / VECTORS;
    let mut store = |images: Range<usize>, target: Sum<T>| {
        let samples = &samples[images];
        let gy_image = gy_view.images(gy, samples, &mut gy_scratch);
        let gy_pixels = gy_image.pixels(gy_view.dense());
        let parts = if narrow { 1 } else { parts(m, n, g.groups).min(samples.len()) };
        let (a, part) =
            (gy_image.operand(&gy_pixels, &channels, g.groups), samples.len().div_ceil(parts) * p);
        let store = |product: Product<T::Acc>, arrangement| match target {
            Sum::Rounded(target) => product.store_matrix(target, arrangement),
            Sum::Exact(target) => product.store_matrix(target, arrangement),
        };
        if interleave {
            return reaches.weights(x, samples, [g.groups, g.in_channels / g.groups], m, (a, part), store);
        }
        let image = x_view.images(x, samples, &mut x_scratch);
        let (pixels, (patch, arrangement)) = (image.pixels(x_view.dense()), x_view.gapped(&patch, m, lanes));
        let product = Product {
            sizes: [m, patch.len(), samples.len() * p],
            groups: g.groups,
            part,
            a,
            b: image.operand(&pixels, &patch, g.groups),
            bias: Bias::None,
            narrow,
            existing: None,
        };
        store(product, arrangement);
    };
    match &blocks[..] {
        [] => gweight.fill(T::ZERO),
        [block] => store(block.clone(), Sum::Rounded(gweight)),
        blocks => {
            let (mut sum, mut term) = (Scratch::shared(), Scratch::shared());
            let (sum, term) = (sum.aligned(gweight.len()), term.aligned(gweight.len()));
            sum.fill(T::Acc::ZERO);
            for block in blocks {
                store(block.clone(), Sum::Exact(term));
                sum.par_iter_mut().zip(&*term).for_each(|(sum, &term)| *sum += term);
            }
            gweight.par_iter_mut().zip(&*sum).for_each(|(gweight, &sum)| *gweight = T::from_acc(sum));
        }
    }
}

/// Calls `body(number of images, source, target)` for blocks of whole panels of images, the source in the accumulate type.
fn interleave_blocks<T: Element<Acc: Lanes>>(
    batch: usize,
    source: &[T],
    target: &mut [T],
    body: impl Fn(usize, &[T::Acc], &mut [T]),
) {
    let (from, to) = (source.len() / batch.max(1), target.len() / batch.max(1));
    let images = images_in_memory(from).next_multiple_of(panel_columns::<T::Acc>());
    let mut scratch = Scratch::shared();
    for (source, target) in source.chunks(images * from).zip(target.chunks_mut(images * to)) {
        body(source.len() / from, promote_all(source, &mut scratch), target);
    }
}

/// Where a sum over samples goes.
enum Sum<'a, T: Element> {
    Rounded(&'a mut [T]),
    Exact(&'a mut [T::Acc]),
}

/// Ranges of images whose copies of `len` elements each are in memory at the same time.
fn blocks(batch: usize, len: usize) -> impl Iterator<Item = Range<usize>> {
    let images = images_in_memory(len);
    (0..batch).step_by(images).map(move |first| first..(first + images).min(batch))
}

/// Images of `len` elements whose copies are in memory at the same time.
fn images_in_memory(len: usize) -> usize {
    const ELEMENTS: usize = if cfg!(test) { 1 << 12 } else { 1 << 24 };
    (ELEMENTS / len.max(1)).max(1)
}

/// Rows (or columns) of x a stride apart, and the kernel elements whose gradients reach them.
struct Phase {
    grid: Grid,
    /// From the last to the first.
    taps: Vec<usize>,
    /// The row of gy that meets the first row of the phase, for each tap; one further for each further row.
    rows: Vec<isize>,
}

impl Phase {
    fn all(g: &Conv2dGeometry, axis: usize) -> Vec<Phase> {
        let (stride, padding) = (g.window.stride[axis], g.window.padding[axis]);
        let (kernel, dilation) = (g.window.kernel[axis], g.window.dilation[axis]);
        let phase = |first: usize| {
            // Row h of x takes from row (h + padding - tap dilation) / stride of gy, where that is a whole number.
            let distance = |tap: usize| (first + padding) as isize - (tap * dilation) as isize;
            let meets = |&tap: &usize| distance(tap) % stride as isize == 0;
            let taps: Vec<usize> = (0..kernel).rev().filter(meets).collect();
            let rows = taps.iter().map(|&tap| distance(tap) / stride as isize).collect();
            let count = (g.input[axis] - first).div_ceil(stride);
            Phase { grid: Grid { first, step: stride, count }, taps, rows }
        };
        (0..stride.min(g.input[axis])).map(phase).collect()
    }

    fn axis(&self, output: usize) -> Axis {
        Axis::new(self.grid.count, 1, self.rows.clone(), output)
    }
}

/// How the positions and kernel elements (taps) of one axis meet the elements of an image: position i and tap j
/// meet element `i * step + taps[j]` of a line of the image that is laid out for it.
struct Axis {
    positions: usize,
    step: usize,
    /// At least one; equally spaced, ascending.
    taps: Vec<usize>,
    /// Length of a line.
    len: usize,
    /// The parts of a line that are parts of the original one, (place, original place, length), all else 0; None
    /// where the line is the original.
    parts: Option<Vec<(usize, usize, usize)>>,
}

impl Axis {
    /// Position i and tap j meet element `i * stride + taps[j]` of the `len` original ones, or 0 outside of them.
    fn new(positions: usize, stride: usize, taps: Vec<isize>, len: usize) -> Axis {
        let (first, last) = (taps[0], taps[taps.len() - 1]);
        let reach = positions.saturating_sub(1) * stride + (last - first) as usize + 1;
        let unfolded = positions * taps.len();
        let inside = first >= 0 && first as usize + reach <= len;
        if inside && (stride == 1 || reach <= unfolded) {
            let taps = taps.iter().map(|&t| t as usize).collect();
            return Axis { positions, step: stride, taps, len, parts: None };
        }
        if reach <= unfolded {
            // With zeros around.
            let start = (-first).max(0);
            let end = (len as isize - first).min(reach as isize);
            let part =
                (start < end).then(|| (start as usize, (start + first) as usize, (end - start) as usize));
            let taps = taps.iter().map(|&t| (t - first) as usize).collect();
            return Axis {
                positions,
                step: stride,
                taps,
                len: reach,
                parts: Some(part.into_iter().collect()),
            };
        }
        // Less without the gaps: the elements that each position meets, side by side.
        let count = taps.len();
        let element = |at: usize| (at / count * stride) as isize + taps[at % count];
        let inside = |&at: &usize| (0..len as isize).contains(&element(at));
        let parts = (0..unfolded).filter(inside).map(|at| (at, element(at) as usize, 1)).collect();
        Axis { positions, step: count, taps: (0..count).collect(), len: unfolded, parts: Some(parts) }
    }

    /// Distance between neighbouring taps.
    fn spacing(&self) -> usize {
        self.taps.get(1).map_or(1, |second| second - self.taps[0])
    }
}

/// How the elements of images are seen: `[N, C, lines, columns]`, so that each position and tap meets an element.
struct ImageView {
    channels: usize,
    /// Height and width of the original planes.
    size: [usize; 2],
    axes: [Axis; 2],
}

impl ImageView {
    /// What kernel elements meet at output pixels.
    fn of_x(g: &Conv2dGeometry) -> ImageView {
        let axes = [0, 1].map(|i| {
            let (kernel, padding) = (g.window.kernel[i], g.window.padding[i] as isize);
            let taps = (0..kernel).map(|tap| (tap * g.window.dilation[i]) as isize - padding);
            Axis::new(g.output[i], g.window.stride[i], taps.collect(), g.input[i])
        });
        ImageView { channels: g.in_channels, size: g.input, axes }
    }

    /// Each pixel by itself.
    fn whole(channels: usize, size: [usize; 2]) -> ImageView {
        ImageView { channels, size, axes: size.map(|len| Axis::new(len, 1, vec![0], len)) }
    }

    /// Whether positions and taps meet zeros that no image holds.
    fn has_zeros(&self) -> bool {
        self.axes.iter().any(|axis| axis.parts.is_some())
    }

    fn plane(&self) -> usize {
        self.axes[0].len * self.axes[1].len
    }

    /// Elements of an image.
    fn len(&self) -> usize {
        self.channels * self.plane()
    }

    /// The positions alone.
    fn dense(&self) -> Raster {
        let [rows, columns] = &self.axes;
        Raster { line: columns.positions, image: rows.positions * columns.positions }
    }

    /// The best raster for a product with `m` rows: the positions alone, or what lies between them too, so that whole
    /// vectors are found in the image and nothing needs to be gathered.
    fn raster(&self, m: usize) -> Raster {
        const VECTOR: usize = 16;
        let ([rows, columns], dense) = (&self.axes, self.dense());
        let between = columns.len.saturating_sub(columns.positions);
        let worth = between > 0 && between * m <= 12 * columns.positions;
        if !worth || columns.positions.is_multiple_of(VECTOR) || rows.step != 1 || columns.step != 1 {
            return dense;
        }
        let image = (rows.positions - 1) * columns.len + columns.positions;
        Raster { line: columns.len, image: image.next_multiple_of(VECTOR) }
    }

    /// The taps of some channels, row by row.
    fn patch(&self, channels: usize) -> Offsets {
        let ([rows, columns], plane) = (&self.axes, self.plane());
        if rows.taps.len() * columns.taps.len() == 1 {
            let first = rows.taps[0] * columns.len + columns.taps[0];
            return Offsets { starts: vec![first], run: channels, step: plane as isize };
        }
        let line =
            |c: usize| rows.taps.iter().map(move |row| c * plane + row * columns.len + columns.taps[0]);
        let starts = (0..channels).flat_map(line).collect();
        Offsets { starts, run: columns.taps.len(), step: columns.spacing() as isize }
    }

    /// A patch as the columns of a product with `m` rows: where each line of taps nearly fills vectors of `lanes`, with
    /// what follows it in the image, so that whole vectors are found there and nothing needs to be gathered.
    fn gapped<'a>(&self, patch: &'a Offsets, m: usize, lanes: usize) -> (Cow<'a, Offsets>, Arrangement) {
        let (run, line) = (patch.run, patch.run.next_multiple_of(lanes));
        let worth = patch.step == 1 && line > run && (line - run) * m <= 12 * run;
        if !worth {
            return (Cow::Borrowed(patch), Arrangement::Dense);
        }
        let columns = Offsets { starts: patch.starts.clone(), run: line, step: 1 };
        (Cow::Owned(columns), Arrangement::Gapped { run, line })
    }

    /// The images of some samples in the accumulate type, copied only where that or the view needs it.
    fn images<'a, T: Element<Acc: Lanes>>(
        &'a self,
        x: &'a [T],
        samples: &[usize],
        scratch: &'a mut Scratch<T::Acc>,
    ) -> Images<'a, T::Acc> {
        let ([h, w], [rows, columns], plane) = (self.size, &self.axes, self.plane());
        let original = self.channels * h * w;
        if rows.parts.is_none() && columns.parts.is_none() && size_of::<T>() == size_of::<T::Acc>() {
            let starts = samples.iter().map(|n| n * original).collect();
            return Images { view: self, data: T::promote(x, scratch), starts };
        }
        let data = scratch.aligned(samples.len() * self.len());
        let channels = (ELEMENTS / plane.max(1)).max(1);
        let all = |len| vec![(0, 0, len)];
        let row_parts = rows.parts.clone().unwrap_or_else(|| all(h));
        let column_parts = columns.parts.clone().unwrap_or_else(|| all(w));
        data.par_chunks_mut(self.len()).zip(samples).for_each(|(data, n)| {
            let x = x[n * original..][..original].par_chunks(channels * h * w);
            data.par_chunks_mut(channels * plane).zip(x).for_each(|(data, x)| {
                let mut scratch = Scratch::take();
                let x = T::promote(x, &mut scratch);
                if rows.parts.is_none() && columns.parts.is_none() {
                    return data.copy_from_slice(x);
                }
                data.fill(T::Acc::ZERO);
                for (data, x) in data.chunks_exact_mut(plane).zip(x.chunks_exact(h * w)) {
                    for &(to, from, count) in &row_parts {
                        let data = data[to * columns.len..].chunks_exact_mut(columns.len);
                        for (data, x) in data.zip(x[from * w..].chunks_exact(w)).take(count) {
                            for &(to, from, count) in &column_parts {
                                data[to..to + count].copy_from_slice(&x[from..from + count]);
                            }
                        }
                    }
                }
            });
        });
        Images { view: self, data, starts: (0..samples.len()).map(|n| n * self.len()).collect() }
    }
}

struct Images<'a, A> {
    view: &'a ImageView,
    data: &'a [A],
    /// Where each image begins.
    starts: Vec<usize>,
}

impl<A: Lanes> Images<'_, A> {
    /// The positions of all images.
    fn pixels(&self, raster: Raster) -> Offsets {
        let [rows, columns] = &self.view.axes;
        let joined = rows.step == 1 && columns.step == 1 && raster.line == columns.len;
        let (lines, run) = if joined { (1, raster.image) } else { (rows.positions, columns.positions) };
        let line = |start: &usize| {
            let start = *start;
            (0..lines).map(move |i| start + i * rows.step * columns.len)
        };
        Offsets { starts: self.starts.iter().flat_map(line).collect(), run, step: columns.step as isize }
    }

    fn operand<'b>(&'b self, sum: &'b Offsets, free: &'b Offsets, groups: usize) -> Operand<'b, A> {
        let group = self.view.len() / groups;
        Operand { data: self.data, sum: sum.places(), free: free.places(), group }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;
    use crate::shape::Window2d;

    fn count(shape: [usize; 4]) -> usize {
        shape.iter().product()
    }

    /// Small whole numbers: their sums are exact in every dtype, in whatever order.
    fn whole<T: Element>(len: usize, salt: usize) -> Vec<T> {
        (0..len).map(|i| T::from_f64((((i + salt) * 7919) >> 3) as f64 % 5.0 - 2.0)).collect()
    }

    /// Numbers whose sums depend on the order.
    fn noise<T: Element>(len: usize, salt: usize) -> Vec<T> {
        let number = |i: usize| (((i + salt) as u32).wrapping_mul(0x9E37_79B9) >> 8) as f64 / 8388608.0 - 1.0;
        (0..len).map(|i| T::from_f64(number(i))).collect()
    }

    /// Calls `visit` with the indices in y, x and weight of each product of the convolution.
    fn for_each_product(g: &Conv2dGeometry, mut visit: impl FnMut(usize, usize, usize)) {
        let ([h, w], [oh, ow], [kh, kw]) = (g.input, g.output, g.window.kernel);
        let (c, o) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let at = |i: usize, tap: usize, axis: usize| {
            let (stride, dilation) = (g.window.stride[axis], g.window.dilation[axis]);
            let place = (i * stride + tap * dilation).checked_sub(g.window.padding[axis])?;
            (place < g.input[axis]).then_some(place)
        };
        for y in 0..count(g.y_shape()) {
            let (n, channel, i, j) =
                (y / (g.out_channels * oh * ow), y / (oh * ow) % g.out_channels, y / ow % oh, y % ow);
            for k in 0..g.patch_len() {
                let (from, p, q) = (k / (kh * kw), k / kw % kh, k % kw);
                if let (Some(row), Some(column)) = (at(i, p, 0), at(j, q, 1)) {
                    let x = ((n * g.in_channels + channel / o * c + from) * h + row) * w + column;
                    visit(y, x, channel * g.patch_len() + k);
                }
            }
        }
    }

    /// y, gx, gweight and gbias of one run of the three passes.
    fn run<T: Element<Acc: Lanes>>(
        g: &Conv2dGeometry,
        [x, weight, bias, gy]: &[Vec<T>; 4],
        order: Option<&[u32]>,
        narrow: bool,
    ) -> [Vec<T>; 4] {
        let nan = |len| vec![T::from_f64(f64::NAN); len];
        let mut results = [nan(gy.len()), nan(x.len()), nan(weight.len()), nan(bias.len())];
        let [y, gx, gweight, gbias] = &mut results;
        forward(g, x, weight, Some(bias), narrow, y);
        backward_input(g, gy, weight, narrow, gx);
        backward_weight(g, x, gy, order, narrow, gweight, Some(gbias));
        results
    }

    fn operands<T: Element>(g: &Conv2dGeometry, make: fn(usize, usize) -> Vec<T>) -> [Vec<T>; 4] {
        let shapes = [count(g.x_shape()), count(g.weight_shape()), g.out_channels, count(g.y_shape())];
        std::array::from_fn(|i| make(shapes[i], i * 1000))
    }

    fn to_f64<T: Element>(values: &[T]) -> Vec<f64> {
        values.iter().map(|v| v.to_f64()).collect()
    }

    /// Against the definition, perhaps with an element of the weight that is infinite.
    fn check<T: Element<Acc: Lanes>>(g: &Conv2dGeometry, infinite: Option<usize>) {
        let mut operands = operands::<T>(g, whole);
        if let Some(at) = infinite {
            operands[1][at] = T::from_f64(f64::INFINITY);
        }
        let [x, weight, bias, gy] = operands.each_ref().map(|v| to_f64(v));
        let plane = g.output_pixels().max(1);
        let mut y: Vec<f64> = (0..gy.len()).map(|i| bias[i / plane % g.out_channels]).collect();
        let (mut gx, mut gweight, mut gbias) =
            (vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; bias.len()]);
        for_each_product(g, |i, j, k| {
            y[i] += x[j] * weight[k];
            gx[j] += gy[i] * weight[k];
            gweight[k] += gy[i] * x[j];
        });
        gy.iter().enumerate().for_each(|(i, v)| gbias[i / plane % g.out_channels] += v);
        for narrow in [false, size_of::<T>() < 4] {
            let results = run(g, &operands, None, narrow);
            let names = ["y", "gx", "gweight", "gbias"];
            for ((got, expected), name) in results.iter().zip([&y, &gx, &gweight, &gbias]).zip(names) {
                for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let expected = T::from_f64(*expected).to_f64();
                    // Beyond 2048 sums of halves are not exact.
                    if size_of::<T>() > 2 || expected.abs() < 1000.0 || !expected.is_finite() {
                        let (got, same) = (got.to_f64(), got.to_f64().is_nan() && expected.is_nan());
                        assert!(
                            same || got == expected,
                            "{name}[{i}] of {g:?}, narrow {narrow}: {got}, not {expected}"
                        );
                    }
                }
            }
        }
    }

    fn geometry(x: [usize; 4], out_channels: usize, window: Window2d, groups: usize) -> Conv2dGeometry {
        Conv2dGeometry::new(x, out_channels, window, groups).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

        #[test]
        fn passes_agree_with_loops([n, c, o, groups] in [0..5usize, 1..5, 1..12, 1..4], input in [1..20usize, 1..20],
                                   kernel in [1..5usize, 1..5], stride in [1..4usize, 1..4],
                                   padding in [0..5usize, 0..5], dilation in [1..4usize, 1..4],
                                   infinite in any::<prop::sample::Index>()) {
            let window = Window2d { kernel, stride, padding, dilation };
            let x = [n, c * groups, input[0], input[1]];
            if let Ok(g) = Conv2dGeometry::new(x, o * groups, window, groups) {
                let infinite = Some(infinite.index(count(g.weight_shape())));
                for infinite in [None, infinite] {
                    check::<f64>(&g, infinite);
                    check::<f32>(&g, infinite);
                    check::<f16>(&g, infinite);
                }
            }
        }
    }

    /// Shapes that take each way through gathering, cutting and storing.
    fn shapes() -> Vec<Conv2dGeometry> {
        let square = Window2d::new(3, 1, 1);
        vec![
            // Whole vectors in the image; many blocks of the sum.
            geometry([3, 40, 5, 32], 9, square, 1),
            // Short lines, few and many output channels; the last image ends with the data.
            geometry([9, 6, 12, 12], 5, Window2d::new(5, 1, 0), 1),
            geometry([5, 33, 8, 8], 70, square, 1),
            // Tiny images, many of them.
            geometry([70, 24, 2, 2], 40, square, 1),
            geometry([33, 3, 1, 1], 4, square, 1),
            // Interleaved: all passes, groups with strides and gaps, few channels that meet mostly the border.
            geometry([70, 32, 2, 2], 40, square, 1),
            geometry(
                [31, 64, 4, 5],
                66,
                Window2d { kernel: [3, 3], stride: [1, 2], padding: [1, 2], dilation: [1, 2] },
                2,
            ),
            geometry([32, 6, 6, 6], 16, Window2d::new(5, 1, 0), 1),
            // No padding, stride without and with gaps.
            geometry([3, 40, 9, 7], 33, Window2d::new(1, 1, 0), 1),
            geometry([3, 20, 9, 8], 17, Window2d::new(1, 2, 0), 1),
            geometry([2, 7, 11, 12], 10, Window2d::new(2, 3, 1), 1),
            // Groups, depthwise.
            geometry([3, 12, 6, 10], 18, square, 3),
            geometry([4, 10, 9, 16], 10, square, 10),
            // A few enormous gaps.
            geometry(
                [2, 2, 5, 5],
                3,
                Window2d { kernel: [3, 2], stride: [40, 3], padding: [90, 60], dilation: [50, 70] },
                1,
            ),
        ]
    }

    #[test]
    fn chosen_shapes_agree_with_loops() {
        for g in shapes() {
            check::<f64>(&g, None);
            check::<f32>(&g, None);
            check::<f16>(&g, None);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let bits = |threads: usize, g: &Conv2dGeometry, narrow: bool| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let wide = run::<f32>(g, &operands(g, noise), None, false);
                let half = run::<f16>(g, &operands(g, noise), None, narrow);
                (wide.map(|v| bytemuck::cast_slice::<f32, u32>(&v).to_vec()), half)
            })
        };
        for (i, g) in shapes().iter().enumerate() {
            let one = bits(1, g, i % 2 == 0);
            assert!(one == bits(2, g, i % 2 == 0) && one == bits(5, g, i % 2 == 0), "{g:?}");
        }
    }

    #[test]
    fn the_order_of_samples_changes_roundings_alone() {
        let g = geometry([24, 5, 9, 9], 4, Window2d::new(3, 1, 1), 1);
        let identity: Vec<u32> = (0..24).collect();
        let orders = [5, 7].map(|step| (0..24).map(|i| i * step % 24).collect::<Vec<u32>>());
        let gradients = |order: Option<&[u32]>| {
            let wide = run::<f32>(&g, &operands(&g, noise), order, false);
            let double = run::<f64>(&g, &operands(&g, noise), order, false);
            ([to_f64(&wide[2]), to_f64(&wide[3])].concat(), [to_f64(&double[2]), to_f64(&double[3])].concat())
        };
        let (natural, exact) = gradients(None);
        assert_eq!((natural.clone(), exact.clone()), gradients(Some(&identity)));
        let [(a, exact_a), (b, exact_b)] = orders.each_ref().map(|order| gradients(Some(order)));
        assert_eq!(a, gradients(Some(&orders[0])).0);
        assert!(a != b && a != natural && b != natural, "an order without effect");
        let gap = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |gap, (a, b)| gap.max((a - b).abs()));
        for (other, exact_other) in [(a, exact_a), (b, exact_b)] {
            assert!(gap(&natural, &other) < 1e-4 && gap(&exact, &exact_other) < 1e-12);
        }
    }

    /// Sums of halves as [`super::super::gemm`] defines them, one by one.
    #[test]
    fn narrow_sums_agree_with_loops_to_the_bit() {
        let mut shapes = shapes();
        shapes.retain(|g| count(g.x_shape()) < 10_000);
        for g in shapes {
            let operands = operands::<f16>(&g, noise);
            let order: Vec<u32> = (0..g.batch as u32).rev().collect();
            let [x, weight, bias, gy] =
                operands.each_ref().map(|v| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>());
            let (mut y, mut gx) = (vec![0f32; gy.len()], vec![0f32; x.len()]);
            let (mut gweight, mut gbias) = (vec![0f32; weight.len()], vec![0f32; bias.len()]);
            let add = |acc: &mut f32, a: f32, b: f32| *acc = f32::mul_add_f16(a, b, *acc);
            // By image, from the last to the first, each in the order of its pixels; and for x in the order of the
            // output channels, the last kernel elements first.
            let (image, plane) = (gy.len() / g.batch, g.output_pixels());
            let (mut products, mut by_channel) = (Vec::new(), Vec::new());
            for_each_product(&g, |i, j, k| products.push((i, j, k)));
            products.sort_by_key(|&(i, _, k)| (std::cmp::Reverse(i / image), i % plane, k));
            for &(i, j, k) in &products {
                add(&mut y[i], x[j], weight[k]);
                add(&mut gweight[k], gy[i], x[j]);
                by_channel.push((j, k / g.patch_len(), std::cmp::Reverse(k), i));
            }
            by_channel.sort();
            by_channel.iter().for_each(|&(j, _, k, i)| add(&mut gx[j], gy[i], weight[k.0]));
            y.iter_mut().enumerate().for_each(|(i, y)| add(y, 1.0, bias[i / plane % g.out_channels]));
            for n in (0..g.batch).rev() {
                let image = gy[n * image..].chunks(plane).take(g.out_channels);
                gbias
                    .iter_mut()
                    .zip(image)
                    .for_each(|(sum, plane)| plane.iter().for_each(|&v| add(sum, 1.0, v)));
            }
            let results = run(&g, &operands, Some(&order), true);
            for (got, expected) in results.iter().zip([y, gx, gweight, gbias]) {
                let expected: Vec<f16> = expected.into_iter().map(f16::from_f32).collect();
                assert!(*got == expected, "{g:?}");
            }
        }
    }
}
