//! Shapes `[N, C, H, W]` and the geometry of windows.

use crate::error::{Error, Result};

/// Number of elements of a shape; an error where it overflows.
pub fn element_count(shape: &[usize]) -> Result<usize> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(|| Error::shape("shape", "a product of dimensions that fits the address space", shape))
}

/// A sliding window, height before width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window2d {
    /// Extent `[KH, KW]`, each at least 1.
    pub kernel: [usize; 2],
    /// Step `[SH, SW]`, each at least 1.
    pub stride: [usize; 2],
    /// Rows and columns `[PH, PW]` added on each side.
    pub padding: [usize; 2],
    /// Distance `[DH, DW]` between neighbouring elements of the window, each at least 1; 1 without gaps.
    pub dilation: [usize; 2],
}

impl Window2d {
    /// A square window without gaps.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Window2d {
        Window2d { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// The same window with its elements `dilation` apart.
    pub const fn with_dilation(self, dilation: usize) -> Window2d {
        Window2d { dilation: [dilation; 2], ..self }
    }

    /// Number of elements `KH * KW`.
    pub const fn len(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// True only for a window without elements, which [`Conv2dGeometry::new`] and [`Pool2dGeometry::new`] refuse.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1` for height and width.
    fn output(&self, input: [usize; 2]) -> Result<[usize; 2]> {
        let mut output = [0; 2];
        for i in 0..2 {
            let (k, s, p, d) = (self.kernel[i], self.stride[i], self.padding[i], self.dilation[i]);
            if k == 0 || k > MAX_WINDOW {
                return Err(Error::invalid("kernel", format!("1 to {MAX_WINDOW}"), k));
            }
            if s == 0 || s > MAX_STRIDE {
                return Err(Error::invalid("stride", format!("1 to {MAX_STRIDE}"), s));
            }
            if p > MAX_EXTENT {
                return Err(Error::invalid("padding", format!("0 to {MAX_EXTENT}"), p));
            }
            if d == 0 || d > MAX_EXTENT {
                return Err(Error::invalid("dilation", format!("1 to {MAX_EXTENT}"), d));
            }
            if input[i] == 0 || input[i] > MAX_EXTENT {
                return Err(Error::invalid(
                    "x",
                    format!("height and width from 1 to {MAX_EXTENT}"),
                    input[i],
                ));
            }
            let (padded, extent) = (input[i] + 2 * p, d * (k - 1) + 1);
            if padded < extent {
                let expected = format!("an extent of at most the padded input size {padded}");
                return Err(Error::invalid("kernel", expected, extent));
            }
            output[i] = (padded - extent) / s + 1;
        }
        Ok(output)
    }
}

/// Largest kernel.
const MAX_WINDOW: usize = 1 << 10;
/// Largest stride.
const MAX_STRIDE: usize = 1 << 10;
/// Largest height, width, padding or dilation.
const MAX_EXTENT: usize = 1 << 24;
/// Largest number of elements of one tensor: GPU kernels index with 32 bits.
const MAX_ELEMENTS: usize = i32::MAX as usize;
/// Zeros around an image that a convolution may have however small the image is.
const MAX_BORDER: usize = 1 << 24;

fn bounded(what: &str, shape: &[usize]) -> Result<()> {
    match element_count(shape) {
        Ok(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(Error::shape(what, format!("at most {MAX_ELEMENTS} elements"), shape)),
    }
}

/// A two-dimensional convolution: cross-correlation, as in every framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Batch size N.
    pub batch: usize,
    /// Input channels C.
    pub in_channels: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output channels O.
    pub out_channels: usize,
    /// Output height and width.
    pub output: [usize; 2],
    /// Kernel, stride, padding (zeros) and dilation.
    pub window: Window2d,
    /// Number of groups G: output channels `o G / O` see input channels of the same group alone.
    pub groups: usize,
}

impl Conv2dGeometry {
    /// Input `[N, C, H, W]`, weight `[O, C / groups, KH, KW]`; `groups` divides C and O.
    pub fn new(
        x: [usize; 4],
        out_channels: usize,
        window: Window2d,
        groups: usize,
    ) -> Result<Conv2dGeometry> {
        let [batch, in_channels, h, w] = x;
        if in_channels == 0 || out_channels == 0 {
            return Err(Error::invalid(
                "channels",
                "at least 1",
                format!("in {in_channels}, out {out_channels}"),
            ));
        }
        if groups == 0 || !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            let expected = format!("a divisor of the channels, in {in_channels} and out {out_channels}");
            return Err(Error::invalid("groups", expected, groups));
        }
        let output = window.output([h, w])?;
        let g = Conv2dGeometry { batch, in_channels, input: [h, w], out_channels, output, window, groups };
        bounded("x", &g.x_shape())?;
        bounded("y", &g.y_shape())?;
        bounded("weight", &g.weight_shape())?;
        // Kernels may write down the zeros around an image of x, and around one of gy, as far as windows reach.
        let reach = |channels: usize, line: &dyn Fn(usize, usize, usize) -> usize| {
            let line = |i: usize| line(i, window.stride[i], (window.kernel[i] - 1) * window.dilation[i]);
            element_count(&[channels, line(0), line(1)]).unwrap_or(usize::MAX)
        };
        let of_x = reach(in_channels, &|i, s, extent| {
            ((output[i] - 1) * s + extent + 1).min(output[i] * window.kernel[i])
        });
        let of_gy = reach(out_channels, &|i, s, extent| {
            let rows = g.input[i].div_ceil(s);
            (rows + extent / s).min(rows * window.kernel[i])
        });
        let image = in_channels * h * w
            + out_channels * output[0] * output[1]
            + g.weight_shape().iter().product::<usize>();
        let limit = 4 * image + MAX_BORDER;
        if of_x.max(of_gy) <= limit {
            return Ok(g);
        }
        let expected =
            format!("windows that reach at most {limit} elements of an image and the zeros around it");
        Err(Error::invalid("padding", expected, format!("{:?}", window.padding)))
    }

    /// `[N, C, H, W]`
    pub fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.in_channels, self.input[0], self.input[1]]
    }

    /// `[N, O, OH, OW]`
    pub fn y_shape(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.output[0], self.output[1]]
    }

    /// `[O, C / groups, KH, KW]`
    pub fn weight_shape(&self) -> [usize; 4] {
        let [kh, kw] = self.window.kernel;
        [self.out_channels, self.in_channels / self.groups, kh, kw]
    }

    /// `C / groups * KH * KW`: the length of the sum for one output element.
    pub fn patch_len(&self) -> usize {
        self.in_channels / self.groups * self.window.len()
    }

    /// `OH * OW`
    pub fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }
}

/// A two-dimensional pooling; padding never belongs to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Batch size N.
    pub batch: usize,
    /// Channels C.
    pub channels: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Kernel, stride and padding.
    pub window: Window2d,
}

impl Pool2dGeometry {
    /// Input `[N, C, H, W]`. As in PyTorch, padding is at most half the kernel, so that no window is empty.
    pub fn new(x: [usize; 4], window: Window2d) -> Result<Pool2dGeometry> {
        let [batch, channels, h, w] = x;
        if window.dilation != [1; 2] {
            return Err(Error::invalid("dilation", "1 for a pooling", format!("{:?}", window.dilation)));
        }
        let output = window.output([h, w])?;
        for i in 0..2 {
            if window.padding[i] > window.kernel[i] / 2 {
                return Err(Error::invalid(
                    "padding",
                    format!("at most half the kernel ({})", window.kernel[i] / 2),
                    window.padding[i],
                ));
            }
        }
        let g = Pool2dGeometry { batch, channels, input: [h, w], output, window };
        bounded("x", &g.x_shape())?;
        bounded("y", &g.y_shape())?;
        bounded("ties", &g.ties_shape())?;
        Ok(g)
    }

    /// `[N, C, H, W]`
    pub fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.channels, self.input[0], self.input[1]]
    }

    /// `[N, C, OH, OW]`
    pub fn y_shape(&self) -> [usize; 4] {
        [self.batch, self.channels, self.output[0], self.output[1]]
    }

    /// `[N, C, OH, OW, T]` with T from [`tie_bytes`].
    pub fn ties_shape(&self) -> [usize; 5] {
        let [n, c, h, w] = self.y_shape();
        [n, c, h, w, tie_bytes(self.window.len())]
    }

    /// Number of windows `N * C * OH * OW`.
    pub fn windows(&self) -> usize {
        self.batch * self.channels * self.output[0] * self.output[1]
    }

    /// Number of input elements `N * C * H * W`.
    pub fn x_len(&self) -> usize {
        self.batch * self.channels * self.input[0] * self.input[1]
    }

    /// Rows and columns `(rows, columns)` of the input that window `[oh, ow]` covers, padding cut off.
    pub(crate) fn window_range(
        &self,
        oh: usize,
        ow: usize,
    ) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let clip = |o: usize, i: usize| {
            let start = o * self.window.stride[i];
            let p = self.window.padding[i];
            start.saturating_sub(p)..(start + self.window.kernel[i]).saturating_sub(p).min(self.input[i])
        };
        (clip(oh, 0), clip(ow, 1))
    }

    /// Places in x of the elements of a window, by its number in y, and their bits in its tie set.
    pub(crate) fn elements(&self, window: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        let ([height, width], [oh_count, ow_count]) = (self.input, self.output);
        let (plane, place) = (window / (oh_count * ow_count), window % (oh_count * ow_count));
        let (oh, ow) = (place / ow_count, place % ow_count);
        let (rows, columns) = self.window_range(oh, ow);
        rows.flat_map(move |r| {
            columns.clone().map(move |c| ((plane * height + r) * width + c, self.bit(oh, ow, r, c)))
        })
    }

    /// Bit index of input element `(row, column)` within window `[oh, ow]`: row-major over the whole kernel.
    pub(crate) fn bit(&self, oh: usize, ow: usize, row: usize, column: usize) -> usize {
        let kh = row + self.window.padding[0] - oh * self.window.stride[0];
        let kw = column + self.window.padding[1] - ow * self.window.stride[1];
        kh * self.window.kernel[1] + kw
    }
}

/// Stride, padding, dilation and groups of a convolution whose weight tells the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dOptions {
    /// Step `[SH, SW]`.
    pub stride: [usize; 2],
    /// Zeros `[PH, PW]` on each side.
    pub padding: [usize; 2],
    /// Distance `[DH, DW]` between the elements of the kernel.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: [1; 2], padding: [0; 2], dilation: [1; 2], groups: 1 }
    }
}

/// A batch normalisation over `[N, C, H, W]`, or `[N, C]` with a plane of 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchNormGeometry {
    /// Batch size N.
    pub batch: usize,
    /// Channels C.
    pub channels: usize,
    /// `H * W`, or 1.
    pub plane: usize,
}

impl BatchNormGeometry {
    /// Input `[N, C, ...]` of rank 2 or 4.
    pub fn new(x: &[usize]) -> Result<BatchNormGeometry> {
        let ([batch, channels], plane) = match *x {
            [n, c] => ([n, c], 1),
            [n, c, h, w] => ([n, c], element_count(&[h, w])?),
            _ => return Err(Error::shape("x", "[N, C] or [N, C, H, W]", x)),
        };
        if channels == 0 || plane == 0 {
            return Err(Error::shape("x", "[N, C] or [N, C, H, W] with C, H and W of at least 1", x));
        }
        bounded("x", x)?;
        Ok(BatchNormGeometry { batch, channels, plane })
    }

    /// Number of elements `N * C * H * W`.
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.plane
    }

    /// True for an empty batch.
    pub fn is_empty(&self) -> bool {
        self.batch == 0
    }

    /// Values that one channel's statistics are made of: `N * H * W`.
    pub fn per_channel(&self) -> usize {
        self.batch * self.plane
    }
}

/// Bytes that hold the tie set of a window of `len` elements: 1 up to 7 elements, 2 up to 15, else a
/// multiple of 4 with room for one bit more than `len`.
///
/// Bit `i` (little endian, row-major in the window) is set where element `i` attains the maximum; the
/// highest bit of the last byte is set where the window holds a NaN, and then bit `i` marks the NaNs.
pub const fn tie_bytes(len: usize) -> usize {
    match len {
        0..=7 => 1,
        8..=15 => 2,
        _ => (len / 32 + 1) * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_follow_the_floor_formula() {
        let g = Pool2dGeometry::new([1, 1, 7, 9], Window2d::new(3, 2, 1)).unwrap();
        assert_eq!(g.output, [4, 5]);
        let g = Conv2dGeometry::new([2, 3, 28, 28], 6, Window2d::new(5, 1, 0), 1).unwrap();
        assert_eq!(g.y_shape(), [2, 6, 24, 24]);
        let dilated = Window2d::new(3, 2, 1).with_dilation(2);
        let g = Conv2dGeometry::new([2, 4, 9, 8], 6, dilated, 2).unwrap();
        assert_eq!((g.y_shape(), g.weight_shape()), ([2, 6, 4, 3], [6, 2, 3, 3]));
    }

    #[test]
    fn absurd_geometry_is_refused() {
        assert!(Pool2dGeometry::new([1, 1, 4, 4], Window2d::new(5, 1, 0)).is_err());
        assert!(Pool2dGeometry::new([1, 1, 4, 4], Window2d::new(2, 0, 0)).is_err());
        assert!(Pool2dGeometry::new([1, 1, 4, 4], Window2d::new(2, 1, 2)).is_err());
        assert!(Pool2dGeometry::new([usize::MAX, 2, 4, 4], Window2d::new(2, 2, 0)).is_err());
        assert!(Conv2dGeometry::new([1, 4, 4, 4], 6, Window2d::new(1, 1, 0), 4).is_err());
        assert!(Pool2dGeometry::new([1, 1, 4, 4], Window2d::new(2, 1, 0).with_dilation(2)).is_err());
        assert!(Conv2dGeometry::new([1, 0, 4, 4], 1, Window2d::new(1, 1, 0), 1).is_err());
        assert!(Conv2dGeometry::new([1, 1, 4096, 4096], 1, Window2d::new(1024, 1, 512), 1).is_ok());
        assert!(Conv2dGeometry::new([1, 512, 1, 65536], 1, Window2d::new(3, 1, 1), 1).is_ok());
        assert!(Conv2dGeometry::new([1, 3, 224, 224], 512, Window2d::new(16, 16, 0), 1).is_ok());
        assert!(Conv2dGeometry::new([1, 1, 1, 1], 1, Window2d::new(1024, 1024, 22528), 1).is_err());
        assert!(Pool2dGeometry::new([1, 1, 1, 1 << 24], Window2d::new(1, 1 << 24, 0)).is_err());
        assert!(Conv2dGeometry::new([1, 1, 1, 1], 1, Window2d::new(16, 16, 1 << 15), 1).is_err());
    }

    #[test]
    fn tie_sets_leave_a_bit_for_nan() {
        for len in 1..200 {
            assert!(tie_bytes(len) * 8 > len, "{len}");
        }
        assert_eq!([tie_bytes(4), tie_bytes(9), tie_bytes(25), tie_bytes(32)], [1, 2, 4, 8]);
    }
}
