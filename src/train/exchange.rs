//! What ranks, processes or threads that train one network together, say to each other.

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dtype::Accumulator;
use crate::error::{Error, Result};
use crate::tensor::filled;

/// The way from rank to rank. All ranks make the same calls of what is built on it, in the same order.
pub trait Exchange {
    /// The number of this rank, below [`Exchange::ranks`].
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Sends `bytes` to rank `to`, another one.
    fn send(&self, to: usize, bytes: &[u8]) -> Result<()>;

    /// Fills `bytes` with what rank `from` sends, which is as long.
    fn receive(&self, from: usize, bytes: &mut [u8]) -> Result<()>;

    /// Fills `bytes` with those of rank `from` on all ranks.
    fn broadcast(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        if self.rank() != from {
            return self.receive(from, bytes);
        }
        (0..self.ranks()).filter(|&to| to != from).try_for_each(|to| self.send(to, bytes))
    }
}

impl<T: Exchange + ?Sized> Exchange for &T {
    fn rank(&self) -> usize {
        (**self).rank()
    }

    fn ranks(&self) -> usize {
        (**self).ranks()
    }

    fn send(&self, to: usize, bytes: &[u8]) -> Result<()> {
        (**self).send(to, bytes)
    }

    fn receive(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        (**self).receive(from, bytes)
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        (**self).broadcast(from, bytes)
    }
}

/// The only rank.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Exchange for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn send(&self, to: usize, _: &[u8]) -> Result<()> {
        Err(Error::invalid("to", "no other rank: there is one", to))
    }

    fn receive(&self, from: usize, _: &mut [u8]) -> Result<()> {
        Err(Error::invalid("from", "no other rank: there is one", from))
    }
}

/// What a rank says of itself: names and values.
pub type Facts = Vec<(String, String)>;

/// Finds out on all ranks whether one of them has failed, or says something else of itself than rank 0.
///
/// Errors, on every rank: the own one; [`Error::Cancelled`] where any rank was cancelled; [`Error::Rank`] for the first
/// rank that failed or differs.
pub fn agree(exchange: &dyn Exchange, own: Result<Facts>) -> Result<()> {
    // Nobody else, nothing to write down.
    if exchange.ranks() == 1 {
        return own.map(|_| ());
    }
    let said: std::result::Result<&Facts, Option<String>> =
        own.as_ref().map_err(|e| (*e != Error::Cancelled).then(|| e.to_string()));
    let said = serde_json::to_vec(&said).expect("texts");
    let all = share_all(exchange, &said)?;
    own?;
    let mut first: Option<Facts> = None;
    for (rank, bytes) in all.iter().enumerate() {
        let refuse = |message| Err(Error::Rank { rank, message });
        let facts: Facts = match serde_json::from_slice(bytes) {
            Ok(Ok(facts)) => facts,
            Ok(Err(None)) => return Err(Error::Cancelled),
            Ok(Err(Some(message))) => return refuse(message),
            Err(_) => return refuse("runs another version of the program".into()),
        };
        let first = first.get_or_insert_with(|| facts.clone());
        let nothing = || ("nothing".to_string(), String::new());
        for i in 0..first.len().max(facts.len()) {
            let [expected, got] =
                [&*first, &facts].map(|facts| facts.get(i).cloned().unwrap_or_else(nothing));
            if expected != got {
                let message =
                    format!("expected {} {} as on rank 0, got {} {}", expected.0, expected.1, got.0, got.1);
                return refuse(message);
            }
        }
    }
    Ok(())
}

/// The `own` values of all ranks, by rank, on each.
pub(super) fn gather<T: Serialize + DeserializeOwned>(exchange: &dyn Exchange, own: &T) -> Result<Vec<T>> {
    let own = serde_json::to_vec(own).expect("a value of ours");
    // [`agree`] has found out that all run the same version.
    let read = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("a value of ours");
    Ok(share_all(exchange, &own)?.into_iter().map(read).collect())
}

/// The `own` bytes of all ranks, by rank, on each.
fn share_all(exchange: &dyn Exchange, own: &[u8]) -> Result<Vec<Vec<u8>>> {
    (0..exchange.ranks()).map(|from| share(exchange, from, own)).collect()
}

/// The `own` bytes of rank `from`, on all ranks.
fn share(exchange: &dyn Exchange, from: usize, own: &[u8]) -> Result<Vec<u8>> {
    let mut len = (own.len() as u64).to_le_bytes();
    exchange.broadcast(from, &mut len)?;
    let mut bytes = own.to_vec();
    bytes.resize(u64::from_le_bytes(len) as usize, 0);
    exchange.broadcast(from, &mut bytes)?;
    Ok(bytes)
}

/// The sum over rows of `len` numbers on every rank: those of rank 0 in their order, then those of rank 1, and so on, one
/// after the other, so that it does not depend on how the rows are shared among ranks. `own` are those of this rank.
pub fn sum_in_order(exchange: &dyn Exchange, own: &[Vec<f64>], len: usize) -> Result<Vec<f64>> {
    sum(exchange, own, len)
}

/// Elements of one message: the sum of the next ones begins while it is on its way.
const MESSAGE: usize = 1 << 18;

/// [`sum_in_order`] of any type. The sum travels from rank to rank, each of which adds its own; the last one has all of it.
pub(super) fn sum<A: Accumulator>(exchange: &dyn Exchange, own: &[Vec<A>], len: usize) -> Result<Vec<A>> {
    let (rank, last) = (exchange.rank(), exchange.ranks() - 1);
    let mut sum = filled(A::ZERO, len, "a sum over ranks")?;
    let messages = || (0..len).step_by(MESSAGE).map(|start| start..len.min(start + MESSAGE));
    for range in messages() {
        let sum = &mut sum[range.clone()];
        let mut rows = own.iter();
        if rank > 0 {
            exchange.receive(rank - 1, bytemuck::cast_slice_mut(sum))?;
        } else if let Some(first) = rows.next() {
            sum.copy_from_slice(&first[range.clone()]);
        }
        rows.for_each(|row| add(sum, row, range.clone()));
        if rank < last {
            exchange.send(rank + 1, bytemuck::cast_slice(sum))?;
        }
    }
    if last > 0 {
        messages()
            .try_for_each(|range| exchange.broadcast(last, bytemuck::cast_slice_mut(&mut sum[range])))?;
    }
    Ok(sum)
}

fn add<A: Accumulator>(sum: &mut [A], row: &[A], range: Range<usize>) {
    sum.iter_mut().zip(&row[range]).for_each(|(sum, &v)| *sum += v);
}

/// Adds a row to those of a rank: the first rank, where the sum begins, needs to keep the sum alone.
pub(super) fn push<A: Accumulator>(exchange: &dyn Exchange, own: &mut Vec<Vec<A>>, row: Vec<A>) {
    match own.first_mut() {
        Some(sum) if exchange.rank() == 0 => add(sum, &row, 0..row.len()),
        _ => own.push(row),
    }
}
