//! Networks: choices per layer, comparison of two choices on one forward pass, errors that lose nothing.

mod support;

use support::engines;
use tiebreak::net::{Graph, Network, zoo};
use tiebreak::train::Optimizer;
use tiebreak::*;

fn lenet(engine: &Engine, dtype: DType) -> Network {
    Network::new(engine, &zoo::lenet5(&Default::default()).unwrap(), dtype, 11).unwrap()
}

/// Strokes on a flat background: windows tie as they do on digits.
fn batch(dtype: DType, n: usize) -> (Tensor, Vec<i64>) {
    let pixel = |i: usize| {
        let (row, column) = (i / 28 % 28, i % 28);
        if (8..20).contains(&row) && (column + row) % 9 < 2 { 1.0 - (i % 4) as f64 / 4.0 } else { -1.0 }
    };
    let values: Vec<f64> = (0..n * 784).map(pixel).collect();
    let labels = (0..n as i64).map(|i| i % 10).collect();
    (Tensor::from_f64(dtype, &[n, 1, 28, 28], &values).unwrap(), labels)
}

#[test]
fn one_forward_serves_two_backwards() {
    for (name, engine) in engines() {
        for dtype in [DType::F16, DType::F32, DType::F64] {
            let mut network = lenet(&engine, dtype);
            let (x, labels) = batch(dtype, 12);
            let beta = |b, c| Kink::MaxPool(MaxPoolKink::beta(b, c));
            let exact = network
                .compare(x.view(), &labels, &[vec![beta(100.0, Composition::Exact).into()]])
                .unwrap()
                .remove(0);
            assert!(exact.shared_forward, "{dtype} on {name}");
            assert!(exact.l1() > 0.0, "{dtype} on {name}: flat background must make a difference");
            let same = network
                .compare(x.view(), &labels, &[vec![beta(0.0, Composition::Exact).into()]])
                .unwrap()
                .remove(0);
            assert_eq!((same.l1(), same.linf()), (0.0, 0.0), "exact(0) is native");
            let kink = beta(100.0, Composition::Coupled);
            let coupled = network.compare(x.view(), &labels, &[vec![kink.into()]]).unwrap().remove(0);
            assert!(!coupled.shared_forward);
            // The stored forward gives what a run of its own gives.
            network.set_kink(None, beta(100.0, Composition::Exact)).unwrap();
            network.loss_and_gradients(x.view(), &labels).unwrap();
            let alone = network.gradient("features.0.weight").unwrap();
            network.set_kink(None, Kink::MaxPool(MaxPoolKink::default())).unwrap();
            network.loss_and_gradients(x.view(), &labels).unwrap();
            let native = network.gradient("features.0.weight").unwrap();
            assert_ne!(alone, native);
            network.set_kink(None, beta(100.0, Composition::Exact)).unwrap();
            network.backward().unwrap();
            assert_eq!(network.gradient("features.0.weight").unwrap(), alone);
            network.set_kink(None, kink).unwrap();
            let error = network.backward().unwrap_err();
            assert!(error.to_string().contains("coupled"), "{error}");
        }
    }
}

/// What is stored belongs to the training pass: an evaluation in between does no harm, a change of the parameters
/// makes a further backward pass one of another function.
#[test]
fn stored_activations_are_used_for_their_own_parameters_only() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F32);
        let (x, labels) = batch(DType::F32, 6);
        network.loss_and_gradients(x.view(), &labels).unwrap();
        let gradient = network.gradient("features.4.weight").unwrap();
        let ties = network.ties("features.2").unwrap();
        let (other, other_labels) = batch(DType::F32, 3);
        network.evaluate(other.view(), &other_labels).unwrap();
        network.forward(x.view()).unwrap();
        assert_eq!(network.ties("features.2").unwrap(), ties, "{name}");
        network.backward().unwrap();
        assert_eq!(network.gradient("features.4.weight").unwrap(), gradient, "{name}");
        let refused = |network: &mut Network| {
            let error = network.backward().unwrap_err().to_string();
            assert!(error.contains("parameters have changed"), "{name}: {error}");
        };
        let bias = network.parameter("features.0.bias").unwrap();
        network.set_parameter("features.0.bias", bias.view()).unwrap();
        refused(&mut network);
        let mut sgd = Optimizer::new(&mut network, SgdOptions::default()).unwrap();
        network.loss_and_gradients(x.view(), &labels).unwrap();
        sgd.step(&mut network).unwrap();
        refused(&mut network);
        sgd.train_step(&mut network, x.view(), &labels).unwrap();
        refused(&mut network);
        assert!(network.ties("features.2").is_ok(), "what the step stored can be read");
        network.loss_and_gradients(x.view(), &labels).unwrap();
        network.backward().unwrap();
    }
}

/// A comparison on the way leaves no trace in the training.
#[test]
fn compare_leaves_the_gradients_of_the_present_choices() {
    for kink in [MaxPoolKink::beta(100.0, Composition::Exact), MaxPoolKink::beta(9.0, Composition::Coupled)] {
        let mut network = lenet(&Engine::cpu(), DType::F32);
        let (x, labels) = batch(DType::F32, 6);
        let loss = network.loss_and_gradients(x.view(), &labels).unwrap();
        let gradient = network.gradient("features.0.weight").unwrap();
        let comparison =
            network.compare(x.view(), &labels, &[vec![Kink::MaxPool(kink).into()]]).unwrap().remove(0);
        assert!(comparison.l1() > 0.0);
        assert_eq!(comparison.losses[0], loss);
        assert_eq!(network.gradient("features.0.weight").unwrap(), gradient);
        assert_eq!(network.loss().unwrap(), loss);
        network.backward().unwrap();
        assert_eq!(network.gradient("features.0.weight").unwrap(), gradient);
    }
}

/// An f16 gradient that overflows alike under both choices is no difference.
#[test]
fn equal_infinities_do_not_differ() {
    let mut network = lenet(&Engine::cpu(), DType::F16);
    let huge = Tensor::from_f64(DType::F16, &[10, 84], &[6e4; 840]).unwrap();
    network.set_parameter("classifier.6.weight", huge.view()).unwrap();
    let weight = network.parameter("classifier.3.weight").unwrap();
    let scaled: Vec<f64> = weight.to_f64().iter().map(|w| w * 6e4).collect();
    let scaled = Tensor::from_f64(DType::F16, weight.shape(), &scaled).unwrap();
    network.set_parameter("classifier.3.weight", scaled.view()).unwrap();
    let (x, labels) = batch(DType::F16, 4);
    let same = network
        .compare(x.view(), &labels, &[vec![Kink::MaxPool(MaxPoolKink::default()).into()]])
        .unwrap()
        .remove(0);
    for d in &same.differences {
        let gradient = network.gradient(&d.name).unwrap().to_f64();
        if gradient.iter().all(|v| !v.is_nan()) {
            assert_eq!((d.l1, d.linf, d.differing), (0.0, 0.0, 0), "{}", d.name);
        }
    }
}

#[test]
fn a_network_without_classes_is_refused() {
    let mut graph = Graph::new([1, 4, 4]);
    let error = |graph: &Graph| Network::new(&Engine::cpu(), graph, DType::F32, 0).err().unwrap().to_string();
    assert!(error(&graph).contains("[classes]"));
    let relu = graph.relu("relu", graph.input()).unwrap();
    assert!(error(&graph).contains("[1, 4, 4]"));
    graph.flatten("flatten", relu).unwrap();
    assert!(Network::new(&Engine::cpu(), &graph, DType::F32, 0).is_ok());
    let mut empty = Graph::new([0, 1, 1]);
    let flat = empty.flatten("flatten", empty.input()).unwrap();
    assert!(empty.linear("fc", flat, 2, true).is_err());
    assert!(error(&empty).contains("[0]"));
}

#[test]
fn choices_are_made_layer_by_layer() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F32);
        let (x, labels) = batch(DType::F32, 8);
        let kink = Kink::MaxPool(MaxPoolKink::beta(50.0, Composition::Exact));
        let gradient = |network: &mut Network, layer: Option<&str>| {
            network.set_kink(None, Kink::MaxPool(MaxPoolKink::default())).unwrap();
            network.set_kink(layer, kink).unwrap();
            network.loss_and_gradients(x.view(), &labels).unwrap();
            network.gradient("features.0.weight").unwrap()
        };
        let all = gradient(&mut network, None);
        let first = gradient(&mut network, Some("features.2"));
        let second = gradient(&mut network, Some("features.6"));
        assert!(first != second && (all != first || all != second), "{name}");
        assert_eq!(network.kink("features.6").unwrap(), Some(kink));
        assert_eq!(network.kink("features.2").unwrap(), Some(Kink::MaxPool(MaxPoolKink::default())));
    }
}

#[test]
fn conventions_choose_at_every_kink() {
    let mut graph = Graph::new([1, 8, 8]);
    let x = graph.relu("relu", graph.input()).unwrap();
    let x = graph.maxpool2d("pool", x, shape::Window2d::new(2, 2, 0)).unwrap();
    let x = graph.norm_pool2d("norm", x, shape::Window2d::new(2, 2, 0)).unwrap();
    let x = graph.flatten("flatten", x).unwrap();
    graph.linear("head", x, 3, true).unwrap();
    let mut network = Network::new(&Engine::cpu(), &graph, DType::F32, 1).unwrap();
    network.set_kink(None, Kink::NormPool(NormPoolKink { at_zero: 1.0 })).unwrap();
    for convention in Convention::ALL {
        network.set_kinks(convention);
        let [pool, relu, norm] = convention.kinks().map(Some);
        let chosen = ["pool", "relu", "norm", "flatten"].map(|layer| network.kink(layer).unwrap());
        assert_eq!(chosen, [pool, relu, norm, None], "{convention}");
    }
}

#[test]
fn ties_are_counted() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F32);
        assert!(network.ties("features.2").is_err(), "nothing has run");
        let (x, labels) = batch(DType::F32, 3);
        network.loss_and_gradients(x.view(), &labels).unwrap();
        let ties = network.ties("features.2").unwrap();
        assert_eq!((ties.shape, ties.counts.len()), ([3, 6, 12, 12], 3 * 6 * 144));
        assert!(ties.counts.iter().all(|&k| (1..=4).contains(&k)), "{name}");
        // The top rows are flat: every window there ties four ways.
        assert!(ties.counts[..12].iter().all(|&k| k == 4), "{name}");
        let pooled = network.activation("features.2").unwrap();
        assert_eq!(pooled.shape(), [3, 6, 12, 12]);
    }
}

#[test]
fn errors_say_what_is_wrong_and_lose_nothing() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F32);
        let (x, labels) = batch(DType::F32, 4);
        let before = network.parameter("classifier.6.bias").unwrap();
        let text = |e: Error| e.to_string();
        let wrong = Tensor::zeros(DType::F64, &[4, 1, 28, 28]).unwrap();
        assert!(
            text(network.loss_and_gradients(wrong.view(), &labels).unwrap_err()).contains("f32, got f64")
        );
        let wrong = Tensor::zeros(DType::F32, &[4, 1, 27, 28]).unwrap();
        assert!(text(network.forward(wrong.view()).unwrap_err()).contains("[N, 1, 28, 28]"));
        assert!(network.loss_and_gradients(x.view(), &labels[..3]).is_err());
        let e = text(network.loss_and_gradients(x.view(), &[0, 1, 10, 3]).unwrap_err());
        assert!(e.contains("labels[2]") && e.contains("0 to 9"), "{e}");
        assert!(network.loss_and_gradients(x.view(), &[0, 1, -1, 3]).is_err());
        assert!(text(network.gradient("features.9.weight").unwrap_err()).contains("classifier.6.bias"));
        assert!(network.set_kink(Some("features.0"), Kink::Relu(ReluKink::default())).is_err());
        assert!(network.set_kink(Some("features.2"), Kink::Relu(ReluKink::default())).is_err());
        assert!(network.set_kink(None, Kink::Relu(ReluKink { alpha: f64::NAN })).is_err());
        let mut other = lenet(&engine, DType::F32);
        let mut sgd = Optimizer::new(&mut other, SgdOptions::default()).unwrap();
        assert!(sgd.step(&mut network).is_err(), "an optimizer of another network");
        assert!(sgd.set_learning_rate(-1.0).is_err());
        assert!(SgdOptions { nesterov: true, ..Default::default() }.validate().is_err());
        assert!(network.loss().is_err(), "nothing has run with labels");
        let loss = network.loss_and_gradients(x.view(), &labels).unwrap();
        network.forward(x.view()).unwrap();
        assert_eq!(network.loss().unwrap(), loss, "a forward pass without labels has no loss of its own");
        // Still in working order.
        assert_eq!(network.parameter("classifier.6.bias").unwrap(), before, "{name}");
        assert!(network.loss_and_gradients(x.view(), &labels).unwrap().is_finite());
    }
}

#[test]
fn many_batch_sizes_do_not_grow_memory() {
    let mut network = lenet(&Engine::cpu(), DType::F32);
    let mut largest = 0;
    for round in 0..3 {
        for n in 1..=12 {
            let (x, labels) = batch(DType::F32, n);
            network.loss_and_gradients(x.view(), &labels).unwrap();
        }
        if round == 0 {
            largest = network.allocated_bytes();
        }
        assert!(network.allocated_bytes() <= largest, "round {round}");
    }
}
