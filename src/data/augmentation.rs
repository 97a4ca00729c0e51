//! Random changes of training images, reproducible one by one.

use rand_philox::{Philox, u32_to_unit_f64};

use crate::error::{Error, Result};

/// What [`Dataset::augmented_batch`](super::Dataset::augmented_batch) does to an image, in this order; by default
/// nothing.
///
/// As torchvision's transforms `RandomResizedCrop`, `RandomCrop(size, padding)` and `RandomHorizontalFlip()` before
/// `ToTensor` and `Normalize`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augmentation {
    /// Takes a part of the image only.
    pub resized_crop: Option<ResizedCrop>,
    /// Black pixels added on each side (before normalisation); a part of the image's own size is then cut out at
    /// one of the `(2 crop_padding + 1)^2` places, all equally likely.
    pub crop_padding: usize,
    /// Whether the result is mirrored left to right, with probability 1/2.
    pub horizontal_flip: bool,
}

/// A random rectangle of an image, resized to the size of the images of the data set by a triangle filter as wide as
/// the pixels that it merges: `torchvision.transforms.RandomResizedCrop(size, scale, ratio)`.
///
/// Of photos that are read from their files for each batch it is a part of the whole photo, else of the image that
/// is in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizedCrop {
    /// Least and largest share of the image's area, in (0, 1]; uniform between them.
    pub scale: [f64; 2],
    /// Least and largest ratio of width to height, above 0; its logarithm is uniform.
    pub ratio: [f64; 2],
}

impl ResizedCrop {
    /// What ImageNet is usually trained with: 8 % to all of the area, from 3:4 to 4:3.
    pub const USUAL: ResizedCrop = ResizedCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };

    fn validate(&self) -> Result<()> {
        let ordered = |[low, high]: [f64; 2], limit: f64| 0.0 < low && low <= high && high <= limit;
        if !ordered(self.scale, 1.0) {
            return Err(Error::invalid("scale", "0 < least <= largest <= 1", format!("{:?}", self.scale)));
        }
        if !ordered(self.ratio, f64::MAX) {
            return Err(Error::invalid("ratio", "0 < least <= largest", format!("{:?}", self.ratio)));
        }
        Ok(())
    }

    /// A rectangle of an image of height `h` and width `w`.
    fn draw(&self, random: &mut Philox, [h, w]: [usize; 2]) -> Area {
        let ([h, w], [h_f, w_f]) = ([h as u32, w as u32], [h as f64, w as f64]);
        let mut uniform = |[low, high]: [f64; 2]| low + (high - low) * u32_to_unit_f64(random.next_u32());
        for _ in 0..10 {
            let area = h_f * w_f * uniform(self.scale);
            let ratio = libm::exp(uniform(self.ratio.map(libm::log)));
            let [width, height] = [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even());
            if (1.0..=w_f).contains(&width) && (1.0..=h_f).contains(&height) {
                let (width, height) = (width as u32, height as u32);
                let mut place = |free: u32| random.bounded(free + 1);
                return Area { top: place(h - height), left: place(w - width), height, width };
            }
        }
        // So long and narrow is the image: the largest part of its centre that is not.
        let side = |side: f64, limit: u32| (side.round_ties_even() as u32).clamp(1, limit);
        let (height, width) = match w_f / h_f {
            ratio if ratio < self.ratio[0] => (side(w_f / self.ratio[0], h), w),
            ratio if ratio > self.ratio[1] => (h, side(h_f * self.ratio[1], w)),
            _ => (h, w),
        };
        Area { top: (h - height) / 2, left: (w - width) / 2, height, width }
    }
}

/// A rectangle of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub top: u32,
    pub left: u32,
    pub height: u32,
    pub width: u32,
}

/// "augment" in ASCII: keeps these streams apart from others of the same seed.
const AUGMENT: u64 = 0x61_7567_6d65_6e74;

impl Augmentation {
    pub(super) fn validate(&self, [_, h, w]: [usize; 3]) -> Result<()> {
        self.resized_crop.map_or(Ok(()), |crop| crop.validate())?;
        // Beyond that a crop could miss the image.
        let limit = h.min(w).min(1 << 30);
        if self.crop_padding >= limit {
            let expected = format!("below {limit} for images of {h}x{w}");
            return Err(Error::invalid("crop_padding", expected, self.crop_padding));
        }
        Ok(())
    }

    /// How image `index` is cropped and mirrored in `epoch`; `crop_padding` is valid.
    pub(super) fn draw(&self, seed: u64, epoch: u64, index: usize) -> Crop {
        let mut random = stream(seed, epoch, index, 0);
        // Always drawn, so that one option does not change the other's outcome.
        let flip = random.bounded(2) == 1;
        let mut offset =
            || random.bounded(2 * self.crop_padding as u32 + 1) as isize - self.crop_padding as isize;
        Crop { top: offset(), left: offset(), flip: flip && self.horizontal_flip }
    }

    /// The part of image `index`, of height and width `sides`, that is taken in `epoch`, unless it is all of it.
    pub(super) fn draw_area(&self, seed: u64, epoch: u64, index: usize, sides: [usize; 2]) -> Option<Area> {
        Some(self.resized_crop?.draw(&mut stream(seed, epoch, index, 1), sides))
    }
}

/// One of two streams for each image, of 128 blocks: more than either ever needs.
fn stream(seed: u64, epoch: u64, index: usize, which: u128) -> Philox {
    let mut random = Philox::from_u64_seed_stream(seed ^ AUGMENT, epoch);
    random.seek(u128::from(epoch) << 64 | (index as u128) << 8 | which << 7);
    random
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

    const CIFAR: Augmentation = crate::data::cifar10::AUGMENTATION;

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

    #[test]
    fn resized_crops_have_the_area_and_ratio_asked_for() {
        let photos = Augmentation { resized_crop: Some(ResizedCrop::USUAL), ..Augmentation::default() };
        let areas: Vec<Area> = (0..4000).map(|i| photos.draw_area(1, 2, i, [300, 400]).unwrap()).collect();
        let share = |a: &Area| f64::from(a.width * a.height) / 120_000.0;
        let ratio = |a: &Area| f64::from(a.width) / f64::from(a.height);
        for a in &areas {
            assert!(a.top + a.height <= 300 && a.left + a.width <= 400, "{a:?}");
            // Sides are rounded to whole pixels.
            assert!((0.075..=1.0).contains(&share(a)) && (0.74..1.35).contains(&ratio(a)), "{a:?}");
        }
        // By integration over the shares and ratios that fit (share <= 3/4 ratio): 0.432 and 2319.
        let mean = areas.iter().map(share).sum::<f64>() / 4000.0;
        assert!((0.42..0.445).contains(&mean), "{mean}");
        let wide = areas.iter().filter(|a| a.width > a.height).count();
        assert!((2150..2450).contains(&wide), "{wide}");
        let drawn = |seed, epoch, index| photos.draw_area(seed, epoch, index, [300, 400]).unwrap();
        assert_eq!(drawn(1, 2, 7), areas[7]);
        assert!(drawn(1, 3, 7) != areas[7] && drawn(2, 2, 7) != areas[7] && areas[8] != areas[7]);
        assert_eq!(Augmentation::default().draw_area(1, 2, 7, [300, 400]), None);
        // Frozen, as the crops are.
        assert_eq!(drawn(0, 0, 0), Area { top: 2, left: 13, height: 291, width: 367 });
    }

    #[test]
    fn images_too_narrow_for_a_resized_crop_give_their_centre() {
        let whole = ResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 2.0] };
        let crop = |crop: ResizedCrop, sides| {
            let augmentation = Augmentation { resized_crop: Some(crop), ..Augmentation::default() };
            augmentation.draw_area(0, 0, 0, sides).unwrap()
        };
        assert_eq!(crop(whole, [90, 10]), Area { top: 40, left: 0, height: 10, width: 10 });
        assert_eq!(crop(whole, [10, 90]), Area { top: 0, left: 35, height: 10, width: 20 });
        let thin = Area { top: 0, left: 0, height: 1, width: 1 };
        assert_eq!(crop(ResizedCrop::USUAL, [1, 1]), thin);
    }
}
