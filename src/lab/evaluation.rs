//! How good a network is on test images.

use crate::data::{Batches, Dataset};
use crate::error::Result;
use crate::net::Network;

/// Mean loss and share of hits, 0 to 1.
pub(super) fn test(network: &mut Network, data: &Dataset, batch_size: usize) -> Result<(f64, f64)> {
    let (mut loss, mut correct) = (0.0, 0);
    for indices in Batches::in_order(data.len(), batch_size)? {
        let (x, labels) = data.batch(&indices, network.dtype())?;
        let evaluation = network.evaluate(x.view(), &labels)?;
        loss += evaluation.loss * labels.len() as f64;
        correct += evaluation.correct;
    }
    Ok((loss / data.len() as f64, correct as f64 / data.len() as f64))
}
