//! Counts of pooling windows by their tie sets, and of zeros.

use rayon::prelude::*;

use super::maxpool2d::TieSet;
use crate::dtype::Element;
use crate::shape::{self, Pool2dGeometry};

/// The input of the ReLU whose output was pooled, and its derivative at 0.
pub(super) struct Relu<'a, T> {
    pub x: &'a [T],
    pub alpha: f64,
}

/// counts `[KH KW + 1, 2, 2]`: by number of ties (row 0: windows that hold a NaN), then by y = 0 (0) or not (1), then
/// by dead (0) or alive (1): gy is not 0, and the ReLU, if there is one, has a derivative other than 0 at some tied
/// element. Its derivative is 1 above 0 and at NaN, alpha at 0, and 0 below.
pub(super) fn tie_census<T: Element>(
    g: &Pool2dGeometry,
    ties: &[u8],
    y: &[T],
    gy: &[T],
    relu: Option<Relu<T>>,
    counts: &mut [u32],
) {
    let (plane, windows) = (g.input[0] * g.input[1], g.output[0] * g.output[1]);
    let tie_bytes = shape::tie_bytes(g.window.len());
    let passes_at_zero = relu.as_ref().is_some_and(|r| T::Acc::from_f64(r.alpha) != T::Acc::ZERO);
    let planes = super::BLOCK.div_ceil(plane);
    let of_block = |block: usize| {
        let mut counts = vec![0u32; counts.len()];
        let end = ((block + 1) * planes * windows).min(y.len());
        for w in block * planes * windows..end {
            let set = TieSet(&ties[w * tie_bytes..(w + 1) * tie_bytes]);
            let passes = |bit: usize| {
                let relu = relu.as_ref().expect("asked only where there is one");
                let v = relu.x[w / windows * plane + element(g, w % windows, bit)].to_f64();
                v > 0.0 || v.is_nan() || (v == 0.0 && passes_at_zero)
            };
            let alive = gy[w].to_f64() != 0.0 && (relu.is_none() || set.bits().any(passes));
            let k = if set.has_nan() { 0 } else { set.len() };
            counts[k * 4 + (y[w].to_f64() != 0.0) as usize * 2 + alive as usize] += 1;
        }
        counts
    };
    let blocks = y.len().div_ceil(planes * windows);
    let total = (0..blocks).into_par_iter().map(of_block).reduce_with(|mut a, b| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    });
    match total {
        Some(total) => counts.copy_from_slice(&total),
        None => counts.fill(0),
    }
}

/// Index within the plane of the element at `bit` of window `w`.
fn element(g: &Pool2dGeometry, w: usize, bit: usize) -> usize {
    let kernel = g.window.kernel[1];
    let along = |i: usize, o: usize, k: usize| o * g.window.stride[i] + k - g.window.padding[i];
    along(0, w / g.output[1], bit / kernel) * g.input[1] + along(1, w % g.output[1], bit % kernel)
}

pub(super) fn count_zeros<T: Element>(x: &[T], count: &mut u32) {
    *count = x.par_chunks(super::BLOCK).map(|x| x.iter().filter(|v| v.to_f64() == 0.0).count() as u32).sum();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cpu::CpuEngine;
    use crate::engine::op::{Op, Settings};
    use crate::kink::{Kink, MaxPoolKink, ReluKink};
    use crate::shape::Window2d;
    use crate::{DType, Engine, Tensor};

    const NAN: f32 = f32::NAN;

    /// Census of the windows of a `[1, 1, 2, 2 n]` plane pooled 2x2 after a ReLU with input x, as
    /// `[ties, positive, alive] -> windows`.
    fn census(x: &[[f32; 4]], gy: &[f32], alpha: Option<f64>) -> Vec<([usize; 3], u32)> {
        let width = 2 * x.len();
        let plane: Vec<f64> =
            (0..2 * width).map(|i| x[i % width / 2][i / width * 2 + i % 2] as f64).collect();
        let geometry = Pool2dGeometry::new([1, 1, 2, width], Window2d::new(2, 2, 0)).unwrap();
        let engine = Engine::cpu();
        let x = Tensor::from_f64(DType::F32, &geometry.x_shape(), &plane).unwrap();
        let (mut pooled, mut y) = (x.clone(), Tensor::zeros(DType::F32, &geometry.y_shape()).unwrap());
        if alpha.is_some() {
            engine.relu_forward(x.view(), pooled.view_mut()).unwrap();
        }
        let mut ties = vec![0; geometry.windows()];
        let kink = MaxPoolKink::default();
        engine.maxpool2d_forward(pooled.view(), geometry.window, kink, y.view_mut(), &mut ties).unwrap();
        let op = Op::TieCensus { geometry, relu: alpha.is_some() };
        let kink = alpha.map(|alpha| Kink::Relu(ReluKink { alpha }));
        let settings = Settings { kinks: vec![kink], ..Default::default() };
        let mut counts = [7u32; 20];
        let mut reads = vec![&ties[..], y.bytes(), bytemuck::cast_slice(gy)];
        reads.extend(alpha.is_some().then(|| x.bytes()));
        let writes = &mut [bytemuck::cast_slice_mut(&mut counts)];
        CpuEngine::new(2).unwrap().execute(op, DType::F32, &reads, writes, 0, &settings).unwrap();
        let nonzero = counts.iter().enumerate().filter(|(_, count)| **count != 0);
        nonzero.map(|(i, &count)| ([i / 4, i / 2 % 2, i % 2], count)).collect()
    }

    #[test]
    fn windows_by_ties_value_and_life() {
        let x = [
            [1.0, 2.0, 0.0, 0.0],    // one maximum
            [2.0, 2.0, -1.0, 2.0],   // three
            [2.0, -9.0, -9.0, 2.0],  // two, no gradient
            [-1.0, -0.0, 0.0, -2.0], // a tie of zeros
            [NAN, 1.0, 1.0, NAN],
        ];
        let gy = [1.0, NAN, 0.0, -1.0, 1.0];
        let expected = [([0, 1, 1], 1), ([1, 1, 1], 1), ([2, 0, 1], 1), ([2, 1, 0], 1), ([3, 1, 1], 1)];
        assert_eq!(census(&x, &gy, None), expected);
    }

    #[test]
    fn a_relu_kills_its_zeros() {
        let x = [
            [-1.0, -2.0, -3.0, -4.0], // four zeros, no derivative at any
            [-1.0, 0.0, -3.0, -4.0],  // one of the four zeros is at the kink
            [1.0, 1.0, 0.0, -4.0],
            [NAN, 0.0, 0.0, 0.0],
        ];
        let gy = [1.0; 4];
        let with = |alpha| census(&x, &gy, Some(alpha));
        assert_eq!(with(0.0), [([0, 1, 1], 1), ([2, 1, 1], 1), ([4, 0, 0], 2)]);
        assert_eq!(with(0.5), [([0, 1, 1], 1), ([2, 1, 1], 1), ([4, 0, 0], 1), ([4, 0, 1], 1)]);
    }

    #[test]
    fn both_zeros_count() {
        let mut count = 0;
        let mut x = vec![1.0f32; 3 * crate::engine::cpu::BLOCK];
        (x[0], x[20_000], x[40_000], x[40_001]) = (0.0, -0.0, NAN, f32::from_bits(1));
        count_zeros(&x, &mut count);
        assert_eq!(count, 2);
    }
}
