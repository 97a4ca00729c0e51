//! Random changes of training images, reproducible one by one.

use rand_philox::Philox;

use crate::error::{Error, Result};

/// What [`Dataset::augmented_batch`](super::Dataset::augmented_batch) does to an image; by default nothing.
///
/// As `torchvision.transforms.RandomCrop(size, padding)` and `RandomHorizontalFlip()` before `ToTensor` and
/// `Normalize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Augmentation {
    /// Black pixels added on each side (before normalisation); a part of the image's own size is then cut out at
    /// one of the `(2 crop_padding + 1)^2` places, all equally likely.
    pub crop_padding: usize,
    /// Whether the result is mirrored left to right, with probability 1/2.
    pub horizontal_flip: bool,
}

/// "augment" in ASCII: keeps these streams apart from others of the same seed.
const AUGMENT: u64 = 0x61_7567_6d65_6e74;

impl Augmentation {
    pub(super) fn validate(&self, [_, h, w]: [usize; 3]) -> Result<()> {
        // Beyond that a crop could miss the image.
        let limit = h.min(w).min(1 << 30);
        if self.crop_padding >= limit {
            let expected = format!("below {limit} for images of {h}x{w}");
            return Err(Error::invalid("crop_padding", expected, self.crop_padding));
        }
        Ok(())
    }

    /// What happens to image `index` in `epoch`; `crop_padding` is valid.
    pub(super) fn draw(&self, seed: u64, epoch: u64, index: usize) -> Crop {
        let mut random = Philox::from_u64_seed_stream(seed ^ AUGMENT, epoch);
        // 256 blocks for each image: more than the three draws ever need.
        random.seek(u128::from(epoch) << 64 | (index as u128) << 8);
        // Always drawn, so that one option does not change the other's outcome.
        let flip = random.bounded(2) == 1;
        let mut offset =
            || random.bounded(2 * self.crop_padding as u32 + 1) as isize - self.crop_padding as isize;
        Crop { top: offset(), left: offset(), flip: flip && self.horizontal_flip }
    }
}

/// A part of an image, of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    /// Row of the image that becomes the first one.
    pub top: isize,
    /// Column of the image that becomes the first one, before the flip.
    pub left: isize,
    /// Mirrored left to right.
    pub flip: bool,
}

impl Crop {
    pub const WHOLE: Crop = Crop { top: 0, left: 0, flip: false };

    /// Looks the pixels of `image` `[C, H, W]` up in the `values` of their channel, those outside of it as 0.
    pub fn copy<T: Copy>(self, image: &[u8], [_, h, w]: [usize; 3], values: &[[T; 256]], to: &mut [T]) {
        let planes = to.chunks_exact_mut(h * w).zip(image.chunks_exact(h * w));
        for ((to, from), values) in planes.zip(values) {
            for (y, row) in to.chunks_exact_mut(w).enumerate() {
                let y = y.checked_add_signed(self.top).filter(|&y| y < h);
                let from = y.map_or(&[][..], |y| &from[y * w..][..w]);
                for (x, to) in row.iter_mut().enumerate() {
                    let x = if self.flip { w - 1 - x } else { x };
                    let pixel = x.checked_add_signed(self.left).and_then(|x| from.get(x));
                    *to = values[*pixel.unwrap_or(&0) as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIFAR: Augmentation = Augmentation { crop_padding: 4, horizontal_flip: true };

    #[test]
    fn a_crop_moves_mirrors_and_pads_with_black() {
        let values = [std::array::from_fn(|v| v as i32), std::array::from_fn(|v| -(v as i32) - 100)];
        let image = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let crop = |top, left, flip| {
            let mut to = [0; 12];
            Crop { top, left, flip }.copy(&image, [2, 2, 3], &values, &mut to);
            to
        };
        assert_eq!(crop(0, 0, false), [1, 2, 3, 4, 5, 6, -107, -108, -109, -110, -111, -112]);
        assert_eq!(crop(0, 0, true), [3, 2, 1, 6, 5, 4, -109, -108, -107, -112, -111, -110]);
        assert_eq!(crop(1, -1, false), [0, 4, 5, 0, 0, 0, -100, -110, -111, -100, -100, -100]);
        // Cut out first, then mirrored.
        assert_eq!(crop(-1, 2, true), [0, 0, 0, 0, 0, 3, -100, -100, -100, -100, -100, -109]);
    }

    #[test]
    fn every_offset_occurs_and_half_are_mirrored() {
        let mut offsets = [[0; 9]; 9];
        let mut flips = 0;
        for index in 0..8100 {
            let crop = CIFAR.draw(1, 2, index);
            offsets[(crop.top + 4) as usize][(crop.left + 4) as usize] += 1;
            flips += usize::from(crop.flip);
        }
        // 100 expected at each place, standard deviation 10; 4050 flips, 45.
        let counts = offsets.as_flattened();
        assert!(counts.iter().all(|&n| (60..140).contains(&n)), "{counts:?}");
        assert!((3870..4230).contains(&flips), "{flips}");
    }

    #[test]
    fn draws_depend_on_seed_epoch_and_index() {
        let draws = |seed, epoch| (0..20).map(|i| CIFAR.draw(seed, epoch, i)).collect::<Vec<_>>();
        assert_eq!(draws(3, 1), draws(3, 1));
        assert_ne!(draws(3, 1), draws(3, 2));
        assert_ne!(draws(3, 1), draws(4, 1));
        assert_ne!(draws(3, 1)[..10], draws(3, 1)[10..]);
        // Frozen: runs of one seed must stay comparable.
        assert_eq!(draws(0, 0)[0], Crop { top: 3, left: 0, flip: true });
        for (index, both) in draws(3, 1).into_iter().enumerate() {
            let flip = Augmentation { crop_padding: 0, ..CIFAR }.draw(3, 1, index);
            assert_eq!(flip, Crop { flip: both.flip, ..Crop::WHOLE });
            let crop = Augmentation { horizontal_flip: false, ..CIFAR }.draw(3, 1, index);
            assert_eq!(crop, Crop { flip: false, ..both });
            assert_eq!(Augmentation::default().draw(3, 1, index), Crop::WHOLE);
        }
    }
}
