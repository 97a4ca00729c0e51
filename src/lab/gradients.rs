//! Gradients as vectors of numbers, for what no program on the device adds up.

use crate::error::Result;
use crate::kink::Kink;
use crate::net::Network;
use crate::tensor::View;

/// All gradients under `kinks`, one after the other, from a forward pass of its own.
pub(super) fn under(network: &mut Network, x: View, labels: &[i64], kinks: &[Kink]) -> Result<Vec<f64>> {
    for &kink in kinks {
        network.set_kink(None, kink)?;
    }
    network.loss_and_gradients(x, labels)?;
    network.gradients_to_f64()
}

/// Euclidean norm.
pub(super) fn norm(a: &[f64]) -> f64 {
    a.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Euclidean distance.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// a - b.
pub(super) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}
