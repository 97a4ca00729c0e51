//! Whole training steps (forward, loss, backward, SGD with momentum and weight decay):
//! `cargo bench --bench train_step [-- [gpu] [NETWORK:BATCH ...]]`, such as `-- vgg11:32 resnet18_bn:32`.
//!
//! Prints the median and the spread (10th to 90th percentile) of each variant, measured in turn in one run, the ratio to
//! the first, the memory that it holds, and where the time goes. benches/README.md keeps a table. `THREADS=1` takes
//! one thread, `PRECISION=f32,mixed` these precisions.

use std::time::Instant;

use tiebreak::net::{Network, zoo};
use tiebreak::train::{GradScaler, Optimizer, OptimizerOptions};
use tiebreak::{
    Composition, Device, Engine, EngineOptions, Kink, MaxPoolKink, Precision, Result, SgdOptions, Tensor,
};

struct Variant {
    name: String,
    network: Network,
    optimizer: Optimizer,
    x: Tensor,
    seconds: Vec<f64>,
}

fn main() -> Result<()> {
    let start = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let gpu = arguments.iter().any(|a| a == "gpu");
    let device = if gpu { Device::Gpu } else { Device::Cpu };
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(0);
    let engine = Engine::new(&EngineOptions { device, threads, ..Default::default() })?;
    let info = engine.info();
    println!("{} ({}), {} threads", info.name, info.driver, info.threads);
    let mut cases: Vec<(String, usize)> = arguments
        .iter()
        .filter_map(|a| a.split_once(':'))
        .map(|(name, batch)| (name.to_string(), batch.parse().expect("NETWORK:BATCH")))
        .collect();
    if cases.is_empty() {
        cases.push(("lenet5".into(), 128));
    }
    for (i, (name, batch)) in cases.iter().enumerate() {
        measure(&engine, name, *batch, (i == 0).then_some(start))?;
    }
    Ok(())
}

fn measure(engine: &Engine, name: &str, batch: usize, start: Option<Instant>) -> Result<()> {
    let gpu = engine.info().gpu;
    let chosen = std::env::var("PRECISION").ok();
    let precisions = chosen.as_deref().unwrap_or(if gpu { "f32,f16" } else { "f32,f16,f64,mixed" });
    let labels: Vec<i64> = (0..batch as i64).map(|i| i % 10).collect();
    let mut variants = Vec::new();
    for precision in precisions.split(',') {
        let precision: Precision = precision.parse()?;
        let kinks = [
            ("native", MaxPoolKink::default()),
            ("beta 100 exact", MaxPoolKink::beta(100.0, Composition::Exact)),
            ("beta 100 coupled", MaxPoolKink::beta(100.0, Composition::Coupled)),
        ];
        for (kink_name, kink) in kinks {
            let graph = zoo::by_name(name, &Default::default())?;
            let mut network = Network::new(engine, &graph, precision, 1)?;
            network.set_kink(None, Kink::MaxPool(kink))?;
            let sgd =
                SgdOptions { learning_rate: 0.001, momentum: 0.9, weight_decay: 5e-4, ..Default::default() };
            let options = OptimizerOptions {
                grad_scaler: precision.is_mixed().then(GradScaler::default),
                ..sgd.into()
            };
            let optimizer = Optimizer::new(&mut network, options)?;
            let mut shape = vec![batch];
            shape.extend(&network.layers()[0].shape);
            // Strokes on a flat background, so that windows tie as they do on digits.
            let width = *shape.last().expect("an image");
            let pixel =
                |i: usize| if (i / width) % 5 == 2 || i % 7 == 3 { (i % 97) as f64 / 97.0 } else { -1.0 };
            let values: Vec<f64> = (0..shape.iter().product()).map(pixel).collect();
            let x = Tensor::from_f64(precision.storage, &shape, &values)?;
            let name = format!("{precision} {kink_name}");
            variants.push(Variant { name, network, optimizer, x, seconds: vec![] });
        }
    }
    let v = &mut variants[0];
    let once = Instant::now();
    v.optimizer.train_step(&mut v.network, v.x.view(), &labels)?;
    v.network.loss()?;
    let first = once.elapsed().as_secs_f64();
    if let Some(start) = start {
        println!("process start to the end of the first step: {:.3} s", start.elapsed().as_secs_f64());
    }
    // Some twenty seconds for all variants together.
    let rounds = ((20.0 / variants.len() as f64 / first) as usize).clamp(5, 60);
    for round in 0..rounds + 2 {
        for v in &mut variants {
            let start = Instant::now();
            v.optimizer.train_step(&mut v.network, v.x.view(), &labels)?;
            v.network.loss()?;
            if round >= 2 {
                v.seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    let title = format!("{name}, batch {batch}");
    println!("\n{title:<24} {:>10} {:>19} {:>6} {:>10}", "median", "10 % to 90 %", "ratio", "memory");
    let mut base = None;
    for v in &mut variants {
        v.seconds.sort_by(f64::total_cmp);
        let at = |q: f64| v.seconds[((v.seconds.len() - 1) as f64 * q) as usize] * 1e3;
        let base = *base.get_or_insert(at(0.5));
        let (low, mid, high) = (at(0.1), at(0.5), at(0.9));
        let megabytes = v.network.allocated_bytes() as f64 / 1e6;
        println!(
            "{:<24} {mid:>7.2} ms {low:>8.2} to {high:>7.2} {:>6.2} {megabytes:>7.1} MB",
            v.name,
            mid / base
        );
    }
    for v in variants.iter_mut().filter(|v| v.name.ends_with("native")) {
        print_profile(v, &labels)?;
    }
    Ok(())
}

/// Share of each kernel in a step that runs one kernel at a time: the mean of a few.
fn print_profile(v: &mut Variant, labels: &[i64]) -> Result<()> {
    const STEPS: usize = 5;
    let mut kernels: Vec<(&str, f64)> = Vec::new();
    for _ in 0..STEPS {
        for time in v.optimizer.profile_step(&mut v.network, v.x.view(), labels)? {
            match kernels.iter_mut().find(|(name, _)| *name == time.kernel) {
                Some((_, seconds)) => *seconds += time.seconds,
                None => kernels.push((time.kernel, time.seconds)),
            }
        }
    }
    let total: f64 = kernels.iter().map(|(_, seconds)| seconds).sum();
    kernels.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("\nkernels of {}: {:.2} ms", v.name, total / STEPS as f64 * 1e3);
    for (name, seconds) in kernels.iter().take_while(|(_, seconds)| *seconds > 0.002 * total) {
        println!("  {name:<32} {:>8.3} ms {:>5.1} %", seconds / STEPS as f64 * 1e3, 100.0 * seconds / total);
    }
    Ok(())
}
