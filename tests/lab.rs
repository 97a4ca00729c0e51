//! Experiments on the embedded digits: what they measure, and that it comes out the same every time.

#![cfg(feature = "lab")]

use std::ops::ControlFlow;
use std::path::Path;

use tiebreak::data::synthetic;
use tiebreak::lab::drift::Drift;
use tiebreak::lab::relu::Relu;
use tiebreak::lab::thresholds::{Compared, Thresholds};
use tiebreak::lab::training::{Algorithm, Training};
use tiebreak::lab::volume::{Volume, VolumeCell};
use tiebreak::lab::zero_program::ZeroProgram;
use tiebreak::lab::{Experiment, Order, Outcome, RunOptions, TABLE, report, run};
use tiebreak::net::Initialization;
use tiebreak::{Composition, DType, Device, Engine, EngineOptions, Precision};

fn run_in<E: Experiment>(dir: &Path, experiment: &E, threads: usize) -> Outcome {
    let engine = Engine::new(&EngineOptions { device: Device::Cpu, threads, ..Default::default() }).unwrap();
    let options = RunOptions { out: dir.into(), ..Default::default() };
    run(experiment, &engine, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// A column of all rows whose settings have these texts.
fn column(outcome: &Outcome, settings: &[(&str, &str)], name: &str) -> Vec<f64> {
    let wanted =
        outcome.records.iter().filter(|r| settings.iter().all(|(n, text)| r.settings.text(n) == *text));
    wanted.flat_map(|r| &r.rows).map(|row| row.number(name)).collect()
}

fn thresholds(compared: Compared) -> Thresholds {
    Thresholds {
        data: synthetic::embedded(256, 0).train,
        compared,
        precisions: vec![(DType::F16, 2), (DType::F32, 2), (DType::F64, 1)],
        orders: vec![Order::Fixed, Order::Seeded],
        batch_size: 64,
        mini_batches: 3,
    }
}

#[test]
fn thresholds_shrink_with_the_precision_and_grow_with_the_noise() {
    let dirs = [(); 2].map(|_| tempfile::tempdir().unwrap());
    let outcome = run_in(dirs[0].path(), &thresholds(Compared::MaxPool), 1);
    assert_eq!((outcome.units, outcome.missing()), (10, 0));
    let largest = |precision, order| {
        let distances = column(&outcome, &[("precision", precision), ("order", order)], "d_l1");
        assert_eq!(distances.len() % 3, 0);
        distances.into_iter().fold(0.0, f64::max)
    };
    let [half, single, double] = ["16", "32", "64"].map(|bits| largest(bits, "seeded"));
    assert!(half > 10.0 * single && single > 1e5 * double && double > 0.0, "{half} {single} {double}");
    assert!(largest("64", "fixed") < double, "the fixed order takes part of the noise away");
    // The table is the same to the byte from other threads.
    run_in(dirs[1].path(), &thresholds(Compared::MaxPool), 2);
    let tables = dirs.each_ref().map(|dir| std::fs::read(dir.path().join(TABLE)).unwrap());
    assert!(tables[0] == tables[1]);
    let page = std::fs::read_to_string(outcome.report.unwrap()).unwrap();
    assert!(page.contains("<svg") && page.contains("tau"));
}

#[test]
fn norm_pooling_has_its_own_thresholds() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Thresholds { orders: vec![Order::Fixed], ..thresholds(Compared::NormPool) };
    let outcome = run_in(dir.path(), &experiment, 0);
    // The zeros of the drawn background, behind ReLUs whose slope at 0 is 0: nothing of the choice comes through.
    let distances = column(&outcome, &[("precision", "32")], "d_l1");
    assert!(distances.iter().all(|&d| d < 1e-6), "{distances:?}");
    assert!(outcome.verdict.last().unwrap().contains("1.19e-7"));
}

#[test]
fn each_initialisation_of_a_perceptron_is_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Relu {
        data: synthetic::embedded(128, 0).train,
        precisions: vec![DType::F32, DType::F64],
        layers: vec![1, 3],
        width: 64,
        seeds: 4,
        batch_size: 64,
        mini_batches: 2,
    };
    let outcome = run_in(dir.path(), &experiment, 0);
    assert_eq!(column(&outcome, &[("layers", "3"), ("precision", "32")], "seed"), [0.0, 1.0, 2.0, 3.0]);
    // A pre-activation that is exactly 0 is rare in 32 bits, and needs billions of tries in 64.
    assert_eq!(column(&outcome, &[("precision", "64")], "affected"), [0.0; 8]);
    let losses = column(&outcome, &[], "loss");
    assert!(losses.iter().all(|loss| (2.0..2.6).contains(loss)), "{losses:?}");
}

#[test]
fn volumes_are_shares_of_mini_batches() {
    let digits = synthetic::embedded(8, 0).train;
    // Three channels of a digit, with a border.
    let pixels = |i: usize| {
        let rows = digits.image(i).chunks(28).map(|row| [&[0; 2], row, &[0; 2]].concat());
        let plane = [vec![0; 64], rows.collect::<Vec<_>>().concat(), vec![0; 64]].concat();
        [plane.clone(), plane.clone(), plane].concat()
    };
    let images: Vec<u8> = (0..8).flat_map(pixels).collect();
    let data =
        tiebreak::data::Dataset::new("bordered", images, digits.labels.clone(), [3, 32, 32], 10).unwrap();
    let cell = |precision| VolumeCell { network: "vgg11".into(), batch_size: 4, precision };
    let experiment = Volume {
        data,
        cells: vec![cell(DType::F16), cell(DType::F64)],
        seeds: vec![0],
        mini_batches: 2,
        initialization: Initialization::Volume,
    };
    let dir = tempfile::tempdir().unwrap();
    let outcome = run_in(dir.path(), &experiment, 0);
    for bits in ["16", "64"] {
        let [affected, linf] = ["affected", "d_linf"].map(|c| column(&outcome, &[("precision", bits)], c));
        let threshold = if bits == "16" { 1e-3 } else { 1e-15 };
        assert_eq!(affected.len(), 2);
        assert!(affected.iter().zip(&linf).all(|(a, d)| (*a == 1.0) == (*d > threshold)), "{linf:?}");
    }
    assert!(outcome.verdict[0].starts_with("16 bits: ") && outcome.verdict[0].contains("published 100"));
}

#[test]
fn networks_that_differ_in_nothing_do_not_drift() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Drift {
        data: synthetic::embedded(128, 64),
        augmentation: Default::default(),
        network: "lenet5".into(),
        precisions: vec![DType::F16],
        composition: Composition::Coupled,
        betas: vec![0.0, 0.0, 100.0],
        seeds: vec![1],
        epochs: 2,
        measurements: 2,
        batch_size: 32,
        learning_rate: 0.01,
    };
    let outcome = run_in(dir.path(), &experiment, 0);
    let distances = column(&outcome, &[], "l1_distance");
    assert_eq!(column(&outcome, &[], "epoch"), [0.5, 1.0, 1.5, 2.0].map(|e| [e; 3]).concat());
    for copies in distances.chunks(3) {
        assert!(copies[..2] == [0.0, 0.0] && copies[2] > 0.0, "{distances:?}");
    }
    assert!(outcome.verdict[0].ends_with("distance of 0."), "{:?}", outcome.verdict);
}

#[test]
fn a_large_beta_breaks_training_in_16_bits_alone() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Training {
        data: synthetic::embedded(1024, 256),
        augmentation: Default::default(),
        networks: vec!["lenet5".into()],
        precisions: vec![DType::F16.into(), Precision::MIXED, DType::F32.into()],
        optimizers: vec![Algorithm::Sgd],
        compositions: vec![Composition::Coupled],
        betas: vec![0.0, 10000.0],
        seeds: vec![0],
        epochs: 2,
        batch_size: 64,
        learning_rate: Some(0.05),
    };
    let outcome = run_in(dir.path(), &experiment, 0);
    let diverged = |bits, beta| column(&outcome, &[("bits", bits), ("beta", beta)], "diverged").pop();
    assert_eq!(["16", "24", "32"].map(|bits| diverged(bits, "0")), [Some(0.0); 3]);
    assert_eq!(diverged("16", "10000"), Some(1.0));
    assert_eq!(diverged("32", "10000"), Some(0.0));
    let page = std::fs::read_to_string(outcome.report.unwrap()).unwrap();
    assert!(page.contains("1 of 1 diverged") && page.contains("mixed"));
}

/// The scaler's search for a scale, in which each step is skipped, is no training run that is lost.
#[test]
fn an_epoch_of_skipped_steps_with_finite_losses_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let experiment = Training {
        data: synthetic::embedded_colour(8, 8),
        augmentation: Default::default(),
        networks: vec!["resnet18_bn".into()],
        precisions: vec![Precision::MIXED],
        optimizers: vec![Algorithm::Sgd],
        compositions: vec![Composition::Coupled],
        betas: vec![0.0],
        seeds: vec![0],
        epochs: 2,
        batch_size: 8,
        learning_rate: Some(0.01),
    };
    let outcome = run_in(dir.path(), &experiment, 0);
    let [skipped, losses] = ["skipped_steps", "train_loss"].map(|name| column(&outcome, &[], name));
    assert_eq!((skipped[0], losses.len()), (1.0, 2), "{skipped:?}");
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
}

#[test]
fn results_of_several_folders_are_one_page() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| dir.path().join(name);
    run_in(&folder("zero"), &ZeroProgram::default(), 1);
    let norm = Thresholds { orders: vec![Order::Fixed], ..thresholds(Compared::NormPool) };
    run_in(&folder("norm"), &norm, 1);
    let page = |paths: &[&str], out: &str| {
        let paths: Vec<_> = paths.iter().map(|name| folder(name)).collect();
        report(&paths, &folder(out), "All").map(|path| std::fs::read_to_string(path).unwrap())
    };
    let both = page(&["norm", "zero"], "both").unwrap();
    // In the order of the paper, whatever that of the folders.
    let places = ["<h1>All</h1>", "id=\"part-0\"", "-1.5 at t = 0", "id=\"part-1\"", "norm pooling</h2>"];
    let places = places.map(|part| both.find(part).unwrap_or_else(|| panic!("{part}")));
    assert!(places.is_sorted(), "{places:?}");
    assert!(folder("both").join("plots/01.svg").is_file());
    // What occurs twice counts once; a file does as well as its folder.
    assert_eq!(page(&["zero", "norm", "zero/units.jsonl"], "again").unwrap(), both);
    let foreign = std::fs::read_to_string(folder("zero").join("units.jsonl")).unwrap();
    std::fs::write(folder("units.jsonl"), foreign.replace("zero_program", "one_program")).unwrap();
    let error = page(&["units.jsonl"], "none").unwrap_err().to_string();
    assert!(error.contains("`one_program`") && error.contains("zero_program, ties"), "{error}");
    assert!(page(&["missing"], "none").is_err() && !folder("none").exists());
}
