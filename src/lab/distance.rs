//! How far the gradients of two choices lie apart, mini-batch by mini-batch, at the weights that a network starts from:
//! what the experiments on thresholds, volumes, norm pooling and ReLU'(0) have in common.
//!
//! D is the sum over the parameters of a norm of the difference of their gradients (R. Boustany, TMLR 2024; the published
//! code sums L1 norms for thresholds and Linf norms for volumes).

use std::fmt;
use std::str::FromStr;

use super::columns::Columns;
use crate::data::{Batches, Dataset};
use crate::error::{Error, Result};
use crate::kink::Kink;
use crate::net::Network;
use crate::precision::ReductionOrder;
use crate::progress::Progress;

/// The order in which sums are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// One and the same: two runs give the same bits.
    #[default]
    Fixed,
    /// Another one in each of the two gradients, as on a GPU without deterministic kernels; drawn from a seed.
    Seeded,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Order::Fixed => "fixed",
            Order::Seeded => "seeded",
        })
    }
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Order> {
        [Order::Fixed, Order::Seeded]
            .into_iter()
            .find(|order| order.to_string() == text)
            .ok_or_else(|| Error::invalid("order", "fixed or seeded", text))
    }
}

/// Two choices.
pub(super) struct Pair {
    /// Draws seeded orders.
    pub seed: u64,
    pub order: Order,
    pub kinks: [Kink; 2],
}

/// A row for each of the first `limit` mini-batches of `data`, in its order: the loss under the first choice, D with the
/// norms L1 and Linf, the number of elements that differ, and how many of these belong to the first parameter.
pub(super) fn measure(
    network: &mut Network,
    pair: &Pair,
    data: &Dataset,
    (batch_size, limit): (usize, usize),
    progress: &mut Progress,
) -> Result<Vec<Columns>> {
    network.set_kink(None, pair.kinks[0])?;
    let batches = Batches::in_order(data.len(), batch_size)?;
    let total = batches.len().min(limit);
    let mut rows = Vec::new();
    for (number, indices) in batches.take(total).enumerate() {
        progress.tell(number as u64, total as u64)?;
        let (x, labels) = data.batch(&indices, network.dtype())?;
        let distance = match pair.order {
            Order::Fixed => {
                let comparison = &network.compare(x.view(), &labels, &[vec![pair.kinks[1].into()]])?[0];
                let first = comparison.differences.first().map_or(0, |d| d.differing);
                Distance {
                    loss: comparison.losses[0],
                    l1: comparison.l1(),
                    linf: comparison.linf(),
                    differing: comparison.differing(),
                    first,
                }
            }
            Order::Seeded => {
                reordered(network, pair, number, |network| network.loss_and_gradients(x.view(), &labels))?
            }
        };
        rows.push(
            Columns::new()
                .with("mini_batch", number)
                .with("loss", distance.loss)
                .with("d_l1", distance.l1)
                .with("d_linf", distance.linf)
                .with("differing", distance.differing)
                .with("differing_first", distance.first),
        );
    }
    progress.tell(total as u64, total as u64)?;
    Ok(rows)
}

struct Distance {
    loss: f64,
    l1: f64,
    linf: f64,
    differing: usize,
    /// Of the first parameter.
    first: usize,
}

/// Both gradients with a forward pass of their own, each in an order of its own.
fn reordered(
    network: &mut Network,
    pair: &Pair,
    number: usize,
    mut step: impl FnMut(&mut Network) -> Result<f64>,
) -> Result<Distance> {
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    let mut gradients: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut loss = 0.0;
    for (which, kink) in pair.kinks.into_iter().enumerate().rev() {
        network.set_kink(None, kink)?;
        let seed = pair.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (2 * number + which) as u64;
        network.set_reduction_order(ReductionOrder::Seeded(seed));
        loss = step(network)?;
        let all = names.iter().map(|name| Ok(network.gradient(name)?.to_f64()));
        gradients.push(all.collect::<Result<_>>()?);
    }
    let mut distance = Distance { loss, l1: 0.0, linf: 0.0, differing: 0, first: 0 };
    for (i, (a, b)) in gradients[1].iter().zip(&gradients[0]).enumerate() {
        let apart = |(a, b): (&f64, &f64)| (a - b).abs();
        distance.l1 += a.iter().zip(b).map(apart).sum::<f64>();
        distance.linf +=
            a.iter().zip(b).map(apart).fold(0.0, |m: f64, d| if d > m || d.is_nan() { d } else { m });
        let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
        distance.differing += differing;
        distance.first += if i == 0 { differing } else { 0 };
    }
    Ok(distance)
}
