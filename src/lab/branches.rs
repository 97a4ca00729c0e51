//! A difference of gradients without a threshold: repeated in f64 on the branches that a run has taken, it vanishes
//! (compensation) or stays (bifurcation). What the experiments on replay and precision have in common.

use super::columns::Columns;
use super::gradients::{difference, distance, norm};
use crate::error::Result;
use crate::kink::{Kink, MaxPoolJacobian, MaxPoolKink};
use crate::net::{Network, TieClass};
use crate::tensor::View;

/// Below this share of the gradient a replayed difference is f64's own rounding. What stays is larger by many orders of
/// magnitude, so any number between gives the same; the tables say how wide the gap is.
pub(super) const VANISHES: f64 = 1e-11;

fn minimal() -> Kink {
    Kink::MaxPool(MaxPoolKink { jacobian: MaxPoolJacobian::Minimal, ..Default::default() })
}

/// The native and the minimal Jacobian on a mini-batch: a row with
/// `norm` (Euclidean norm of the gradient), `d_l1`, `d_linf` (sums over the parameters, as published), and as shares of the
/// norm `working` (the difference), `bifurcation` (the same, replayed in f64) and `compensation` (the rest); `bifurcated`;
/// windows by the cause of their tie. `exact` is a network of the same graph in f64.
pub(super) fn row(network: &mut Network, exact: &mut Network, x: View, labels: &[i64]) -> Result<Columns> {
    let native = Kink::MaxPool(MaxPoolKink::default());
    network.set_kink(None, native)?;
    let comparison = &network.compare(x, labels, &[vec![minimal().into()]])?[0];
    let (loss, l1, linf) = (comparison.losses[0], comparison.l1(), comparison.linf());
    let first = network.gradients_to_f64()?;
    let working = difference(&under_stored(network, minimal())?, &first);
    network.set_kink(None, native)?;
    let classes = network.tie_classes()?;
    exact.replay(network)?;
    let native = under_stored(exact, native)?;
    let replayed = difference(&under_stored(exact, minimal())?, &native);
    let length = norm(&native);
    let stays = norm(&replayed) / length;
    let mut row = Columns::new()
        .with("loss", loss)
        .with("norm", length)
        .with("d_l1", l1)
        .with("d_linf", linf)
        .with("working", norm(&working) / length)
        .with("bifurcation", stays)
        .with("compensation", distance(&working, &replayed) / length)
        .with("bifurcated", stays > VANISHES);
    for class in TieClass::ALL {
        row = row.with(class.name(), classes.iter().map(|layer| layer.count(class)).sum::<u64>());
    }
    Ok(row)
}

/// All gradients of a further backward pass.
fn under_stored(network: &mut Network, kink: Kink) -> Result<Vec<f64>> {
    network.set_kink(None, kink)?;
    network.backward()?;
    network.gradients_to_f64()
}
