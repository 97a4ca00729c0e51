//! Data-parallel training: one network on several ranks, each of which has some parts of every mini-batch.

use std::ops::Range;

use super::exchange::{self, Exchange, Facts, agree};
use super::optimizer::{Optimizer, StepReport};
use crate::dtype::{Accumulator, DType};
use crate::error::{Error, Result};
use crate::net::{Fingerprint, Network, NonFinite, Pass};
use crate::tensor::Tensor;

/// Training steps whose mini-batches are cut into a fixed number of parts, shared among the ranks of an [`Exchange`].
///
/// Gradients are summed in the order of the parts, so a run has the same bits on any number of ranks, one among them, but
/// not for another number of parts. Batch normalisation takes the statistics of each part by itself, as PyTorch's
/// `DistributedDataParallel` does without `SyncBatchNorm`; the running statistics become the mean of what the parts, each
/// starting from the same, would make of them. Each part draws the random numbers of a step of its own:
/// [`Network::steps`] counts parts.
pub struct DataParallel<'a> {
    exchange: &'a dyn Exchange,
    parts: usize,
}

/// What a step of all ranks did: the same on each.
#[derive(Debug, Clone, PartialEq)]
pub struct ParallelReport {
    /// What the optimizer did with the gradients of the whole mini-batch.
    pub step: StepReport,
    /// Mean cross-entropy over the mini-batch.
    pub loss: f64,
    /// What [`Network::non_finite`] finds in the first part with a value that [lasts](NonFinite::lasts), else in the first
    /// with any, then in the optimizer; empty where the networks are not watched.
    pub non_finite: Vec<NonFinite>,
}

impl<'a> DataParallel<'a> {
    /// Steps in `parts` parts for a network and an optimizer that are the same on all ranks.
    ///
    /// Errors: [`Error::InvalidArgument`] where the ranks do not divide `parts`; [`Error::Rank`] for the first rank whose
    /// number of parts, network, weights, precision, seed, choices or optimizer are not those of rank 0.
    pub fn new(
        exchange: &'a dyn Exchange,
        parts: usize,
        network: &mut Network,
        optimizer: &Optimizer,
    ) -> Result<DataParallel<'a>> {
        let ranks = exchange.ranks();
        let own = if parts == 0 || !parts.is_multiple_of(ranks) {
            Err(Error::invalid("parts", format!("a multiple of the {ranks} ranks"), parts))
        } else {
            facts(parts, network, optimizer)
        };
        agree(exchange, own)?;
        Ok(DataParallel { exchange, parts })
    }

    /// The parts of a mini-batch of `samples` that are this rank's, as ranges of samples in their order; none is empty.
    pub fn own(&self, samples: usize) -> Vec<Range<usize>> {
        self.own_parts(samples).map(|(_, range)| range).collect()
    }

    /// [`DataParallel::own`] with their numbers.
    fn own_parts(&self, samples: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let each = self.parts / self.exchange.ranks();
        let first = each * self.exchange.rank();
        // The first ones are larger by one where there is a remainder.
        let (size, remainder) = (samples / self.parts, samples % self.parts);
        let start = move |part: usize| part * size + part.min(remainder);
        (first..first + each).map(move |p| (p, start(p)..start(p + 1))).filter(|(_, range)| !range.is_empty())
    }

    /// A training step on a mini-batch of `samples`, of which `own` gives the parts of this rank, those of
    /// [`DataParallel::own`], each as x `[N, C, H, W]` with N labels.
    ///
    /// A gradient that is not finite, on whichever rank, lets all skip the step where there is a loss scaler.
    /// Errors, on all ranks: what `own` or the network says on one of them, as [`agree`] tells; [`Error::Rank`] where
    /// ranks are at different steps, have different `samples`, or not all are watched.
    pub fn step(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        samples: usize,
        own: impl Iterator<Item = Result<(Tensor, Vec<i64>)>>,
    ) -> Result<ParallelReport> {
        match network.precision().storage.accumulate() {
            DType::F64 => self.step_in::<f64>(network, optimizer, samples, own),
            _ => self.step_in::<f32>(network, optimizer, samples, own),
        }
    }

    /// [`DataParallel::step`] with sums in `A`.
    fn step_in<A: Accumulator>(
        &self,
        network: &mut Network,
        optimizer: &mut Optimizer,
        samples: usize,
        own: impl Iterator<Item = Result<(Tensor, Vec<i64>)>>,
    ) -> Result<ParallelReport> {
        let (step, watched) = (network.steps(), network.watches_non_finite());
        let mut found = Vec::new();
        let run = || {
            optimizer.check(network)?;
            if samples == 0 {
                return Err(Error::invalid("samples", "at least 1", 0));
            }
            let start = network.start_parts()?;
            let (mut rows, mut own) = (Vec::new(), own);
            for (part, range) in self.own_parts(samples) {
                let missing =
                    || Error::invalid("own", format!("samples {range:?} of the mini-batch"), "no more");
                let (x, labels) = own.next().ok_or_else(missing)??;
                if labels.len() != range.len() {
                    return Err(Error::shape("labels", format!("[{}]", range.len()), &[labels.len()]));
                }
                let weight = range.len() as f64 / samples as f64;
                let row = network.run_part::<A>(&start, part, weight, x.view(), &labels)?;
                exchange::push(self.exchange, &mut rows, row);
                found.push((part, network.non_finite()?));
            }
            Ok((start, rows))
        };
        let ran = run();
        let facts = || {
            let (step, samples, watched) = (step.to_string(), samples.to_string(), watched.to_string());
            fact_list([("step", step), ("samples", samples), ("watched", watched)])
        };
        let (outcome, ran) = match ran {
            Ok(ran) => (Ok(facts()), Some(ran)),
            Err(e) => (Err(e), None),
        };
        agree(self.exchange, outcome)?;
        let (start, rows) = ran.expect("all have agreed that they succeeded");
        let mut non_finite = if watched { self.first_found(found)? } else { Vec::new() };
        let mean = exchange::sum(self.exchange, &rows, network.part_len())?;
        let loss = network.take_mean(&start, self.parts, &mean)?;
        let step = optimizer.step(network)?;
        // What is behind the parts is the same on all ranks.
        non_finite.extend(network.non_finite()?.into_iter().filter(|f| f.pass == Pass::Optimizer));
        Ok(ParallelReport { step, loss, non_finite })
    }

    /// Of what the parts of all ranks found, that of the first part with a value that lasts, else of the first with any.
    fn first_found(&self, own: Vec<(usize, Vec<NonFinite>)>) -> Result<Vec<NonFinite>> {
        let place = |(part, found): &(usize, Vec<NonFinite>)| (!found.iter().any(NonFinite::lasts), *part);
        let own = own.into_iter().filter(|(_, found)| !found.is_empty()).min_by_key(place);
        let all = exchange::gather(self.exchange, &own)?.into_iter().flatten();
        Ok(all.min_by_key(place).map_or(Vec::new(), |(_, found)| found))
    }
}

fn fact_list<const N: usize>(facts: [(&str, String); N]) -> Facts {
    facts.map(|(name, value)| (name.to_string(), value)).to_vec()
}

/// All that the bits of a run depend on.
fn facts(parts: usize, network: &mut Network, optimizer: &Optimizer) -> Result<Facts> {
    let mut state = Fingerprint::new();
    optimizer.state(network)?.iter().for_each(|(_, tensor)| state.add(tensor));
    let mut facts = fact_list([
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("parts", parts.to_string()),
        ("precision", network.precision().to_string()),
        ("engine", if network.placement().gpu { network.engine().info().name } else { "cpu".into() }),
    ]);
    facts.extend(network.parameters().map(|p| (p.name.clone(), format!("{:?}", p.shape))));
    for layer in network.layers() {
        if let Some(kink) = network.kink(&layer.name)? {
            facts.push((layer.name, format!("{kink:?}")));
        }
    }
    facts.extend(fact_list([
        ("random numbers", network.draws()),
        ("weights", format!("{:016x}", network.fingerprint()?)),
        ("optimizer", format!("{:?} after {} steps", optimizer.options(), optimizer.steps())),
        ("state of the optimizer", format!("{:016x}", state.value())),
    ]));
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::engine::{Engine, EngineOptions, SgdOptions};
    use crate::kink::{Composition, Kink, MaxPoolKink};
    use crate::net::Graph;
    use crate::precision::Precision;
    use crate::shape::Window2d;
    use crate::train::{Alone, GradScaler, OptimizerOptions};

    /// Ranks that are threads.
    struct Channels {
        rank: usize,
        to: Vec<Sender<Vec<u8>>>,
        from: Vec<Receiver<Vec<u8>>>,
    }

    impl Exchange for Channels {
        fn rank(&self) -> usize {
            self.rank
        }
        fn ranks(&self) -> usize {
            self.to.len()
        }
        fn send(&self, to: usize, bytes: &[u8]) -> Result<()> {
            self.to[to].send(bytes.to_vec()).map_err(|_| Error::Unsupported(format!("rank {to} has gone")))
        }
        fn receive(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
            let gone = |_| Error::Unsupported(format!("rank {from} has gone"));
            bytes.copy_from_slice(&self.from[from].recv().map_err(gone)?);
            Ok(())
        }
    }

    /// What each rank's thread returns.
    fn on_ranks<T: Send>(ranks: usize, work: impl Fn(&dyn Exchange) -> T + Sync) -> Vec<T> {
        let mut to: Vec<Vec<Sender<Vec<u8>>>> = vec![Vec::new(); ranks];
        let mut all = Vec::new();
        for rank in 0..ranks {
            let (senders, from) = (0..ranks).map(|_| channel()).unzip::<_, _, Vec<_>, Vec<_>>();
            to.iter_mut().zip(senders).for_each(|(to, sender)| to.push(sender));
            all.push((rank, from));
        }
        let all: Vec<Channels> =
            all.into_iter().zip(to).map(|((rank, from), to)| Channels { rank, to, from }).collect();
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = all.into_iter().map(|rank| scope.spawn(move || work(&rank))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// A convolution, with batch normalisation and dropout or without, then a linear layer.
    fn graph(noisy: bool) -> Graph {
        let mut g = Graph::new([2, 8, 8]);
        let mut x = g.conv2d("conv", g.input(), 6, Window2d::new(3, 1, 1), !noisy).unwrap();
        if noisy {
            x = g.batchnorm("norm", x).unwrap();
        }
        x = g.relu("relu", x).unwrap();
        x = g.maxpool2d("pool", x, Window2d::new(2, 2, 0)).unwrap();
        if noisy {
            x = g.dropout("dropout", x, 0.25).unwrap();
        }
        x = g.flatten("flatten", x).unwrap();
        g.linear("linear", x, 3, true).unwrap();
        g
    }

    fn networks(noisy: bool, precision: Precision, seed: u64, scale: f64) -> (Network, Optimizer) {
        let engine = Engine::new(&EngineOptions { threads: 1, ..Default::default() }).unwrap();
        let mut network = Network::new(&engine, &graph(noisy), precision, seed).unwrap();
        let sgd = SgdOptions { learning_rate: 0.05, momentum: 0.9, ..Default::default() };
        let grad_scaler = precision.is_mixed().then(|| GradScaler { scale, ..Default::default() });
        let options = OptimizerOptions { grad_scaler, ..sgd.into() };
        let optimizer = Optimizer::new(&mut network, options).unwrap();
        (network, optimizer)
    }

    /// Images first..last of a data set.
    fn images(range: Range<usize>, network: &Network) -> Result<(Tensor, Vec<i64>)> {
        let value = |i: usize| ((i * 7919 + i * i % 101) % 257) as f64 / 128.0 - 1.0;
        let values: Vec<f64> = (range.start * 128..range.end * 128).map(value).collect();
        let x = Tensor::from_f64(network.dtype(), &[range.len(), 2, 8, 8], &values)?;
        Ok((x, range.map(|i| (i % 3) as i64).collect()))
    }

    fn step(
        parallel: &DataParallel,
        network: &mut Network,
        optimizer: &mut Optimizer,
        samples: usize,
    ) -> Result<ParallelReport> {
        let own: Vec<_> = parallel.own(samples).into_iter().map(|range| images(range, network)).collect();
        parallel.step(network, optimizer, samples, own.into_iter())
    }

    /// Full, uneven and nearly empty mini-batches.
    const SAMPLES: [usize; 5] = [16, 16, 10, 3, 16];

    /// Loss of each step, a fingerprint of what is left, and the steps of network and optimizer.
    fn train(exchange: &dyn Exchange, parts: usize, precision: Precision) -> (Vec<f64>, u64, u64, u64) {
        let (mut network, mut optimizer) = networks(true, precision, 1, 256.0);
        let parallel = DataParallel::new(exchange, parts, &mut network, &optimizer).unwrap();
        let losses = SAMPLES.map(|n| step(&parallel, &mut network, &mut optimizer, n).unwrap().loss);
        (losses.to_vec(), network.fingerprint().unwrap(), network.steps(), optimizer.steps())
    }

    #[test]
    fn any_number_of_ranks_gives_the_same_bits() {
        let all: [Precision; 4] = [DType::F64.into(), DType::F32.into(), DType::F16.into(), Precision::MIXED];
        for precision in all {
            let alone = train(&Alone, 4, precision);
            assert!(alone.0.iter().all(|loss| loss.is_finite()), "{precision}: {alone:?}");
            assert_eq!(alone.3, SAMPLES.len() as u64, "{precision}: no step is skipped");
            for ranks in [1, 2, 4] {
                let all = on_ranks(ranks, |exchange| train(exchange, 4, precision));
                assert!(
                    all.iter().all(|rank| *rank == alone),
                    "{precision}, {ranks} ranks: {all:?} {alone:?}"
                );
            }
            assert_ne!(train(&Alone, 2, precision).1, alone.1, "other parts, other roundings");
        }
    }

    #[test]
    fn one_part_is_a_training_step() {
        for precision in [DType::F32.into(), Precision::MIXED] {
            let (mut network, mut optimizer) = networks(true, precision, 1, 256.0);
            for samples in SAMPLES {
                let (x, labels) = images(0..samples, &network).unwrap();
                optimizer.train_step(&mut network, x.view(), &labels).unwrap();
            }
            let alone = train(&Alone, 1, precision);
            assert_eq!((alone.1, alone.2), (network.fingerprint().unwrap(), network.steps()), "{precision}");
        }
    }

    #[test]
    fn parts_of_other_sizes_have_other_weights() {
        let (mut network, mut optimizer) = networks(false, DType::F64.into(), 1, 1.0);
        let (x, labels) = images(0..10, &network).unwrap();
        let loss = network.loss_and_gradients(x.view(), &labels).unwrap();
        let expected = network.gradient("conv.weight").unwrap().to_f64();
        let parallel = DataParallel::new(&Alone, 4, &mut network, &optimizer).unwrap();
        assert_eq!(parallel.own(10), [0..3, 3..6, 6..8, 8..10]);
        assert_eq!(parallel.own(3), [0..1, 1..2, 2..3]);
        let report = step(&parallel, &mut network, &mut optimizer, 10).unwrap();
        let got = network.gradient("conv.weight").unwrap().to_f64();
        assert!((report.loss - loss).abs() < 1e-14);
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-14), "{got:?} {expected:?}");
    }

    /// Only part 2 of 4 overflows, where the published pooling multiplies by beta.
    #[test]
    fn all_ranks_tell_where_the_first_part_is_lost() {
        let step = |exchange: &dyn Exchange, watched: bool| {
            let (mut network, _) = networks(false, DType::F16.into(), 1, 1.0);
            if watched {
                network.watch_non_finite().unwrap();
            }
            let kink = MaxPoolKink::beta(1000.0, Composition::Coupled);
            network.set_kink(None, Kink::MaxPool(kink)).unwrap();
            let mut optimizer = Optimizer::new(&mut network, SgdOptions::default()).unwrap();
            let parallel = DataParallel::new(exchange, 4, &mut network, &optimizer).unwrap();
            let own: Vec<_> = parallel
                .own(16)
                .into_iter()
                .map(|range| {
                    let scale = if range.start == 8 { 1000.0 } else { 1.0 };
                    let (x, labels) = images(range, &network)?;
                    let values: Vec<f64> = x.to_f64().iter().map(|v| v * scale).collect();
                    Ok((Tensor::from_f64(network.dtype(), x.shape(), &values)?, labels))
                })
                .collect();
            parallel.step(&mut network, &mut optimizer, 16, own.into_iter()).unwrap().non_finite
        };
        let alone = step(&Alone, true);
        assert_eq!((alone[0].pass, &*alone[0].layer), (Pass::Forward, "pool"), "{:?}", alone[0]);
        assert!(alone[0].cause.contains("beta = 1000"), "{:?}", alone[0]);
        assert_eq!(alone.last().unwrap().pass, Pass::Optimizer, "{:?}", alone.last());
        for ranks in [2, 4] {
            // A NaN is not equal to itself.
            let all = on_ranks(ranks, |exchange| format!("{:?}", step(exchange, true)));
            assert!(all.iter().all(|found| *found == format!("{alone:?}")), "{ranks} ranks: {all:?}");
        }
        assert_eq!(step(&Alone, false), []);
    }

    #[test]
    fn all_ranks_skip_a_step_together() {
        let results = on_ranks(2, |exchange| {
            let (mut network, mut optimizer) = networks(true, Precision::MIXED, 1, 1e30);
            let parallel = DataParallel::new(exchange, 4, &mut network, &optimizer).unwrap();
            let before = network.parameter("linear.weight").unwrap();
            let report = step(&parallel, &mut network, &mut optimizer, 16).unwrap();
            let same = network.parameter("linear.weight").unwrap() == before;
            (report.step.skipped, same, optimizer.options().grad_scaler.unwrap().scale)
        });
        assert_eq!(results, [(true, true, 5e29); 2]);
    }

    #[test]
    fn ranks_that_differ_are_found_out_on_all() {
        let differing = |parts: [usize; 2], noisy: [bool; 2], seeds: [u64; 2]| {
            let errors = on_ranks(2, |exchange| {
                let rank = exchange.rank();
                let (mut network, optimizer) = networks(noisy[rank], DType::F32.into(), seeds[rank], 1.0);
                DataParallel::new(exchange, parts[rank], &mut network, &optimizer).err().unwrap().to_string()
            });
            assert_eq!(errors[0], errors[1]);
            errors[0].clone()
        };
        assert_eq!(
            differing([4, 8], [true; 2], [1; 2]),
            "rank 1: expected parts 4 as on rank 0, got parts 8"
        );
        let seeds = differing([4; 2], [true; 2], [1, 2]);
        assert!(seeds.starts_with("rank 1: expected random numbers of seed 1, ") && seeds.contains("seed 2"));
        assert!(differing([4; 2], [true, false], [1; 2]).contains("norm.weight [6] as on rank 0"));
        let (mut network, optimizer) = networks(true, DType::F32.into(), 1, 1.0);
        assert!(DataParallel::new(&Alone, 0, &mut network, &optimizer).is_err());
        let odd = on_ranks(2, |exchange| {
            let (mut network, optimizer) = networks(true, DType::F32.into(), 1, 1.0);
            DataParallel::new(exchange, 3, &mut network, &optimizer).err().unwrap().to_string()
        });
        assert!(odd[0].contains("a multiple of the 2 ranks") && odd[0] == odd[1], "{odd:?}");
    }

    #[test]
    fn what_stops_a_rank_stops_all() {
        let failing = |error: fn() -> Error| {
            on_ranks(2, |exchange| {
                let (mut network, mut optimizer) = networks(true, DType::F32.into(), 1, 1.0);
                let parallel = DataParallel::new(exchange, 2, &mut network, &optimizer).unwrap();
                let own: Vec<_> = parallel.own(8).into_iter().map(|range| images(range, &network)).collect();
                let failure = (exchange.rank() == 1).then(error).into_iter().map(Err);
                let own = failure.chain(own);
                parallel.step(&mut network, &mut optimizer, 8, own).unwrap_err()
            })
        };
        let lost = || Error::Unsupported("the photo is gone".into());
        assert_eq!(failing(lost)[0].to_string(), "rank 1: the photo is gone");
        assert_eq!(failing(lost)[1], lost());
        assert_eq!(failing(|| Error::Cancelled), [Error::Cancelled, Error::Cancelled]);
        let samples = on_ranks(2, |exchange| {
            let (mut network, mut optimizer) = networks(true, DType::F32.into(), 1, 1.0);
            let parallel = DataParallel::new(exchange, 2, &mut network, &optimizer).unwrap();
            step(&parallel, &mut network, &mut optimizer, 8 + exchange.rank()).unwrap_err().to_string()
        });
        assert_eq!(samples, ["rank 1: expected samples 8 as on rank 0, got samples 9"; 2]);
    }
}
