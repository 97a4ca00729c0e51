//! Convolution on images whose samples, or channels, are interleaved: those of a panel lie side by side, so that a row of
//! the right factor is read where it lies, whatever the size of the image, and all columns of a panel meet the border
//! alike. What would meet a zero of the border is left out of the sum, which changes no bit of it.

use rayon::prelude::*;

use crate::dtype::Element;
use crate::engine::cpu::gemm::{Bias, Existing, Product, panel_columns};
use crate::engine::cpu::lanes::Lanes;
use crate::engine::cpu::pack::{Offsets, Operand, Places, interleave};
use crate::engine::cpu::scratch::Scratch;
use crate::engine::cpu::target::Arrangement;
use crate::shape::Conv2dGeometry;

/// How positions and taps of one axis meet a line of an image: position i and tap j meet element
/// `i step + j spacing + first` of `len`, where there is one.
#[derive(Clone, Copy)]
struct Reach {
    positions: usize,
    step: usize,
    taps: usize,
    spacing: usize,
    first: isize,
    len: usize,
}

impl Reach {
    /// The share of positions and taps that meet an element.
    fn share(&self) -> f64 {
        let meeting = (0..self.positions * self.taps).filter(|i| self.meets(i / self.taps, i % self.taps));
        meeting.count() as f64 / (self.positions * self.taps).max(1) as f64
    }

    fn meets(&self, position: usize, tap: usize) -> bool {
        let at = (position * self.step + tap * self.spacing) as isize + self.first;
        (0..self.len as isize).contains(&at)
    }
}

/// How positions and taps meet images `[H, W]` of panels of `width`.
pub(super) struct Reaches {
    axes: [Reach; 2],
    width: usize,
}

impl Reaches {
    /// Output pixels and kernel elements on x.
    pub fn of_x<A: Lanes>(g: &Conv2dGeometry) -> Reaches {
        let axis = |i: usize| Reach {
            positions: g.output[i],
            step: g.window.stride[i],
            taps: g.window.kernel[i],
            spacing: g.window.dilation[i],
            first: -(g.window.padding[i] as isize),
            len: g.input[i],
        };
        Reaches { axes: [0, 1].map(axis), width: panel_columns::<A>() }
    }

    /// Pixels of x and kernel elements, from the last to the first, on gy; for a stride of 1.
    pub fn of_gy<A: Lanes>(g: &Conv2dGeometry) -> Reaches {
        let axis = |i: usize| Reach {
            positions: g.input[i],
            step: 1,
            taps: g.window.kernel[i],
            spacing: g.window.dilation[i],
            first: g.window.padding[i] as isize - ((g.window.kernel[i] - 1) * g.window.dilation[i]) as isize,
            len: g.output[i],
        };
        Reaches { axes: [0, 1].map(axis), width: panel_columns::<A>() }
    }

    fn plane(&self) -> usize {
        self.axes[0].len * self.axes[1].len
    }

    fn area(&self) -> usize {
        self.axes[0].taps * self.axes[1].taps
    }

    fn pixels(&self) -> usize {
        self.axes[0].positions * self.axes[1].positions
    }

    /// Whether interleaving `count` samples or channels for a product with `m` rows and sums of `k` products is worth it.
    pub fn worth(&self, count: usize, [m, k]: [usize; 2]) -> bool {
        let full = 4 * count >= 3 * count.next_multiple_of(self.width);
        // Copies pay where there is much to multiply, or much to leave out.
        let share = self.axes[0].share() * self.axes[1].share();
        full && self.area() > 1 && k >= 256 && (m >= 32 || share < 0.6)
    }

    /// Room before the images: places of taps are counted from the first one that any position reaches.
    fn margin(&self) -> usize {
        let [rows, columns] = self.axes.each_ref().map(|axis| (-axis.first).max(0) as usize);
        (rows * self.axes[1].len + columns) * self.width
    }

    /// Where a line of taps begins, counted likewise.
    fn line_of_taps(&self, row: usize) -> usize {
        let [rows, columns] = &self.axes;
        let at = ((row * rows.spacing) as isize + rows.first) * columns.len as isize + columns.first;
        (self.margin() as isize + at * self.width as isize) as usize
    }

    /// Where a line of positions begins.
    fn line_of_positions(&self, row: usize) -> usize {
        row * self.axes[0].step * self.axes[1].len * self.width
    }

    /// Whether a position and a tap meet an element.
    fn meet(&self, position: usize, tap: usize) -> bool {
        let [rows, columns] = &self.axes;
        rows.meets(position / columns.positions, tap / columns.taps)
            && columns.meets(position % columns.positions, tap % columns.taps)
    }

    /// y `[images, groups, M, positions]` = a `[M, (channels, taps)]` times what the positions and taps of x
    /// `[images, groups, channels, H, W]` meet.
    pub fn planes<T: Element<Acc: Lanes>>(
        &self,
        x: &[T::Acc],
        [images, groups, channels]: [usize; 3],
        m: usize,
        a: Operand<T::Acc>,
        bias: Bias<T::Acc>,
        y: &mut [T],
    ) {
        let (plane, width, margin) = (self.plane(), self.width, self.margin());
        let (len, panels) = (groups * channels * plane, images.div_ceil(width));
        let mut scratch = Scratch::shared();
        let data = scratch.aligned(margin + panels * len * width);
        let rows = Operand { data: x, sum: Places::line(len, 1), free: Places::line(images, len), group: 0 };
        interleave(&rows, [len, images], width, &mut data[margin..]);
        let taps =
            |c: usize| (0..self.axes[0].taps).map(move |row| c * plane * width + self.line_of_taps(row));
        let sum = Offsets {
            starts: (0..channels).flat_map(taps).collect(),
            run: self.axes[1].taps,
            step: (self.axes[1].spacing * width) as isize,
        };
        let positions = |panel: usize| {
            let column = |j: usize| j * self.axes[1].step * width;
            let line = move |i: usize| {
                let start = panel * len * width + self.line_of_positions(i);
                (0..self.axes[1].positions).map(move |j| start + column(j))
            };
            (0..self.axes[0].positions).flat_map(line)
        };
        let free = Offsets { starts: (0..panels).flat_map(positions).collect(), run: width, step: 1 };
        let existing = Existing::new([self.pixels(), self.area()], |position, tap| self.meet(position, tap));
        let b =
            Operand { data: &*data, sum: sum.places(), free: free.places(), group: channels * plane * width };
        let product = Product {
            sizes: [m, free.len(), sum.len()],
            groups,
            part: usize::MAX,
            a,
            b,
            bias,
            narrow: false,
            existing: Some(&existing),
        };
        product.store_interleaved_planes(y, images, self.pixels());
    }

    /// Calls `store` with the product of a and what the taps and positions of the samples of x `[N, groups, channels, H, W]`
    /// meet, whose sums run over the samples and positions, and the arrangement of its columns (channels, taps).
    pub fn weights<T: Element<Acc: Lanes>>(
        &self,
        x: &[T],
        samples: &[usize],
        [groups, channels]: [usize; 2],
        m: usize,
        (a, part): (Operand<T::Acc>, usize),
        store: impl FnOnce(Product<T::Acc>, Arrangement),
    ) {
        let (plane, width, margin) = (self.plane(), self.width, self.margin());
        let panels = channels.div_ceil(width);
        let len = panels * plane * width;
        let mut scratch = Scratch::shared();
        let data = scratch.aligned(margin + samples.len() * groups * len);
        let rows = data[margin..].par_chunks_mut(groups * len).zip(samples);
        rows.for_each(|(data, n)| {
            let mut scratch = Scratch::take();
            for (group, data) in data.chunks_exact_mut(len).enumerate() {
                let x = &x[(n * groups + group) * channels * plane..][..channels * plane];
                let x = T::promote(x, &mut scratch);
                let rows = Operand {
                    data: x,
                    sum: Places::line(plane, 1),
                    free: Places::line(channels, plane),
                    group: 0,
                };
                interleave(&rows, [plane, channels], width, data);
            }
        });
        let lines = |n: usize| {
            (0..self.axes[0].positions).map(move |row| n * groups * len + self.line_of_positions(row))
        };
        let sum = Offsets {
            starts: (0..samples.len()).flat_map(lines).collect(),
            run: self.axes[1].positions,
            step: (self.axes[1].step * width) as isize,
        };
        let taps = |panel: usize| {
            let line = move |row: usize| {
                let start = panel * plane * width + self.line_of_taps(row);
                (0..self.axes[1].taps).map(move |column| start + column * self.axes[1].spacing * width)
            };
            (0..self.axes[0].taps).flat_map(line)
        };
        let free = Offsets { starts: (0..panels).flat_map(taps).collect(), run: width, step: 1 };
        let existing = Existing::new([self.area(), self.pixels()], |tap, position| self.meet(position, tap));
        let b = Operand { data: &*data, sum: sum.places(), free: free.places(), group: len };
        let product = Product {
            sizes: [m, free.len(), sum.len()],
            groups,
            part,
            a,
            b,
            bias: Bias::None,
            narrow: false,
            existing: Some(&existing),
        };
        store(product, Arrangement::Interleaved { width, lines: self.area() });
    }
}
