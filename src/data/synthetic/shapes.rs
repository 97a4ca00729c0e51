//! Coloured shapes: a stand-in for CIFAR-10.
//!
//! Half of them stand on a flat background, the source of most ties of a MaxPool, half on a shaded one with noise, as
//! photos have it.

use rand_philox::Philox;

use super::{BETWEEN, Random};
use crate::data::Dataset;
use crate::error::Result;
use crate::progress::Progress;
use crate::tensor::filled;

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;

/// `count` images `[3, 32, 32]` of ten classes: disc, ring, square, frame, triangle, plus, cross, horizontal stripes,
/// vertical stripes, checkerboard; of random colours, size, place, slant, background and noise.
///
/// Image `i` depends on `seed` and `i` only, not on `count` or the platform. Take disjoint seeds for training
/// and testing.
pub fn shapes(count: usize, seed: u64) -> Dataset {
    shapes_with(count, seed, &mut Progress::silent()).expect("memory for the images")
}

/// As [`shapes`], telling how many images were drawn.
///
/// Errors: [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Cancelled`](crate::Error::Cancelled).
pub fn shapes_with(count: usize, seed: u64, progress: &mut Progress) -> Result<Dataset> {
    let mut images = filled(0, count.saturating_mul(3 * PIXELS), "the images of shapes")?;
    let mut labels = Vec::new();
    for (image, index) in images.chunks_exact_mut(3 * PIXELS).zip(0..) {
        if (index as usize).is_multiple_of(BETWEEN) {
            progress.tell(index, count as u64)?;
        }
        let mut random = Random(Philox::from_u64_seed_stream(seed ^ SHAPES, index));
        let class = random.0.bounded(10) as u8;
        draw(image, class, &mut random);
        labels.push(class.into());
    }
    progress.tell(count as u64, count as u64)?;
    Dataset::new("shapes", images, labels, [3, SIDE, SIDE], 10)
}

/// "shapes" in ASCII: keeps these streams apart from others of the same seed.
const SHAPES: u64 = 0x7368_6170_6573;

/// Whether a shape of size 1 around the origin holds a point, y downwards.
fn holds(class: u8, x: f64, y: f64) -> bool {
    let (ax, ay) = (x.abs(), y.abs());
    let (square, radius) = (ax.max(ay), (x * x + y * y).sqrt());
    // Stripes and fields of half a unit.
    let odd = |v: f64| (2.0 * (v + 1.0)).floor() as i64 % 2 == 1;
    match class {
        0 => radius < 1.0,
        1 => radius < 1.0 && radius > 0.55,
        2 => square < 0.85,
        3 => square < 0.9 && square > 0.5,
        4 => y < 0.8 && y > 2.0 * ax - 1.0,
        5 => square < 1.0 && ax.min(ay) < 0.28,
        6 => square < 0.85 && (ax - ay).abs() < 0.35,
        7 => square < 1.0 && odd(y),
        8 => square < 1.0 && odd(x),
        _ => square < 1.0 && odd(x) != odd(y),
    }
}

fn draw(image: &mut [u8], class: u8, random: &mut Random) {
    let back: [f64; 3] = std::array::from_fn(|_| random.range(20.0, 235.0));
    let front = contrasting(back, random);
    let size = random.range(7.0, 12.5);
    let free = SIDE as f64 / 2.0 - size;
    let middle = (SIDE as f64 - 1.0) / 2.0;
    let (cx, cy) = (middle + random.range(-free, free), middle + random.range(-free, free));
    let angle = random.range(-15.0, 15.0f64).to_radians();
    let (sin, cos) = (libm::sin(angle) / size, libm::cos(angle) / size);
    let flat = random.chance(0.5);
    let shade: [f64; 2] = std::array::from_fn(|_| random.range(-1.5, 1.5));
    let noise = random.range(2.0, 12.0);
    for (i, at) in (0..PIXELS).map(|i| (i, [(i % SIDE) as f64, (i / SIDE) as f64])) {
        // The share of the pixel that is covered, from 4x4 points in it.
        let covered = (0..16).filter(|k| {
            let (x, y) =
                (at[0] + (k % 4) as f64 / 4.0 - 0.375 - cx, at[1] + (k / 4) as f64 / 4.0 - 0.375 - cy);
            holds(class, cos * x + sin * y, cos * y - sin * x)
        });
        let covered = covered.count() as f64 / 16.0;
        let light = shade[0] * (at[0] - middle) + shade[1] * (at[1] - middle);
        for (channel, (front, back)) in front.iter().zip(back).enumerate() {
            let change = if flat { 0.0 } else { light + noise * random.bell() };
            let value = back + covered * (front - back) + change;
            image[channel * PIXELS + i] = (value + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
}

/// A colour that can be told from `back`, noise or not.
fn contrasting(back: [f64; 3], random: &mut Random) -> [f64; 3] {
    // Nearly always the first few hold one that is far enough.
    let mut front = [0.0; 3];
    for _ in 0..64 {
        front = std::array::from_fn(|_| random.range(0.0, 255.0));
        if front.iter().zip(back).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() > 120.0 * 120.0 {
            break;
        }
    }
    front
}
