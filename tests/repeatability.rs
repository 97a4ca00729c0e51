//! The same inputs give the same bits: from run to run, and whatever the number of threads.

mod support;

use std::sync::{Arc, Mutex};

use support::{engines, gpu};
use tiebreak::net::{Network, zoo};
use tiebreak::train::{GradScaler, Optimizer, OptimizerOptions};
use tiebreak::*;

/// Bits of every parameter and gradient after a few training steps of LeNet-5.
fn train(engine: &Engine, dtype: DType, kink: MaxPoolKink) -> Vec<u8> {
    let graph = zoo::lenet5(&Default::default()).unwrap();
    let mut network = Network::new(engine, &graph, dtype, 5).unwrap();
    network.set_kink(None, Kink::MaxPool(kink)).unwrap();
    let options = SgdOptions {
        learning_rate: 0.05,
        momentum: 0.9,
        weight_decay: 5e-4,
        nesterov: true,
        ..Default::default()
    };
    let mut sgd = Optimizer::new(&mut network, options).unwrap();
    for step in 0..3 {
        let n = [33, 20, 33][step];
        let pixels: Vec<f64> = (0..n * 784).map(|i| ((i * 37 + step * 11) % 19) as f64 / 9.5 - 1.0).collect();
        let x = Tensor::from_f64(dtype, &[n, 1, 28, 28], &pixels).unwrap();
        let labels: Vec<i64> = (0..n as i64).map(|i| i % 10).collect();
        sgd.train_step(&mut network, x.view(), &labels).unwrap();
    }
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    let mut bits = Vec::new();
    for name in names {
        bits.extend_from_slice(network.parameter(&name).unwrap().bytes());
        bits.extend_from_slice(network.gradient(&name).unwrap().bytes());
    }
    bits
}

const KINKS: [MaxPoolKink; 3] = [
    MaxPoolKink::beta(10.0, Composition::Coupled),
    MaxPoolKink::beta(2.0, Composition::Exact),
    MaxPoolKink { jacobian: MaxPoolJacobian::Random(4), composition: Composition::Exact },
];

#[test]
fn threads_do_not_change_a_bit() {
    let with_threads = |threads| {
        let options = EngineOptions { device: Device::Cpu, threads, ..Default::default() };
        Engine::new(&options).unwrap()
    };
    let engines = [1, 2, 5].map(with_threads);
    for dtype in DType::ALL {
        for kink in KINKS {
            let [one, two, five] = engines.each_ref().map(|e| train(e, dtype, kink));
            assert!(one == two && one == five, "{dtype} {kink:?}");
        }
    }
}

#[test]
fn runs_do_not_change_a_bit() {
    for (name, engine) in engines() {
        for dtype in [DType::F16, DType::F32] {
            let kink = KINKS[0];
            assert!(train(&engine, dtype, kink) == train(&engine, dtype, kink), "{dtype} on {name}");
        }
    }
}

/// Bits of every parameter and running statistic after two training steps.
fn train_network(engine: &Engine, name: &str, precision: Precision) -> Vec<u8> {
    let graph = zoo::by_name(name, &Default::default()).unwrap();
    let mut network = Network::new(engine, &graph, precision, 5).unwrap();
    let sgd = SgdOptions { learning_rate: 0.05, momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
    let grad_scaler = precision.is_mixed().then(GradScaler::default);
    let options = OptimizerOptions { grad_scaler, ..sgd.into() };
    let mut optimizer = Optimizer::new(&mut network, options).unwrap();
    let n = 2;
    for step in 0..2 {
        let pixels: Vec<f64> =
            (0..n * 3072).map(|i| ((i * 37 + step * 11) % 19) as f64 / 9.5 - 1.0).collect();
        let x = Tensor::from_f64(precision.storage, &[n, 3, 32, 32], &pixels).unwrap();
        optimizer.train_step(&mut network, x.view(), &[1, 7]).unwrap();
    }
    let names: Vec<String> = network.parameters().map(|p| p.name.clone()).collect();
    let buffers: Vec<String> = network.buffers().map(|p| p.name.clone()).collect();
    let mut bits = Vec::new();
    names.iter().for_each(|n| bits.extend_from_slice(network.parameter(n).unwrap().bytes()));
    buffers.iter().for_each(|n| bits.extend_from_slice(network.buffer(n).unwrap().bytes()));
    bits
}

/// Each precision of a full-width VGG11, on 1 and 2 threads, and on the GPU twice.
#[test]
fn a_vgg11_step_has_the_same_bits_in_each_precision() {
    let [one, two] = [1, 2].map(|threads| {
        Engine::new(&EngineOptions { device: Device::Cpu, threads, ..Default::default() }).unwrap()
    });
    for (network, precisions) in
        [("vgg11", &["f16", "f32", "f64", "mixed", "bf16"][..]), ("vgg11_bn", &["mixed"])]
    {
        for precision in precisions {
            let precision: Precision = precision.parse().unwrap();
            let first = train_network(&one, network, precision);
            assert!(first == train_network(&two, network, precision), "{network} in {precision}");
            if let Some(gpu) = gpu().filter(|_| precision.storage != DType::F64) {
                let first = train_network(&gpu, network, precision);
                assert!(first == train_network(&gpu, network, precision), "{network} in {precision}, gpu");
            }
        }
    }
}

#[test]
fn engines_train_alike() {
    let Some(gpu) = gpu() else { return };
    for (dtype, bound) in [(DType::F32, 1e-5), (DType::F16, 2e-2)] {
        let read = |bits: Vec<u8>| -> Vec<f64> {
            match dtype {
                DType::F32 => {
                    bits.chunks(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap()) as f64).collect()
                }
                _ => {
                    bits.chunks(2).map(|b| half::f16::from_ne_bytes(b.try_into().unwrap()).to_f64()).collect()
                }
            }
        };
        let kink = MaxPoolKink::default();
        let (a, b) = (read(train(&Engine::cpu(), dtype, kink)), read(train(&gpu, dtype, kink)));
        let gap = a.iter().zip(&b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(gap < bound, "{dtype}: engines are {gap:e} apart");
    }
}

#[test]
fn f64_on_a_gpu_engine_runs_on_the_cpu_and_says_so() {
    let Some(gpu) = gpu() else { return };
    let graph = zoo::lenet5(&Default::default()).unwrap();
    let network = Network::new(&gpu, &graph, DType::F64, 1).unwrap();
    assert!(!network.placement().gpu);
    assert!(network.placement().reason.as_deref().unwrap().contains("f64"));
    let kink = KINKS[1];
    assert!(train(&gpu, DType::F64, kink) == train(&Engine::cpu(), DType::F64, kink));
    // Operators on host memory say so once.
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let told = warnings.clone();
    let logger: Logger = Arc::new(move |level, text: &str| {
        if level == LogLevel::Warning {
            told.lock().unwrap().push(text.to_string());
        }
    });
    let options = EngineOptions { device: Device::Gpu, logger: Some(logger), ..Default::default() };
    let engine = Engine::new(&options).unwrap();
    for dtype in [DType::F32, DType::F64, DType::F64] {
        let x = Tensor::zeros(dtype, &[3]).unwrap();
        engine.relu_forward(x.view(), x.clone().view_mut()).unwrap();
    }
    let warnings = warnings.lock().unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("relu_forward"), "{warnings:?}");
}

/// Threads of a caller's own rayon pool that share one engine take turns and do not wait for each other forever.
#[test]
fn a_callers_own_pool_does_not_deadlock() {
    use rayon::prelude::*;
    let engine = Engine::cpu();
    let x = Tensor::from_f64(DType::F32, &[40_000], &vec![-1.0; 40_000]).unwrap();
    let zeros = (0..400usize).into_par_iter().map(|_| {
        let mut y = Tensor::zeros(DType::F32, &[40_000]).unwrap();
        engine.relu_forward(x.view(), y.view_mut()).unwrap();
        y.to_f64().iter().all(|&v| v == 0.0)
    });
    assert!(zeros.all(|zero| zero));
}
