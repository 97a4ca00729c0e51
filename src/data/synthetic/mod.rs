//! Images drawn by a program: stand-ins that need no file.

mod digits;
mod shapes;

use rand_philox::{Philox, u32_to_unit_f64};

pub use digits::{digits, digits_with};
pub use shapes::{shapes, shapes_with};

use super::Split;

/// The data that experiments use where no real one is given: `train` and `test` images of [`digits`] from
/// two fixed seeds.
pub fn embedded(train: usize, test: usize) -> Split {
    Split { train: digits(train, 1), test: digits(test, 2) }
}

/// As [`embedded`], in colour: [`shapes`].
pub fn embedded_colour(train: usize, test: usize) -> Split {
    Split { train: shapes(train, 1), test: shapes(test, 2) }
}

/// Images drawn between two reports of progress.
const BETWEEN: usize = 1024;

struct Random(Philox);

impl Random {
    fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * u32_to_unit_f64(self.0.next_u32())
    }

    /// Bell-shaped around 0, standard deviation 1, within +-3.5 (sum of four uniforms): no logarithm, whose
    /// last bit differs between platforms.
    fn bell(&mut self) -> f64 {
        (0..4).map(|_| self.range(-0.5, 0.5)).sum::<f64>() * 3f64.sqrt()
    }

    fn chance(&mut self, p: f64) -> bool {
        self.range(0.0, 1.0) < p
    }
}
