//! Dropout: `y = x / (1 - p)` for the elements that are kept and 0 for the others; backward the same on gy.
//!
//! Element i is kept where w(i) >= floor(p 2^32). w(i) is word `i % 4` of Philox4x32-10 with the counter
//! `[i / 4, site, step, 0x64726f70]` and the seed as key, low word first. So p = 1 drops all, p = 0 nothing.
//! 1 / (1 - p) is formed in f64 and rounded to the accumulate type; the product with it is rounded once.

use rayon::prelude::*;

use super::BLOCK;
use super::draw::Draw;
use crate::dtype::Element;

/// "drop": keeps these draws apart from those of other users of the same seed.
const USER: u32 = 0x6472_6f70;

pub(super) fn apply<T: Element>(p: f64, seed: u64, draw: Draw, x: &[T], y: &mut [T]) {
    let threshold = (p * 2f64.powi(32)) as u64;
    let scale = T::Acc::from_f64(1.0 / (1.0 - p));
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).enumerate().for_each(|(block, (y, x))| {
        for (i, (y, x)) in y.chunks_mut(4).zip(x.chunks(4)).enumerate() {
            let words = draw.words(seed, block * (BLOCK / 4) + i, USER);
            for ((y, x), word) in y.iter_mut().zip(x).zip(words) {
                *y = if word as u64 >= threshold { T::from_acc(x.to_acc() * scale) } else { T::ZERO };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3 * BLOCK + 5;

    fn mask(p: f64, seed: u64, draw: Draw) -> Vec<f64> {
        let mut y = vec![0.0; LEN];
        apply(p, seed, draw, &[1.0; LEN], &mut y);
        y
    }

    #[test]
    fn keeps_its_share_and_scales_it() {
        let draw = Draw { site: 2, step: 7 };
        for p in [0.1, 0.5, 0.9] {
            let y = mask(p, 11, draw);
            let kept = y.iter().filter(|&&v| v != 0.0).count() as f64;
            let (expected, sigma) = ((1.0 - p) * LEN as f64, (p * (1.0 - p) * LEN as f64).sqrt());
            assert!((kept - expected).abs() < 5.0 * sigma, "{p}: {kept} of {LEN}");
            assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / (1.0 - p)));
        }
        assert_eq!(mask(0.0, 11, draw), [1.0; LEN]);
        let mut y = [1.0f32; 4];
        apply(1.0, 11, draw, &[f32::NAN, f32::INFINITY, 1.0, -1.0], &mut y);
        assert_eq!(y, [0.0; 4]);
    }

    #[test]
    fn every_number_of_the_counter_matters() {
        let draw = Draw { site: 2, step: 7 };
        let y = mask(0.5, 11, draw);
        assert_eq!(y, mask(0.5, 11, draw));
        assert_ne!(y, mask(0.5, 11 + (1 << 32), draw));
        assert_ne!(y, mask(0.5, 12, draw));
        assert_ne!(y, mask(0.5, 11, Draw { site: 3, ..draw }));
        assert_ne!(y, mask(0.5, 11, Draw { step: 8, ..draw }));
        let i = 2 * BLOCK + 6;
        let word = rand_philox::philox4x32_10([i as u32 / 4, 2, 7, 0x6472_6f70], [11, 0])[2];
        assert_eq!(y[i] != 0.0, word >= 1 << 31, "the documented word decides");
    }
}
