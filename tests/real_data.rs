//! Full-width networks on real images, where these are there.

mod support;

use support::*;
use tiebreak::data::{Dataset, cifar10, image_folder};
use tiebreak::net::{Fan, Initialization, Network, NetworkOptions, zoo};
use tiebreak::train::{GradScaler, Optimizer, OptimizerOptions};
use tiebreak::*;

/// Losses of training steps on mini-batches in turn.
fn losses(
    engine: &Engine,
    (name, variant): (&str, zoo::Variant),
    precision: &str,
    data: &Dataset,
    batches: &[Vec<usize>],
) -> Vec<f64> {
    let precision: Precision = precision.parse().unwrap();
    let options =
        zoo::Options { classes: data.classes, input: Some(data.shape), variant, ..Default::default() };
    let graph = zoo::by_name(name, &options).unwrap();
    let initialization = Initialization::KaimingNormal(Fan::In);
    let options = NetworkOptions { precision, seed: 1, initialization };
    let mut network = Network::with_options(engine, &graph, &options).unwrap();
    let sgd = SgdOptions { learning_rate: 5e-4, momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
    // So low that no step is skipped.
    let scaler = GradScaler { scale: 256.0, ..Default::default() };
    let grad_scaler = precision.is_mixed().then_some(scaler);
    let mut optimizer = Optimizer::new(&mut network, OptimizerOptions { grad_scaler, ..sgd.into() }).unwrap();
    let step = |indices: &Vec<usize>| {
        let (x, labels) = data.batch(indices, precision.storage).unwrap();
        optimizer.train_step(&mut network, x.view(), &labels).unwrap();
        network.loss().unwrap()
    };
    batches.iter().map(step).collect()
}

#[test]
fn vgg11_learns_cifar10_in_each_precision() {
    let Some(folder) = shared("data/cifar10") else { return };
    let train = cifar10::load(folder).unwrap().train;
    // The same mini-batches again and again, so that a few steps are enough.
    let batches: Vec<Vec<usize>> = (0..8).map(|i| (i % 2 * 16..i % 2 * 16 + 16).collect()).collect();
    let vgg = ("vgg11", zoo::Variant::Cifar);
    let cpu = Engine::cpu();
    let reference = losses(&cpu, vgg, "f64", &train, &batches);
    assert!(reference[6] + reference[7] < 0.8 * (reference[0] + reference[1]), "{reference:?}");
    for (precision, bound) in [("f32", 1e-3), ("f16", 5e-2), ("mixed", 5e-2)] {
        let got = losses(&cpu, vgg, precision, &train, &batches);
        for (a, b) in got.iter().zip(&reference) {
            assert!((a - b).abs() < bound * b.max(1.0), "{precision}: {got:?} for {reference:?}");
        }
    }
    if let Some(gpu) = gpu() {
        for (precision, bound) in [("f32", 1e-3), ("f16", 5e-2)] {
            let got = losses(&gpu, vgg, precision, &train, &batches[..2]);
            for (a, b) in got.iter().zip(&reference) {
                assert!((a - b).abs() < bound * b.max(1.0), "{precision}, gpu: {got:?} for {reference:?}");
            }
        }
    }
}

#[test]
fn resnet50_and_densenet121_learn_photos() {
    let Some(folder) = shared("data/imagenette_tiny") else { return };
    let options =
        image_folder::ImageFolderOptions { size: 64, limit_per_class: Some(2), ..Default::default() };
    let photos = image_folder::read(folder.join("train"), &options).unwrap();
    let all: Vec<usize> = (0..photos.len().min(12)).collect();
    let batches = vec![all; 3];
    for name in ["resnet50_bn", "densenet121_bn"] {
        let network = (name, zoo::Variant::ImageNet);
        let losses = losses(&Engine::cpu(), network, "f32", &photos, &batches);
        assert!(losses[2] < losses[0], "{name}: {losses:?}");
    }
}
