//! Why windows tie, how near they come to it, and gradients replayed in f64 on the branches of a run.

mod support;

use proptest::prelude::*;
use support::engines;
use tiebreak::net::{Graph, KinkMargins, Network, TieClass, zoo};
use tiebreak::shape::Window2d;
use tiebreak::*;

/// Values that differ, and look random.
fn noise(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

fn batch(graph: &Graph, dtype: DType, count: usize, seed: u64) -> (Tensor, Vec<i64>) {
    let shape: Vec<usize> = std::iter::once(count).chain(graph.layers().next().unwrap().shape).collect();
    let values = noise(shape.iter().product(), seed);
    let labels = (0..count as i64).map(|i| i % 10).collect();
    (Tensor::from_f64(dtype, &shape, &values).unwrap(), labels)
}

fn minimal() -> Kink {
    Kink::MaxPool(MaxPoolKink { jacobian: MaxPoolJacobian::Minimal, ..Default::default() })
}

/// conv, ReLU, 2x2 max pooling, linear: ties as the images make them.
fn small(kernel: usize) -> Graph {
    let mut g = Graph::new([1, 8, 8]);
    let x = g.conv2d("conv", g.input(), 2, Window2d::new(kernel, 1, kernel / 2), true).unwrap();
    let x = g.relu("relu", x).unwrap();
    let x = g.maxpool2d("pool", x, Window2d::new(2, 2, 0)).unwrap();
    let x = g.flatten("flatten", x).unwrap();
    g.linear("head", x, 10, true).unwrap();
    g
}

#[test]
fn a_run_in_f64_replayed_in_f64_has_its_bits() {
    let options = zoo::Options { base_width: 4, input: Some([3, 32, 32]), ..Default::default() };
    let graphs = ["resnet18_bn", "vgg9_bn", "densenet121"].map(|name| zoo::by_name(name, &options).unwrap());
    let mut dropout = Graph::new([1, 28, 28]);
    let x = dropout.conv2d("conv", dropout.input(), 3, Window2d::new(3, 1, 1), true).unwrap();
    let x = dropout.dropout("dropout", x, 0.4).unwrap();
    let x = dropout.maxpool2d("pool", x, Window2d::new(3, 2, 1)).unwrap();
    let x = dropout.flatten("flatten", x).unwrap();
    dropout.linear("head", x, 10, true).unwrap();
    let lenet = zoo::by_name("lenet5_bn", &zoo::Options::default()).unwrap();
    for graph in graphs.into_iter().chain([dropout, lenet]) {
        for frozen in [false, true] {
            let (x, labels) = batch(&graph, DType::F64, 4, 3);
            let mut run = Network::new(&Engine::cpu(), &graph, DType::F64, 1).unwrap();
            run.freeze_batchnorm(frozen);
            let loss = run.loss_and_gradients(x.view(), &labels).unwrap();
            // Another seed: everything has to come from the recorded run.
            let mut replayed = Network::new(&Engine::cpu(), &graph, DType::F64, 2).unwrap();
            assert_eq!(replayed.replay(&mut run).unwrap(), loss);
            replayed.backward().unwrap();
            assert_eq!(replayed.gradients_to_f64().unwrap(), run.gradients_to_f64().unwrap());
            let alternatives = [vec![minimal().into()]];
            let there = run.compare(x.view(), &labels, &alternatives).unwrap();
            let here = replayed.compare_stored(&alternatives).unwrap();
            assert_eq!(here, there);
        }
    }
}

#[test]
fn narrow_runs_replay_on_both_engines() {
    let graph = zoo::by_name("lenet5_bn", &zoo::Options::default()).unwrap();
    for (name, engine) in engines() {
        for precision in [DType::F16.into(), DType::F32.into(), Precision::MIXED, "bf16".parse().unwrap()] {
            let precision: Precision = precision;
            let (x, labels) = batch(&graph, precision.storage, 8, 5);
            let mut run = Network::new(&engine, &graph, precision, 1).unwrap();
            let loss = run.loss_and_gradients(x.view(), &labels).unwrap();
            let mut exact = Network::new(&engine, &graph, DType::F64, 7).unwrap();
            let replayed = exact.replay(&mut run).unwrap();
            assert!((replayed - loss).abs() < 0.02 * loss, "{name} {precision}: {replayed} for {loss}");
            exact.backward().unwrap();
            let (a, b) = (run.gradients_to_f64().unwrap(), exact.gradients_to_f64().unwrap());
            let far: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let length: f64 = b.iter().map(|b| b * b).sum::<f64>().sqrt();
            let bound =
                if precision.storage == DType::F32 && precision.simulated.is_none() { 1e-5 } else { 0.05 };
            assert!(far < bound * length, "{name} {precision}: {far} of {length}");
        }
    }
}

#[test]
fn what_cannot_be_replayed_says_why() {
    let graph = small(3);
    let (x, labels) = batch(&graph, DType::F32, 2, 1);
    let mut exact = Network::new(&Engine::cpu(), &graph, DType::F64, 0).unwrap();
    let mut run = Network::new(&Engine::cpu(), &graph, DType::F32, 0).unwrap();
    let message = |e: Error| e.to_string();
    assert!(message(exact.replay(&mut run).unwrap_err()).contains("nothing is recorded"));
    run.census(x.view(), &labels).unwrap();
    assert!(message(exact.replay(&mut run).unwrap_err()).contains("census"));
    let mut other = Network::new(&Engine::cpu(), &small(1), DType::F32, 0).unwrap();
    assert!(message(exact.replay(&mut other).unwrap_err()).contains("same graph"));
    assert!(run.tie_classes().is_ok());
    assert!(other.tie_classes().is_err() && other.margins().is_err());
    assert!(message(exact.copy_state(&mut other).unwrap_err()).contains("same graph"));
}

/// The class of each window of an 8x8 image under a convolution with one nonzero weight, 1 in the middle.
fn classes(x: &[f64], kernel: usize, sign: f64) -> Vec<TieClass> {
    let graph = small(kernel);
    let mut network = Network::new(&Engine::cpu(), &graph, DType::F32, 0).unwrap();
    let mut weight = vec![0.0; 2 * kernel * kernel];
    (weight[kernel * kernel / 2], weight[kernel * kernel + kernel * kernel / 2]) = (sign, 0.0);
    let weight = Tensor::from_f64(DType::F32, &[2, 1, kernel, kernel], &weight).unwrap();
    network.set_parameter("conv.weight", weight.view()).unwrap();
    network
        .set_parameter("conv.bias", Tensor::from_f64(DType::F32, &[2], &[0.0, -1.0]).unwrap().view())
        .unwrap();
    let x = Tensor::from_f64(DType::F32, &[1, 1, 8, 8], x).unwrap();
    network.loss_and_gradients(x.view(), &[3]).unwrap();
    let all = network.tie_classes().unwrap();
    assert_eq!((all.len(), all[0].layer.as_str(), all[0].shape), (1, "pool", [1, 2, 4, 4]));
    // The second channel is negative everywhere.
    let spoilt = |c: &TieClass| *c == TieClass::Nan;
    assert!(all[0].classes[16..].iter().all(|c| spoilt(c) || *c == TieClass::Masked));
    let sum: u64 = TieClass::ALL.iter().map(|c| all[0].count(*c)).sum();
    assert_eq!(sum, 32);
    all[0].classes[..16].to_vec()
}

#[test]
fn ties_have_their_causes() {
    use TieClass::*;
    let distinct: Vec<f64> = (0..64).map(|i| 1.0 + f64::from(i) / 64.0).collect();
    assert_eq!(classes(&distinct, 3, 1.0), [Untied; 16]);
    assert_eq!(classes(&distinct, 3, -1.0), [Masked; 16]);
    // One pixel is all that a 1x1 convolution sees.
    assert_eq!(classes(&[1.0; 64], 1, 1.0), [Structural; 16]);
    let mut pair = distinct.clone();
    (pair[2 * 8 + 2], pair[2 * 8 + 3]) = (9.0, 9.0);
    let mut expected = [Untied; 16];
    expected[5] = Structural;
    assert_eq!(classes(&pair, 1, 1.0), expected);
    // The same two values, but their neighbours differ: only the weights of 0 hide it.
    expected[5] = Accidental;
    assert_eq!(classes(&pair, 3, 1.0), expected);
    // A flat image: windows in the middle see the same, those at the border do not.
    let flat = classes(&[1.0; 64], 3, 1.0);
    assert_eq!([flat[5], flat[0], flat[3]], [Structural, Accidental, Accidental]);
    let mut nan = distinct.clone();
    nan[63] = f64::NAN;
    assert_eq!(classes(&nan, 1, 1.0)[15], Nan);
}

/// Structural ties cancel, accidental ones do not.
#[test]
fn replay_tells_compensation_from_bifurcation() {
    let graph = small(3);
    let difference = |x: &[f64]| {
        let x = Tensor::from_f64(DType::F16, &[1, 1, 8, 8], x).unwrap();
        let mut run = Network::new(&Engine::cpu(), &graph, DType::F16, 4).unwrap();
        run.loss_and_gradients(x.view(), &[3]).unwrap();
        let all = run.tie_classes().unwrap();
        let ties = [TieClass::Structural, TieClass::Accidental].map(|c| all[0].count(c));
        let mut exact = Network::new(&Engine::cpu(), &graph, DType::F64, 0).unwrap();
        exact.replay(&mut run).unwrap();
        let comparison = exact.compare_stored(&[vec![minimal().into()]]).unwrap();
        let length: f64 = exact.gradient_norms().unwrap().iter().map(|n| n.l1).sum();
        (ties, comparison[0].l1() / length)
    };
    // Flat in the middle, another value on the two outermost rings: what ties there sees the same.
    let ring = |i: usize| [i / 8, i % 8].iter().any(|v| *v < 2 || *v > 5);
    let structural: Vec<f64> =
        noise(64, 9).into_iter().enumerate().map(|(i, v)| if ring(i) { v } else { 0.75 }).collect();
    let flat: Vec<f64> = vec![0.75; 64];
    let (ties, share) = difference(&flat);
    // The border sees less: its windows tie only where the kernel's outer weights happen to.
    assert!(ties[0] > 0 && share < 1e-13, "{ties:?} {share}");
    let (ties, share) = difference(&structural);
    assert!(ties[1] > 0 || share < 1e-13, "{ties:?} {share}");
    // Coarse pixels, seen through one weight, collide.
    let mut run = Network::new(&Engine::cpu(), &graph, DType::F16, 4).unwrap();
    let mut weight = vec![0.0; 18];
    (weight[4], weight[13]) = (0.7, 0.4);
    run.set_parameter("conv.weight", Tensor::from_f64(DType::F16, &[2, 1, 3, 3], &weight).unwrap().view())
        .unwrap();
    let coarse: Vec<f64> = noise(64, 5).iter().map(|v| (v * 3.0).round() + 2.0).collect();
    let x = Tensor::from_f64(DType::F16, &[1, 1, 8, 8], &coarse).unwrap();
    run.loss_and_gradients(x.view(), &[3]).unwrap();
    assert!(run.tie_classes().unwrap()[0].count(TieClass::Accidental) > 0);
    let mut exact = Network::new(&Engine::cpu(), &graph, DType::F64, 0).unwrap();
    exact.replay(&mut run).unwrap();
    let stays = exact.compare_stored(&[vec![minimal().into()]]).unwrap()[0].l1();
    assert!(stays > 1e-4, "{stays}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..Default::default() })]

    /// Margins in f64 against the definition.
    #[test]
    fn margins_are_leads(seed in any::<u64>()) {
        let graph = small(3);
        let (x, labels) = batch(&graph, DType::F64, 2, seed);
        let mut network = Network::new(&Engine::cpu(), &graph, DType::F64, seed).unwrap();
        network.loss_and_gradients(x.view(), &labels).unwrap();
        let before = network.activation("conv").unwrap().to_f64();
        let all = network.margins().unwrap();
        prop_assert_eq!(&all[0].layer, "relu");
        let absolute: Vec<f64> = before.iter().map(|v| v.abs()).collect();
        prop_assert_eq!(&all[0].margins, &KinkMargins::Relu { distances: absolute });
        let KinkMargins::MaxPool2d { windows, margins } = &all[1].margins else { panic!("a pooling") };
        prop_assert_eq!(*windows, 2 * 2 * 16);
        let mut expected = Vec::new();
        for plane in before.chunks(64) {
            for window in 0..16 {
                let corner = window / 4 * 16 + window % 4 * 2;
                let mut values = [0, 1, 8, 9].map(|i| plane[corner + i].max(0.0));
                values.sort_by(f64::total_cmp);
                if values[3] > 0.0 {
                    let second = values.iter().copied().filter(|v| *v < values[3]).fold(f64::NEG_INFINITY, f64::max);
                    expected.push((values[3], values[3] - second));
                }
            }
        }
        let got: Vec<(f64, f64)> = margins.iter().map(|m| (m.max, m.lead)).collect();
        prop_assert_eq!(got, expected);
    }
}

/// One run in f64 foretells how often 16 bits tie.
#[test]
fn margins_foretell_accidental_ties() {
    let graph = zoo::by_name("lenet5", &zoo::Options::default()).unwrap();
    let (mut predicted, mut counted) = (0.0, 0);
    for seed in 0..4 {
        let run = |dtype: DType| {
            let (x, labels) = batch(&graph, dtype, 128, seed);
            let mut network = Network::new(&Engine::cpu(), &graph, dtype, seed).unwrap();
            network.loss_and_gradients(x.view(), &labels).unwrap();
            network
        };
        for layer in run(DType::F64).margins().unwrap() {
            if let KinkMargins::MaxPool2d { margins, .. } = layer.margins {
                predicted += margins.iter().map(|m| m.tie_probability(Format::F16)).sum::<f64>();
            }
        }
        let all = run(DType::F16).tie_classes().unwrap();
        counted += all.iter().map(|layer| layer.count(TieClass::Accidental)).sum::<u64>();
    }
    assert!(predicted > 50.0, "{predicted}");
    let errors = (counted as f64 - predicted) / predicted.sqrt();
    assert!(errors.abs() < 4.0, "{counted} for {predicted}");
}
