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

use rayon::prelude::*;

use super::gemm::{Bias, Grid, Lanes, Product, Raster, Target, parts, promote_all};
use super::pack::{Offsets, Operand, Places};
use super::scratch::Scratch;
use super::sum::sum_planes;
use crate::dtype::Element;
use crate::shape::Conv2dGeometry;

pub(super) fn forward<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    narrow: bool,
    y: &mut [T],
) {
    let (m, k) = (g.out_channels / g.groups, g.patch_len());
    let (mut x_scratch, mut weight_scratch) = (Scratch::take(), Scratch::take());
    let mut bias_scratch = Scratch::take();
    let image = Image::new([g.batch, g.in_channels], g.input, forward_axes(g), x, &mut x_scratch);
    let raster = image.raster(m);
    let (patch, pixels) = (image.patch(g.in_channels / g.groups), image.pixels(0..g.batch, raster));
    let product = Product {
        sizes: [m, pixels.places().len(), k],
        groups: g.groups,
        part: usize::MAX,
        a: Operand {
            data: T::promote(weight, &mut weight_scratch),
            sum: Places::line(k, 1),
            free: Places::line(m, k),
            group: m * k,
        },
        b: image.operand(&patch, &pixels, g.groups),
        bias: bias.map_or(Bias::None, |bias| Bias::Rows(T::promote(bias, &mut bias_scratch))),
        narrow,
    };
    product.store(Target::planes(y, [g.batch, g.groups, m], g.output, g.output.map(Grid::all), raster));
}

pub(super) fn backward_input<T: Element<Acc: Lanes>>(
    g: &Conv2dGeometry,
    gy: &[T],
    weight: &[T],
    narrow: bool,
    gx: &mut [T],
) {
    let (m, o, area) = (g.in_channels / g.groups, g.out_channels / g.groups, g.window.len());
    let (mut gy_scratch, mut weight_scratch) = (Scratch::take(), Scratch::take());
    let weight = T::promote(weight, &mut weight_scratch);
    let [rows, columns] = [0, 1].map(|axis| Phase::all(g, axis));
    for rows in &rows {
        for columns in &columns {
            let axes = [rows.axis(g.output[0]), columns.axis(g.output[1])];
            let image = Image::new([g.batch, g.out_channels], g.output, axes, gy, &mut gy_scratch);
            let raster = image.raster(m);
            let (patch, pixels) = (image.patch(o), image.pixels(0..g.batch, raster));
            let taps = Offsets {
                starts: (0..o)
                    .flat_map(|o| rows.taps.iter().map(move |kh| o * m * area + kh * g.window.kernel[1]))
                    .flat_map(|start| columns.taps.first().map(|kw| start + kw))
                    .collect(),
                run: columns.taps.len(),
                step: columns.taps.get(1).map_or(0, |&kw| kw as isize - columns.taps[0] as isize),
            };
            let product = Product {
                sizes: [m, pixels.places().len(), patch.places().len()],
                groups: g.groups,
                part: usize::MAX,
                a: Operand {
                    data: weight,
                    sum: taps.places(),
                    free: Places::line(m, area),
                    group: o * m * area,
                },
                b: image.operand(&patch, &pixels, g.groups),
                bias: Bias::None,
                narrow,
            };
            let grid = [rows.grid, columns.grid];
            product.store(Target::planes(&mut *gx, [g.batch, g.groups, m], g.input, grid, raster));
        }
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
    let (mut x_scratch, mut gy_scratch) = (Scratch::take(), Scratch::take());
    let image = Image::new([g.batch, g.in_channels], g.input, forward_axes(g), x, &mut x_scratch);
    let gy = promote_all(gy, &mut gy_scratch);
    let samples = || (0..g.batch).map(|i| order.map_or(i, |order| order[i] as usize));
    let (patch, pixels) = (image.patch(g.in_channels / g.groups), image.pixels(samples(), image.dense()));
    let gy_planes = Offsets { starts: samples().map(|n| n * g.out_channels * p).collect(), run: p, step: 1 };
    let parts = if narrow { 1 } else { parts(m, n, g.groups).min(g.batch.max(1)) };
    let product = Product {
        sizes: [m, n, g.batch * p],
        groups: g.groups,
        part: (g.batch.div_ceil(parts) * p).max(1),
        a: Operand { data: gy, sum: gy_planes.places(), free: Places::line(m, p), group: m * p },
        b: image.operand(&pixels, &patch, g.groups),
        bias: Bias::None,
        narrow,
    };
    product.store_matrix(gweight);
    if let Some(gbias) = gbias {
        sum_planes(gy, gy_planes.places(), narrow, gbias);
    }
}

/// The axes of [`forward`], which the gradient of the weight shares.
fn forward_axes(g: &Conv2dGeometry) -> [Axis; 2] {
    [0, 1].map(|i| {
        let (kernel, padding) = (g.window.kernel[i], g.window.padding[i] as isize);
        let taps = (0..kernel).map(|tap| (tap * g.window.dilation[i]) as isize - padding);
        Axis::new(g.output[i], g.window.stride[i], taps.collect(), g.input[i])
    })
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
    /// Equally spaced, ascending.
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
        let (Some(&first), Some(&last)) = (taps.first(), taps.last()) else {
            return Axis { positions, step: 0, taps: Vec::new(), len, parts: None };
        };
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

/// Images in the accumulate type, `[N, C, lines, columns]`, laid out so that each position and tap meets an element.
struct Image<'a, A> {
    data: &'a [A],
    channels: usize,
    axes: [Axis; 2],
}

impl<'a, A: Lanes> Image<'a, A> {
    fn new<T: Element<Acc = A>>(
        [n, channels]: [usize; 2],
        [h, w]: [usize; 2],
        axes: [Axis; 2],
        x: &'a [T],
        scratch: &'a mut Scratch<A>,
    ) -> Image<'a, A> {
        let [rows, columns] = &axes;
        if rows.parts.is_none() && columns.parts.is_none() {
            return Image { data: promote_all(x, scratch), channels, axes };
        }
        let plane = rows.len * columns.len;
        let data = scratch.aligned(n * channels * plane);
        if plane > 0 {
            // Some planes for each task.
            const ELEMENTS: usize = 1 << 14;
            let planes = ELEMENTS.div_ceil(plane);
            let all = |len| vec![(0, 0, len)];
            let row_parts = rows.parts.clone().unwrap_or_else(|| all(h));
            let column_parts = columns.parts.clone().unwrap_or_else(|| all(w));
            data.par_chunks_mut(planes * plane).zip(x.par_chunks(planes * h * w)).for_each(|(data, x)| {
                let mut scratch = Scratch::take();
                let x = T::promote(x, &mut scratch);
                data.fill(A::ZERO);
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
        }
        Image { data, channels, axes }
    }

    fn plane(&self) -> usize {
        self.axes[0].len * self.axes[1].len
    }

    /// The positions of the given images.
    fn pixels(&self, images: impl Iterator<Item = usize>, raster: Raster) -> Offsets {
        let [rows, columns] = &self.axes;
        let joined = rows.step == 1 && columns.step == 1 && raster.line == columns.len;
        let (lines, run) = if joined { (1, raster.image) } else { (rows.positions, columns.positions) };
        let image = self.channels * self.plane();
        let line = |n: usize| (0..lines).map(move |i| n * image + i * rows.step * columns.len);
        Offsets { starts: images.flat_map(line).collect(), run, step: columns.step as isize }
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
        let possible = rows.step == 1 && columns.step == 1 && rows.positions > 0;
        if !possible || !worth || columns.positions.is_multiple_of(VECTOR) {
            return dense;
        }
        let image = (rows.positions - 1) * columns.len + columns.positions;
        Raster { line: columns.len, image: image.next_multiple_of(VECTOR) }
    }

    /// The taps of the given number of channels, row by row.
    fn patch(&self, channels: usize) -> Offsets {
        let [rows, columns] = &self.axes;
        let plane = self.plane();
        let (run, step) = (columns.taps.len(), columns.spacing());
        let Some(first) = columns.taps.first() else { return Offsets { starts: vec![], run, step: 1 } };
        if rows.taps.len() * run == 1 {
            return Offsets {
                starts: vec![rows.taps[0] * columns.len + first],
                run: channels,
                step: plane as isize,
            };
        }
        let line = |c: usize| rows.taps.iter().map(move |row| c * plane + row * columns.len + first);
        Offsets { starts: (0..channels).flat_map(line).collect(), run, step: step as isize }
    }

    fn operand<'b>(&'b self, sum: &'b Offsets, free: &'b Offsets, groups: usize) -> Operand<'b, A> {
        let group = self.channels / groups * self.plane();
        Operand { data: self.data, sum: sum.places(), free: free.places(), group }
    }
}
