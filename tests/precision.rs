//! Mixed and simulated precision, narrow accumulation, seeded order of reductions, on whole networks.

mod support;

use support::*;
use tiebreak::data::synthetic;
use tiebreak::net::{Graph, Network};
use tiebreak::shape::Window2d;
use tiebreak::train::Optimizer;
use tiebreak::*;

/// Convolutions, batch normalisation, a sum, a concatenation, poolings. No bias before the batch normalisation: its
/// gradient is 0 but for rounding.
fn graph() -> Graph {
    let mut g = Graph::new([1, 28, 28]);
    let x = g.conv2d("conv1", g.input(), 6, Window2d::new(5, 2, 1), false).unwrap();
    let x = g.batchnorm("norm1", x).unwrap();
    let x = g.relu("relu1", x).unwrap();
    let x = g.maxpool2d("pool1", x, Window2d::new(2, 2, 0)).unwrap();
    let y = g.conv2d("conv2", x, 6, Window2d::new(3, 1, 1), false).unwrap();
    let x = g.add("sum", x, y).unwrap();
    let m = g.maxpool2d("pool2", x, Window2d::new(2, 2, 0)).unwrap();
    let a = g.avgpool2d("avgpool", y, Window2d::new(2, 2, 0)).unwrap();
    let x = g.concat("concat", &[m, a]).unwrap();
    let x = g.flatten("flatten", x).unwrap();
    g.linear("head", x, 10, true).unwrap();
    g
}

fn batch(dtype: DType) -> (Tensor, Vec<i64>) {
    synthetic::digits(24, 3).batch(&(0..24).collect::<Vec<_>>(), dtype).unwrap()
}

fn gradients(network: &mut Network) -> Vec<(String, Tensor)> {
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    names.into_iter().map(|n| (n.clone(), network.gradient(&n).unwrap())).collect()
}

/// binary16 simulated on f32 is binary16: every operator rounds its f32 result once.
#[test]
fn simulated_f16_has_the_bits_of_f16() {
    for (name, engine) in engines() {
        let mut real = Network::new(&engine, &graph(), DType::F16, 1).unwrap();
        let simulated = Precision::simulated(Format::F16, Rounding::Nearest);
        let mut network = Network::new(&engine, &graph(), simulated, 1).unwrap();
        let (x, labels) = batch(DType::F16);
        real.loss_and_gradients(x.view(), &labels).unwrap();
        network.loss_and_gradients(x.to_dtype(DType::F32).view(), &labels).unwrap();
        for ((name_of, a), (_, b)) in gradients(&mut real).iter().zip(&gradients(&mut network)) {
            assert_eq!(a.to_f64(), b.to_f64(), "{name_of} on {name}");
        }
        for layer in ["conv1", "norm1", "pool1", "concat"] {
            let (a, b) = (real.activation(layer).unwrap(), network.activation(layer).unwrap());
            assert_eq!(a.to_f64(), b.to_f64(), "{layer} on {name}");
        }
    }
}

#[test]
fn simulated_values_lie_in_their_format() {
    for (name, engine) in engines() {
        for text in ["bf16", "tf32", "e5m2", "e4m3", "e6m5:stochastic(5)", "e11m20"] {
            let precision: Precision = text.parse().unwrap();
            if name == "gpu" && precision.storage == DType::F64 {
                continue;
            }
            let run = || {
                let mut network = Network::new(&engine, &graph(), precision, 1).unwrap();
                let sgd = SgdOptions { learning_rate: 0.05, momentum: 0.9, ..Default::default() };
                let mut optimizer = Optimizer::new(&mut network, sgd).unwrap();
                let (x, labels) = batch(precision.storage);
                (0..2).for_each(|_| {
                    optimizer.train_step(&mut network, x.view(), &labels).unwrap();
                });
                let mut all = gradients(&mut network);
                let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
                all.extend(names.into_iter().map(|n| (n.clone(), network.parameter(&n).unwrap())));
                all.extend(optimizer.state(&mut network).unwrap());
                all.extend(["conv1", "norm1"].map(|n| (n.to_string(), network.activation(n).unwrap())));
                all
            };
            let first = run();
            let format = precision.simulated.unwrap().format;
            let mut different = 0;
            for (tensor, values) in &first {
                for v in values.to_f64() {
                    let exponent = v.abs().log2().floor().max(format.min_exponent() as f64);
                    let scaled = v / 2f64.powf(exponent - format.mantissa_bits() as f64);
                    assert!(v == 0.0 || scaled.fract() == 0.0, "{tensor} in {text} on {name}: {v:e}");
                    assert!(v.abs() <= format.max_value(), "{tensor} in {text} on {name}: {v:e}");
                    different += (v != 0.0) as usize;
                }
            }
            assert!(different > 1000, "{text}: nearly everything is 0");
            let equal = first.iter().zip(&run()).all(|(a, b)| a.1.bytes() == b.1.bytes());
            assert!(equal, "{text} on {name} is not repeatable");
        }
    }
}

#[test]
fn narrow_accumulation_runs_on_the_cpu_and_is_worse() {
    let (x, labels) = batch(DType::F16);
    let error = |engine: &Engine, precision: &str| {
        let precision: Precision = precision.parse().unwrap();
        let mut exact = Network::new(engine, &graph(), DType::F64, 1).unwrap();
        let mut network = Network::new(engine, &graph(), precision, 1).unwrap();
        for n in network.parameters().map(|p| p.name.clone()).collect::<Vec<_>>() {
            let values = network.parameter(&n).unwrap().to_dtype(DType::F64);
            exact.set_parameter(&n, values.view()).unwrap();
        }
        assert!(!network.placement().gpu || precision.accumulate == Accumulate::Wide);
        exact.loss_and_gradients(x.to_dtype(DType::F64).view(), &labels).unwrap();
        network.loss_and_gradients(x.view(), &labels).unwrap();
        let pairs: Vec<_> = gradients(&mut exact).into_iter().zip(gradients(&mut network)).collect();
        let gap = |(a, b): &((String, Tensor), (String, Tensor))| {
            a.1.to_f64().iter().zip(b.1.to_f64()).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        pairs.iter().map(gap).sum::<f64>().sqrt()
    };
    for (name, engine) in engines() {
        let (wide, narrow) = (error(&engine, "f16"), error(&engine, "f16+narrow"));
        assert!(narrow > 1.5 * wide, "{name}: {narrow} for {wide}");
    }
}

#[test]
fn seeded_order_changes_rounding_alone() {
    for (name, engine) in engines() {
        for dtype in [DType::F16, DType::F32, DType::F64] {
            if name == "gpu" && dtype == DType::F64 {
                continue;
            }
            let (x, labels) = batch(dtype);
            let run = |order: ReductionOrder| {
                let mut network = Network::new(&engine, &graph(), dtype, 1).unwrap();
                network.set_reduction_order(order);
                network.loss_and_gradients(x.view(), &labels).unwrap();
                gradients(&mut network)
            };
            let (fixed, one, two) =
                (run(ReductionOrder::Fixed), run(ReductionOrder::Seeded(1)), run(ReductionOrder::Seeded(2)));
            assert_eq!(one, run(ReductionOrder::Seeded(1)), "{dtype} on {name}: not repeatable");
            let mut differing = 0;
            for ((n, a), ((_, b), (_, c))) in fixed.iter().zip(one.iter().zip(&two)) {
                let [a, b, c] = [a, b, c].map(|t| t.to_f64());
                let largest = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                for ((a, b), c) in a.iter().zip(&b).zip(&c) {
                    // Batch statistics differ too, and what follows from them.
                    let bound = 200.0 * epsilon(dtype) * largest;
                    assert!((a - b).abs() <= bound && (a - c).abs() <= bound, "{n} in {dtype} on {name}");
                    differing += (b != c) as usize;
                }
            }
            assert!(dtype == DType::F16 || differing > 0, "{dtype} on {name}: the order changes nothing");
        }
    }
}
