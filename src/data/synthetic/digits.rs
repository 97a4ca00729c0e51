//! Handwritten digits: a stand-in for MNIST.
//!
//! Like MNIST they stand on a perfectly flat, black background, the source of most ties of a MaxPool.

use rand_philox::Philox;

use super::{BETWEEN, Random};
use crate::data::Dataset;
use crate::error::Result;
use crate::progress::Progress;
use crate::tensor::filled;

const SIDE: usize = 28;

/// `count` images `[1, 28, 28]` of the digits 0 to 9, drawn as pen strokes with random slant, size, place,
/// width, wobble, gaps and specks.
///
/// Image `i` depends on `seed` and `i` only, not on `count` or the platform. Take disjoint seeds for training
/// and testing.
pub fn digits(count: usize, seed: u64) -> Dataset {
    digits_with(count, seed, &mut Progress::silent()).expect("memory for the images")
}

/// As [`digits`], telling how many images were drawn.
///
/// Errors: [`Error::OutOfMemory`](crate::Error::OutOfMemory), [`Error::Cancelled`](crate::Error::Cancelled).
pub fn digits_with(count: usize, seed: u64, progress: &mut Progress) -> Result<Dataset> {
    let mut images = filled(0, count.saturating_mul(SIDE * SIDE), "the images of digits")?;
    let mut labels = Vec::new();
    for (image, index) in images.chunks_exact_mut(SIDE * SIDE).zip(0..) {
        if (index as usize).is_multiple_of(BETWEEN) {
            progress.tell(index, count as u64)?;
        }
        let mut random = Random(Philox::from_u64_seed_stream(seed ^ DIGITS, index));
        let digit = random.0.bounded(10) as u8;
        draw(image, digit, &mut random);
        labels.push(digit.into());
    }
    progress.tell(count as u64, count as u64)?;
    Dataset::new("digits", images, labels, [1, SIDE, SIDE], 10)
}

/// "digits" in ASCII: keeps these streams apart from others of the same seed.
const DIGITS: u64 = 0x6469_6769_7473;

type Point = [f64; 2];

/// Part of an ellipse, angles in degrees, clockwise on the page from 3 o'clock.
fn arc([cx, cy]: Point, [rx, ry]: Point, from: f64, to: f64) -> Vec<Point> {
    let steps = ((to - from).abs() / 24.0).ceil().max(2.0) as usize;
    let angle = |i: usize| (from + (to - from) * i as f64 / steps as f64).to_radians();
    (0..=steps).map(|i| [cx + rx * libm::cos(angle(i)), cy + ry * libm::sin(angle(i))]).collect()
}

/// Pen strokes of a digit in a box from (-0.5, -1) to (0.5, 1), y downwards, in one of the usual ways to
/// write it.
fn strokes(digit: u8, random: &mut Random) -> Vec<Vec<Point>> {
    let v = |random: &mut Random| random.range(-0.08, 0.08);
    match digit {
        0 => {
            let (start, gap) = (random.range(-130.0, -50.0), random.range(-25.0, 30.0));
            let narrow = random.range(0.34, 0.52);
            vec![arc([0.0, 0.0], [narrow, 1.0], start, start - 360.0 + gap)]
        }
        1 => {
            let mut all = vec![vec![[0.05, -1.0], [v(random), 0.0], [0.0, 1.0]]];
            if random.chance(0.45) {
                all.push(vec![[0.05, -1.0], [-0.3 + v(random), -0.6 + v(random)]]);
            }
            if random.chance(0.2) {
                all.push(vec![[-0.32, 1.0], [0.32, 1.0 + v(random)]]);
            }
            all
        }
        2 => {
            let mut pen = arc([0.0, -0.52], [0.45, 0.48], -170.0 + 40.0 * v(random), 35.0);
            if random.chance(0.35) {
                // Written in one go, with a loop at the foot.
                pen.extend([[0.05, 0.3], [-0.3, 0.85]]);
                pen.extend(arc([-0.3, 0.8], [0.16, 0.16], 100.0, 400.0));
                pen.extend([[0.15, 0.95], [0.5, 0.85 + v(random)]]);
            } else {
                pen.extend([[0.1 + v(random), 0.2], [-0.45, 0.95], [0.05, 0.95], [0.5, 0.95 + v(random)]]);
            }
            vec![pen]
        }
        3 => {
            let waist = random.range(-0.1, 0.1);
            let start = random.range(-165.0, -120.0);
            let mut pen = if random.chance(0.15) {
                vec![[-0.4, -0.95], [0.4, -0.95], [-0.02, -0.2 + waist]]
            } else {
                arc([-0.05, -0.5], [0.42, 0.47], start, 80.0)
            };
            let end = random.range(130.0, 165.0);
            pen.extend(arc([-0.05, 0.46 + waist / 2.0], [0.47, 0.5 - waist / 2.0], -80.0, end));
            vec![pen]
        }
        4 => {
            let bar = 0.25 + 2.0 * v(random);
            if random.chance(0.6) {
                // Open above.
                let left = vec![[-0.35 + v(random), -0.9], [-0.48, bar], [0.5, bar + v(random)]];
                vec![left, vec![[0.28 + v(random), -0.95 + 3.0 * v(random).abs()], [0.22, 1.0]]]
            } else {
                let left = vec![[0.25, -1.0], [-0.5, bar], [0.5, bar + v(random)]];
                vec![left, vec![[0.25, -1.0], [0.22 + v(random), 1.0]]]
            }
        }
        5 => {
            let corner = [-0.36 + v(random), -0.12 + v(random)];
            let mut pen = vec![[-0.32, -0.95], corner];
            let end = random.range(125.0, 165.0);
            pen.extend(arc([-0.05, 0.38], [0.48, 0.55], -120.0, end));
            vec![pen, vec![[-0.32, -0.95], [0.45 + v(random), -0.97 + v(random)]]]
        }
        6 => {
            let lean = random.range(0.0, 0.35);
            let mut pen = vec![[lean + 0.05, -1.0], [-0.22, -0.55], [-0.42, 0.1]];
            let close = random.range(-40.0, 30.0);
            pen.extend(arc([0.0, 0.5], [0.42, 0.48], 190.0, -170.0 + close));
            vec![pen]
        }
        7 => {
            let foot = random.range(-0.35, 0.1);
            let mut all =
                vec![vec![[-0.45, -0.88 + v(random)], [0.45, -0.92], [0.15 + v(random), -0.1], [foot, 1.0]]];
            if random.chance(0.3) {
                all.push(vec![[-0.22, 0.05 + v(random)], [0.38, -0.02 + v(random)]]);
            }
            all
        }
        8 => {
            let waist = random.range(-0.15, 0.1);
            let (upper, lower) = (random.range(0.28, 0.42), random.range(0.34, 0.5));
            let mut pen = arc([0.0, (waist - 1.0) / 2.0], [upper, (waist + 1.0) / 2.0], 80.0, 440.0);
            let gap = random.range(-20.0, 35.0);
            pen.extend(arc([0.0, (waist + 1.0) / 2.0], [lower, (1.0 - waist) / 2.0], -90.0, 270.0 - gap));
            vec![pen]
        }
        _ => {
            let close = random.range(-15.0, 45.0);
            let mut pen = arc([-0.02, -0.5], [0.42, 0.46], -30.0 - close, -380.0);
            let foot = random.range(-0.3, 0.3);
            pen.extend([[0.38, -0.1], [0.3, 0.4], [foot, 1.0]]);
            vec![pen]
        }
    }
}

fn draw(image: &mut [u8], digit: u8, random: &mut Random) {
    let mut ink = [0f64; SIDE * SIDE];
    let place = placement(random);
    let wobble = random.range(0.15, 0.6);
    let width = random.range(1.6, 3.6);
    let strength = random.range(0.8, 1.4);
    for stroke in strokes(digit, random) {
        let points: Vec<Point> = stroke.into_iter().map(|p| wobbled(place(p), wobble, random)).collect();
        let points = smooth(&points);
        let mut pressure = random.range(0.75, 1.0);
        // A break: a run of segments without ink.
        let broken = random.chance(0.12).then(|| random.0.bounded(points.len() as u32) as usize);
        for (i, ends) in points.windows(2).enumerate() {
            pressure = (pressure + random.range(-0.12, 0.12)).clamp(0.45, 1.0);
            if broken.is_some_and(|at| i.abs_diff(at) < 2) {
                continue;
            }
            paint(&mut ink, [ends[0], ends[1]], width * (0.7 + 0.3 * pressure), strength * pressure);
        }
    }
    let grain = random.range(0.0, 0.3);
    for (to, &ink) in image.iter_mut().zip(&ink) {
        if ink > 0.0 {
            *to = (255.0 * ink * (1.0 - random.range(0.0, grain)) + 0.5) as u8;
        }
    }
    if random.chance(0.35) {
        for _ in 0..1 + random.0.bounded(5) {
            let at = random.0.bounded((SIDE * SIDE) as u32) as usize;
            image[at] = image[at].max(random.range(60.0, 255.0) as u8);
        }
    }
}

/// A random affine map from the box of [`strokes`] to pixels.
fn placement(random: &mut Random) -> impl Fn(Point) -> Point + use<> {
    let angle = (11.0 * random.bell()).to_radians();
    let (sin, cos) = (libm::sin(angle), libm::cos(angle));
    let shear = 0.16 * random.bell() + 0.12;
    let (sx, sy) = (random.range(7.5, 13.5), random.range(6.5, 10.5));
    let middle = (SIDE as f64 - 1.0) / 2.0;
    let (dx, dy) = (middle + random.range(-2.2, 2.2), middle + random.range(-2.2, 2.2));
    move |[x, y]| {
        let (x, y) = (sx * (x - shear * y), sy * y);
        [cos * x - sin * y + dx, sin * x + cos * y + dy]
    }
}

fn wobbled([x, y]: Point, size: f64, random: &mut Random) -> Point {
    [x + size * random.bell(), y + size * random.bell()]
}

/// Cuts the corners once (Chaikin), keeping the ends.
fn smooth(points: &[Point]) -> Vec<Point> {
    let between = |a: Point, b: Point, t: f64| [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
    let mut out = vec![points[0]];
    for ends in points.windows(2) {
        out.extend([between(ends[0], ends[1], 0.25), between(ends[0], ends[1], 0.75)]);
    }
    out.extend(points.last());
    out
}

/// Draws a segment with round ends and an edge one pixel soft; overlapping strokes keep the stronger ink.
fn paint(ink: &mut [f64; SIDE * SIDE], [a, b]: [Point; 2], width: f64, strength: f64) {
    let reach = width / 2.0 + 0.5;
    let pixels = |i: usize| {
        let (low, high) = (a[i].min(b[i]) - reach, a[i].max(b[i]) + reach);
        low.ceil().clamp(0.0, SIDE as f64) as usize..(high.floor() + 1.0).clamp(0.0, SIDE as f64) as usize
    };
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let squared = (dx * dx + dy * dy).max(1e-9);
    for y in pixels(1) {
        for x in pixels(0) {
            let (px, py) = (x as f64 - a[0], y as f64 - a[1]);
            let along = ((px * dx + py * dy) / squared).clamp(0.0, 1.0);
            let (ex, ey) = (px - along * dx, py - along * dy);
            let edge = (reach - (ex * ex + ey * ey).sqrt()).clamp(0.0, 1.0);
            let at = &mut ink[y * SIDE + x];
            *at = at.max((strength * edge).min(1.0));
        }
    }
}
