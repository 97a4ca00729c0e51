//! Where a training step first meets a value that is not finite.

mod support;

use support::*;
use tiebreak::data::synthetic;
use tiebreak::net::{Network, NonFinite, Pass, zoo};
use tiebreak::train::*;
use tiebreak::*;

fn batch(dtype: DType) -> (Tensor, Vec<i64>) {
    synthetic::digits(32, 3).batch(&(0..32).collect::<Vec<_>>(), dtype).unwrap()
}

fn lenet(engine: &Engine, precision: impl Into<Precision>, beta: f64) -> Network {
    let graph = zoo::by_name("lenet5", &zoo::Options::default()).unwrap();
    let mut network = Network::new(engine, &graph, precision, 3).unwrap();
    network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(beta, Composition::Coupled))).unwrap();
    network.watch_non_finite().unwrap();
    network
}

/// Steps until the first value that is not finite, at most `steps`.
fn first(network: &mut Network, options: impl Into<OptimizerOptions>, steps: usize) -> Option<NonFinite> {
    let mut optimizer = Optimizer::new(network, options).unwrap();
    let (x, labels) = batch(network.dtype());
    for _ in 0..steps {
        optimizer.train_step(network, x.view(), &labels).unwrap();
        let found = network.non_finite().unwrap().into_iter().next();
        let finite = network.loss().unwrap().is_finite();
        assert!(finite || found.is_some(), "the loss is not finite, and nothing was found");
        if found.is_some() {
            return found;
        }
    }
    None
}

fn sgd(learning_rate: f64) -> SgdOptions {
    SgdOptions { learning_rate, momentum: 0.9, ..Default::default() }
}

#[test]
fn the_coupled_forward_pass_overflows() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F16, 1e6);
        let found = first(&mut network, sgd(0.01), 1).unwrap();
        assert_eq!((found.pass, found.layer.as_str()), (Pass::Forward, "features.2"), "{name}: {found}");
        assert_eq!(
            (found.operator_name.as_str(), found.tensor.as_str()),
            ("maxpool2d_forward", "output"),
            "{found}"
        );
        let all = network.non_finite().unwrap();
        assert!(all.iter().any(|f| f.pass == Pass::Loss && f.lasts()), "{name}: {all:?}");
        assert!(all.last().unwrap().pass == Pass::Optimizer, "{name}: the weights too");
        assert!(found.cause.contains("beta") && found.cause.contains("65504"), "{found}");
        // The element is the first: its window's maximum times beta does not fit, all before do.
        let mut plain = lenet(&engine, DType::F16, 0.0);
        let (x, labels) = batch(DType::F16);
        plain.loss_and_gradients(x.view(), &labels).unwrap();
        assert_eq!(plain.non_finite().unwrap(), [], "{name}");
        // Before the ReLU.
        let conv = plain.activation("features.0").unwrap().to_f64();
        let (side, half) = (24, 12);
        let fits = |window: usize| {
            let (plane, at) = (window / (half * half), window % (half * half));
            let corner = plane * side * side + at / half * 2 * side + at % half * 2;
            let largest = [0, 1, side, side + 1].iter().fold(0.0, |m: f64, i| m.max(conv[corner + i]));
            largest * 1e6 < 65520.0
        };
        assert!((0..found.element).all(fits) && !fits(found.element), "{name}: {found}");
    }
}

#[test]
fn adam_divides_zero_by_zero_in_16_bits() {
    let mut network = lenet(&Engine::cpu(), DType::F16, 0.0);
    // PyTorch's eps, 1e-8, is 0 in f16.
    let found = first(&mut network, AdamOptions::default(), 1).unwrap();
    assert_eq!((found.pass, found.operator_name.as_str()), (Pass::Optimizer, "adam"), "{found}");
    assert_eq!((found.tensor.as_str(), found.layer.as_str()), ("parameter", "features.0.weight"));
    assert!(found.cause.contains("rounds to 0"), "{found}");
    let mut network = lenet(&Engine::cpu(), DType::F16, 0.0);
    let options = AdamOptions { eps: 1e-3, ..Default::default() };
    assert_eq!(first(&mut network, options, 3), None);
}

#[test]
fn a_state_is_named_with_its_parameter() {
    let graph = zoo::by_name("lenet5", &zoo::Options::default()).unwrap();
    let mut network = Network::new(&Engine::cpu(), &graph, DType::F16, 3).unwrap();
    network.watch_non_finite().unwrap();
    let (x, labels) = batch(DType::F16);
    // Gradients of some hundreds, whose squares leave the range.
    let weight = network.parameter("classifier.6.weight").unwrap();
    let large: Vec<f64> = weight.to_f64().iter().map(|w| 4000.0 * w).collect();
    let large = Tensor::from_f64(DType::F16, weight.shape(), &large).unwrap();
    network.set_parameter("classifier.6.weight", large.view()).unwrap();
    // A beta2 near 0 lets the first square in whole.
    let options = AdamOptions { eps: 1e-3, betas: [0.9, 1e-3], ..Default::default() };
    let mut optimizer = Optimizer::new(&mut network, options).unwrap();
    optimizer.train_step(&mut network, x.view(), &labels).unwrap();
    let found = network.non_finite().unwrap();
    let state = found.iter().find(|f| f.tensor == "exp_avg_sq").expect("a square beyond 65504");
    assert!(state.layer.ends_with(".weight") || state.layer.ends_with(".bias"), "{state}");
    assert!(state.cause.starts_with("g^2 exceeds 65504"), "{state}");
}

#[test]
fn a_loss_scale_overflows_in_the_backward_pass() {
    let mut network = lenet(&Engine::cpu(), Precision::MIXED, 0.0);
    let scaler = GradScaler { scale: 2f64.powi(30), ..Default::default() };
    let options = OptimizerOptions { grad_scaler: Some(scaler), ..sgd(0.01).into() };
    let found = first(&mut network, options, 1).unwrap();
    assert_eq!((found.pass, found.tensor.as_str()), (Pass::Loss, "gradient of the logits"), "{found}");
    assert!(found.cause.contains("loss scale"), "{found}");
    assert!(!network.non_finite().unwrap().iter().any(NonFinite::lasts), "the step was skipped");
}

#[test]
fn running_statistics_keep_what_a_skipped_step_made() {
    let graph = zoo::by_name("lenet5_bn", &zoo::Options::default()).unwrap();
    let mut network = Network::new(&Engine::cpu(), &graph, Precision::MIXED, 3).unwrap();
    network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(1e6, Composition::Coupled))).unwrap();
    network.watch_non_finite().unwrap();
    let options = OptimizerOptions { grad_scaler: Some(GradScaler::default()), ..sgd(0.01).into() };
    first(&mut network, options, 1).unwrap();
    let all = network.non_finite().unwrap();
    assert_eq!(
        (all[0].operator_name.as_str(), all[0].layer.as_str()),
        ("maxpool2d_forward", "features.2"),
        "{}",
        all[0]
    );
    let kept = all.iter().find(|f| f.pass == Pass::Forward && f.lasts()).unwrap();
    assert_eq!(kept.tensor, "features.3.running_mean", "{kept}");
    assert!(all.iter().all(|f| f.pass != Pass::Optimizer), "it was skipped");
}

#[test]
fn what_a_step_begins_with_is_told_from_what_it_makes() {
    for (name, engine) in engines() {
        let mut network = lenet(&engine, DType::F32, 0.0);
        let (x, labels) = batch(DType::F32);
        let mut values = x.to_f64();
        values[900] = f64::NEG_INFINITY;
        let bad = Tensor::from_f64(DType::F32, x.shape(), &values).unwrap();
        network.loss_and_gradients(bad.view(), &labels).unwrap();
        let found = network.non_finite().unwrap()[0].clone();
        assert_eq!(
            (found.operator_name.as_str(), found.tensor.as_str(), found.element),
            ("input", "x", 900),
            "{name}"
        );
        assert_eq!(found.value, f64::NEG_INFINITY);

        network.loss_and_gradients(x.view(), &labels).unwrap();
        assert_eq!(network.non_finite().unwrap(), [], "{name}");
        let mut weight = network.parameter("classifier.0.weight").unwrap().to_f64();
        weight[7] = f64::NAN;
        let shape = network.parameter("classifier.0.weight").unwrap().shape().to_vec();
        let weight = Tensor::from_f64(DType::F32, &shape, &weight).unwrap();
        network.set_parameter("classifier.0.weight", weight.view()).unwrap();
        network.loss_and_gradients(x.view(), &labels).unwrap();
        let found = network.non_finite().unwrap()[0].clone();
        assert_eq!((found.tensor.as_str(), found.element), ("classifier.0.weight", 7), "{name}: {found}");
        assert!(found.value.is_nan());
    }
}

#[test]
fn a_step_too_long_ends_in_an_overflow() {
    let mut network = lenet(&Engine::cpu(), DType::F16, 0.0);
    let found = first(&mut network, sgd(1e4), 10).unwrap();
    assert!(found.to_string().contains("exceeds 65504") || found.cause.contains("sums"), "{found}");
    // On a carrier of 32 bits: what overflows is the rounding.
    let half = Precision::simulated(Format::F16, Rounding::Nearest);
    let mut network = lenet(&Engine::cpu(), half, 1e6);
    let found = first(&mut network, sgd(0.01), 1).unwrap();
    assert_eq!(
        (found.operator_name.as_str(), found.layer.as_str()),
        ("maxpool2d_backward", "features.2"),
        "{found}"
    );
    assert!(found.cause.contains("simulated format"), "{found}");
}

#[test]
fn a_watched_step_has_the_same_bits() {
    for (name, engine) in engines() {
        for precision in [Precision::from(DType::F16), DType::F32.into(), Precision::MIXED] {
            let graph = zoo::by_name("lenet5_bn", &zoo::Options::default()).unwrap();
            let (x, labels) = batch(precision.storage);
            let run = |watched: bool| {
                let mut network = Network::new(&engine, &graph, precision, 3).unwrap();
                if watched {
                    network.watch_non_finite().unwrap();
                }
                let mut optimizer = Optimizer::new(&mut network, sgd(0.05)).unwrap();
                for _ in 0..3 {
                    optimizer.train_step(&mut network, x.view(), &labels).unwrap();
                    assert_eq!(network.non_finite().unwrap(), [], "{name}");
                }
                optimizer.release(&mut network).unwrap();
                network.parameter("features.0.weight").unwrap()
            };
            assert_eq!(run(true), run(false), "{name} {precision}");
        }
    }
}
