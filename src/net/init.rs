//! PyTorch's default initialisation, from a seed.

use rand_philox::{Philox, u32_to_unit_f64};

use super::graph::Declaration;
use crate::error::Result;
use crate::shape::element_count;
use crate::tensor::filled;

/// Values of parameter number `index`: uniform on (-1/sqrt(fan_in), 1/sqrt(fan_in)), as
/// `torch.nn.Conv2d` and `torch.nn.Linear` draw weights and biases. The numbers depend on the seed and the
/// index alone, so that networks of different dtypes start from the same values, each rounded once.
pub(super) fn default_values(declaration: &Declaration, index: usize, seed: u64) -> Result<Vec<f64>> {
    let bound = 1.0 / (declaration.fan_in as f64).sqrt();
    let mut random = Philox::from_u64_seed_stream(seed, index as u64);
    let mut values = filled(0.0, element_count(&declaration.shape)?, &declaration.name)?;
    values.fill_with(|| (2.0 * u32_to_unit_f64(random.next_u32()) - 1.0) * bound);
    Ok(values)
}
